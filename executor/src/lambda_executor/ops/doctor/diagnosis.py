"""The doctor's rules about functions and queues: which findings follow from the facts."""

from __future__ import annotations

import json
import shlex

from lambda_executor.aws import EventFacts, FunctionFacts, QueueFacts
from lambda_executor.contract.lambda_limits import EARLIER_LONGEST_TIMEOUT_S, LONGEST_TIMEOUT_S
from lambda_executor.core.findings import Finding, ok, problem
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.setup.time_limits import TimeLimit

#: A scheduler acknowledges a result on a later loop, and a loop under load takes seconds. The
#: result must stay hidden until then.
MIN_VISIBILITY_S = 10

#: What the stacks give a queue.
_RETENTION_S, _VISIBILITY_S = 345_600, 120

#: The least event age that Lambda accepts, in seconds.
#: https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html
LEAST_EVENT_AGE_S = 60

DEPLOY = "node_modules/.bin/cdk deploy --all -c stage=<stage>"


def flags(target: FunctionTarget) -> str:
    """Return the options of the AWS CLI that name a function, or one version of it."""
    qualifier = f" --qualifier {target.qualifier}" if target.qualifier else ""
    return f"--function-name {target.function}{qualifier}"


def function(target: FunctionTarget, facts: FunctionFacts) -> Finding:
    """Whether the function can be invoked."""
    name = str(target)
    if facts.state not in ("Active", "Inactive"):  # An invocation activates an inactive one.
        return problem(
            "function",
            f"its state is {facts.state}: {facts.state_reason}",
            _fix_of_the_image(facts.state_reason)
            or "wait if it is being created; otherwise deploy the execution stack again",
            DEPLOY,
            name,
        )
    if facts.last_update == "Failed":
        return problem(
            "function",
            f"its last update failed: {facts.last_update_reason}",
            _fix_of_the_image(facts.last_update_reason)
            or "correct what it says and deploy the execution stack again",
            DEPLOY,
            name,
        )
    updating = ", an update is in progress" if facts.last_update == "InProgress" else ""
    limit = (
        f" (Lambda's limit is {LONGEST_TIMEOUT_S} s, in some Regions {EARLIER_LONGEST_TIMEOUT_S} s)"
        if facts.timeout_s == EARLIER_LONGEST_TIMEOUT_S
        else ""
    )
    return ok("function", f"{facts.state}{updating}, time-out {facts.timeout_s} s{limit}", name)


def snapshot(target: FunctionTarget, facts: FunctionFacts) -> Finding:
    """Whether what is invoked starts from a snapshot, of a function that shall have one.

    A version becomes inactive if Lambda makes a new snapshot of it for a patch, and cannot.
    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-troubleshooting.html
    """
    name = str(target)
    if facts.snapshot == "On" and facts.state != "Inactive":
        return ok("snapshot", "execution environments start from it", name)
    if facts.state == "Inactive":
        return problem(
            "snapshot",
            "Lambda has dropped it, and refuses invocations until it is made again: "
            f"{facts.state_reason or 'it gives no reason'}",
            "invoke the version once, which makes it again, and wait until its state is Active, up "
            "to a few minutes; if it stays inactive, the function's log has the reason",
            f"aws lambda invoke {flags(target)} /dev/stdout",
            name,
        )
    return problem(
        "snapshot",
        "the function shall start from a snapshot, and what is invoked has none, because Lambda "
        "makes them of published versions only",
        "set [lambda_executor] function_qualifier to the alias of a version, which the command "
        "lists",
        f"aws lambda list-aliases --function-name {target.function}",
        name,
    )


def _fix_of_the_image(reason: str) -> str:
    """What to do when Lambda refuses an index instead of an image; empty: that is not the reason.

    https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#images-reqs
    """
    if "media type" not in reason:
        return ""
    return (
        "build the image for one --platform with --provenance=false --sbom=false, because Lambda "
        "takes no index, push it, and deploy the stage with its digest in image.uri "
        "(docs/howto/image.md)"
    )


def no_version(target: FunctionTarget) -> Finding:
    """The function exists, and the version or alias that invocations name does not."""
    return problem(
        "function",
        f"the function is there, its version or alias {target.qualifier!r} is not",
        "set [lambda_executor] function_qualifier to one that it has, which the command lists; or "
        "make the alias again (aws lambda create-alias), because a deploy without a change does "
        "not",
        f"aws lambda list-aliases --function-name {target.function}",
        str(target),
    )


