"""The doctor's rules: which findings follow from the facts that it read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lambda_executor.aws import EventFacts, FunctionFacts, ProbeReply, QueueFacts
from lambda_executor.contract.errors import DecodeError
from lambda_executor.contract.probe import ProbeAnswer
from lambda_executor.contract.wire import WIRE_VERSION
from lambda_executor.core.findings import Finding, ok, problem, unknown

#: A scheduler acknowledges a result on a later loop, and a loop under load takes seconds. The
#: result must stay hidden until then.
MIN_VISIBILITY_S = 10

#: Prefixes of the errors that a function raises before its handler, for every invocation.
#: https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html
_BEFORE_THE_HANDLER = ("Runtime.", "Sandbox.", "Extension.", "Function.")


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions that the scheduler runs on."""

    airflow: str
    python: str


def function(name: str, facts: FunctionFacts) -> Finding:
    """Whether the function can be invoked."""
    if facts.state not in ("Active", "Inactive"):  # An invocation activates an inactive one.
        return problem(
            "function",
            f"its state is {facts.state}: {facts.state_reason}",
            "wait if it is being created; otherwise deploy the execution stack again",
            name,
        )
    if facts.last_update == "Failed":
        return problem(
            "function",
            f"its last update failed: {facts.last_update_reason}",
            "correct what it says and deploy the execution stack again",
            name,
        )
    updating = ", an update is in progress" if facts.last_update == "InProgress" else ""
    return ok("function", f"{facts.state}{updating}, time-out {facts.timeout_s} s", name)


def retries(name: str, facts: EventFacts) -> Finding:
    """Whether Lambda leaves retries to Airflow."""
    if not facts.retries:
        return ok("async retries", "0: retries are Airflow's", name)
    return problem(
        "async retries",
        f"Lambda repeats a failed invocation up to {facts.retries} times, and so starts a task "
        "again that Airflow may have retried already",
        "set MaximumRetryAttempts of this version or alias to 0 "
        "(aws lambda put-function-event-invoke-config)",
        name,
    )


def event_age(name: str, facts: EventFacts, task_queued_timeout_s: float) -> Finding:
    """Whether a waiting invocation becomes a dead letter before its token runs out."""
    limit_s = f"{task_queued_timeout_s:.0f} s"
    if facts.age_s <= task_queued_timeout_s:
        return ok("event age", f"{facts.age_s} s, allowed are {limit_s}", name)
    return problem(
        "event age",
        f"Lambda keeps an invocation for up to {facts.age_s} s, its token is good for "
        f"{limit_s} ([scheduler] task_queued_timeout)",
        f"set MaximumEventAgeInSeconds of this version or alias to at most {limit_s}, or raise "
        "task_queued_timeout",
        name,
    )


def dead_letters(name: str, facts: FunctionFacts, events: EventFacts, queue: QueueFacts) -> Finding:
    """Whether dead letters reach the queue that the executor reads."""
    arns = [arn for arn in (facts.dead_letter_arn, events.destination_arn) if arn]
    if queue.arn in arns:
        return ok("dead letters", f"go to {queue.arn}", name)
    others = ", ".join(arns)
    return problem(
        "dead letters",
        f"go to {others} and not to {queue.arn}" if others else "go nowhere: they are lost",
        "make dead_letter_queue_url the function's dead-letter queue or its on-failure "
        "destination; without it a time-out is all that tells of a crash",
        name,
    )


def queue(subject: str, name: str, facts: QueueFacts, longest_timeout_s: int) -> Finding:
    """Whether a queue keeps its messages for long enough."""
    if facts.retention_s <= longest_timeout_s:
        return problem(
            subject,
            f"it keeps messages for {facts.retention_s} s, a function may run for "
            f"{longest_timeout_s} s",
            "raise its MessageRetentionPeriod above the function's time-out",
            name,
        )
    if facts.visibility_timeout_s < MIN_VISIBILITY_S:
        return problem(
            subject,
            "a message that a scheduler has received is visible to others again after "
            f"{facts.visibility_timeout_s} s",
            f"raise its VisibilityTimeout to at least {MIN_VISIBILITY_S} s",
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


def probed(name: str, reply: ProbeReply, scheduler: Versions) -> Iterator[Finding]:
    """Judge the answer to a probe."""
    try:
        answer = ProbeAnswer.decode(reply.payload)
    except DecodeError:
        yield _no_answer(name, reply)
        return
    yield _execution_api(name, answer)
    yield _airflow(name, answer.airflow, scheduler.airflow)
    # Only DAGs may depend on the Python version; the executor and the handler do not.
    same = answer.python == scheduler.python
    beside = "the same as here" if same else f"here {scheduler.python}: only DAGs may mind"
    yield ok("Python", f"{answer.python}, {beside}", name)
    yield _wire(name, answer.wire_version)


def _no_answer(name: str, reply: ProbeReply) -> Finding:
    error = ": ".join(filter(None, (reply.failure, reply.message))) or "it returned something else"
    if reply.failure.startswith(_BEFORE_THE_HANDLER):
        return problem(
            "probe",
            f"the function fails before its handler ({error}), and so does every workload",
            "look into the function's log, build the image again and deploy it",
            name,
        )
    return unknown(
        "probe",
        f"its handler does not answer probes ({error}): its versions and its way to the Execution "
        "API are not known",
        "nothing, if it is the reference's image; otherwise deploy the image of this release",
        name,
    )


def _execution_api(name: str, answer: ProbeAnswer) -> Finding:
    url = answer.execution_api_url
    if not answer.execution_api_error:
        return ok("Execution API", f"{url} answers in {answer.execution_api_ms:.0f} ms", name)
    return problem(
        "Execution API",
        f"{url} cannot be reached from the function: {answer.execution_api_error}",
        "correct AIRFLOW__CORE__EXECUTION_API_SERVER_URL of the function "
        "(execution.execution_api_url of the stage), or the way from its network: subnets, "
        "security groups, DNS, TLS",
        name,
    )


def _airflow(name: str, image: str, scheduler: str) -> Finding:
    if image.split(".")[:2] == scheduler.split(".")[:2]:
        beside = "the same as here" if image == scheduler else f"here {scheduler}"
        return ok("Airflow", f"{image}, {beside}", name)
    return problem(
        "Airflow",
        f"{image} in the image, {scheduler} here: they may not understand each other's workloads",
        f"build the image with Airflow {scheduler} and deploy it",
        name,
    )


def _wire(name: str, image: int) -> Finding:
    if image == WIRE_VERSION:
        return ok("wire", f"version {image}, the same as here", name)
    return problem(
        "wire",
        f"version {image} in the image, {WIRE_VERSION} here",
        "deploy the image and install the executor from the same release",
        name,
    )