def reservation(target: FunctionTarget, reserved: int | None) -> Finding:
    """Whether somebody paused the function.

    A deploy does not end a pause: CloudFormation changes what differs between two templates.
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-update-behaviors.html
    """
    name = str(target)
    if reserved is None:
        return ok("reservation", "none: it shares the account's concurrency", name)
    if reserved:
        return ok("reservation", f"up to {reserved} invocations at once", name)
    return problem(
        "reservation",
        "the function is paused: its reserved concurrency is 0, so each invocation becomes a dead "
        "letter and its task fails",
        "remove the reservation, because a deploy does not; if the stage has a "
        "reserved_concurrency, give it that one (aws lambda put-function-concurrency)",
        f"aws lambda delete-function-concurrency --function-name {target.function}",
        name,
    )


def event_settings(
    target: FunctionTarget, facts: EventFacts, limit: TimeLimit, destination_arn: str = ""
) -> str:
    """Return a command that makes every setting of asynchronous invocations right.

    `destination_arn` is the queue that dead letters shall go to; empty: it stays as it is.
    """
    # `put` replaces all of them, and `update` needs some to exist.
    verb = "update" if facts.exist else "put"
    age_s = max(LEAST_EVENT_AGE_S, min(facts.age_s, int(limit.seconds)))
    command = (
        f"aws lambda {verb}-function-event-invoke-config {flags(target)} "
        "--maximum-retry-attempts 0 "
        f"--maximum-event-age-in-seconds {age_s}"
    )
    if not destination_arn:
        return command
    destination = json.dumps({"OnFailure": {"Destination": destination_arn}})
    return f"{command} --destination-config {shlex.quote(destination)}"


def retries(name: str, facts: EventFacts, command: str) -> Finding:
    """Whether Lambda leaves retries to Airflow."""
    if not facts.retries:
        return ok("async retries", "0: retries are Airflow's", name)
    return problem(
        "async retries",
        f"Lambda repeats a failed invocation up to {facts.retries} times, and so starts a task "
        "again that Airflow may have retried already",
        "set MaximumRetryAttempts of this version or alias to 0",
        command,
        name,
    )


def event_age(name: str, facts: EventFacts, limit: TimeLimit, command: str) -> Finding:
    """Whether a waiting invocation becomes a dead letter before its task can start no more."""
    if facts.age_s <= limit.seconds:
        return ok("event age", f"{facts.age_s} s, allowed are {limit.seconds:.0f} s", name)
    return problem(
        "event age",
        f"Lambda keeps an invocation for up to {facts.age_s} s, and its task can start for "
        f"{limit.seconds:.0f} s ({limit.option})",
        f"set MaximumEventAgeInSeconds of this version or alias to at most {limit.seconds:.0f}, or "
        f"raise the option ({limit.option.environment_variable})",
        command,
        name,
    )


def dead_letters(
    name: str, facts: FunctionFacts, events: EventFacts, queue: QueueFacts, command: str
) -> Finding:
    """Whether dead letters reach the queue that the executor reads."""
    arns = [arn for arn in (facts.dead_letter_arn, events.destination_arn) if arn]
    if queue.arn in arns:
        return ok("dead letters", f"go to {queue.arn.rpartition(':')[2]}", name)
    others = ", ".join(arns)
    return problem(
        "dead letters",
        f"go to {others} and not to {queue.arn}" if others else "go nowhere: they are lost",
        "let the function's dead-letter queue or its on-failure destination be the dead-letter "
        "queue of [lambda_executor]; without it, only a time-out reports a crash",
        command,
        name,
    )


def queue(subject: str, url: str, facts: QueueFacts, longest_timeout_s: int) -> Finding:
    """Whether a queue keeps its messages for long enough."""
    name = url.rpartition("/")[2]
    change = f"aws sqs set-queue-attributes --queue-url {url} --attributes"
    if facts.retention_s <= longest_timeout_s:
        return problem(
            subject,
            f"it keeps messages for {facts.retention_s} s, a function may run for "
            f"{longest_timeout_s} s",
            "raise its MessageRetentionPeriod above the function's time-out",
            f"{change} MessageRetentionPeriod={_RETENTION_S}",
            name,
        )
    if facts.visibility_timeout_s < MIN_VISIBILITY_S:
        return problem(
            subject,
            "a message that a scheduler has received is visible to others again after "
            f"{facts.visibility_timeout_s} s",
            f"raise its VisibilityTimeout to at least {MIN_VISIBILITY_S} s",
            f"{change} VisibilityTimeout={_VISIBILITY_S}",
            name,
        )
    return ok(
        subject,
        f"{depth_of(facts.visible, facts.hidden)}; kept for {facts.retention_s} s, hidden for "
        f"{facts.visibility_timeout_s} s",
        name,
    )


def depth_of(visible: int, hidden: int) -> str:
    """Describe the approximate number of messages in a queue.

    A hidden one was received and not deleted yet, or handed back with a delay: SQS counts both as
    one number, and does not say whether anybody still works on it.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
    """
    return f"{visible} messages are visible, {hidden} are hidden"
