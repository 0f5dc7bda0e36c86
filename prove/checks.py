"""What a step must show: each check returns what was seen, or raises `NotSeenError`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from lambda_executor.contract.errors import DecodeError
from lambda_executor.contract.lambda_limits import EARLIER_LONGEST_TIMEOUT_S
from lambda_executor.contract.probe import ProbeAnswer
from prove.actions import Seen, eventually
from prove.place import NotSeenError, Place

_COMPLETE = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
_ROLLED_BACK = "UPDATE_ROLLBACK_COMPLETE"
#: What the stage's templates ask for, in their rule `CheckBootstrapVersion`.
_BOOTSTRAP = 6
#: What Lambda says of a version that has its number already, as people quote it.
#: https://github.com/serverless/serverless/issues/8392
_VERSION_EXISTS = re.compile(r"^.*\bversion\b.*\bexists\b.*$", re.IGNORECASE | re.MULTILINE)
#: A word of what Lambda says when it cannot keep as many environments warm.
_TOO_WARM = "ConcurrentExecution"
#: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-monitoring.html
_RESTORED = re.compile(r"Restore Duration: ([0-9.]+) ms\s+Billed Restore Duration: ([0-9.]+) ms")
#: What AWS lists for a while after its deletion, or for ever, and does not charge for:
#: docs/howto/upgrade-and-rollback.md.
_LASTING = {("kms", "key"), ("ecs", "task-definition"), ("ecs", "service"), ("ecs", "cluster")}


def toolkit(place: Place) -> dict[str, Any] | None:
    """Return CloudFormation's description of the stack of `cdk bootstrap`, if there is one."""
    pages = place.client("cloudformation").get_paginator("describe_stacks").paginate()
    stacks = (stack for page in pages for stack in page["Stacks"])
    return next((stack for stack in stacks if stack["StackName"] == "CDKToolkit"), None)


def bootstrapped(place: Place, _seen: Seen) -> str:
    """The stack of `cdk bootstrap` is there, and new enough."""
    found = toolkit(place)
    if not found:
        raise NotSeenError("there is no stack CDKToolkit")
    status = found["StackStatus"]
    if status not in (*_COMPLETE, _ROLLED_BACK):
        raise NotSeenError(f"CDKToolkit is {status}")
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}
    version = int(outputs.get("BootstrapVersion", 0))  # The first ones do not say it.
    if version < _BOOTSTRAP:
        raise NotSeenError(
            f"CDKToolkit has version {version}, the stage needs {_BOOTSTRAP}: run cdk bootstrap"
        )
    return f"CDKToolkit is {status}, its version {version}"


def deployed(place: Place, _seen: Seen) -> str:
    """Every stack of the stage is complete."""
    return _all_are(place, *_COMPLETE)


def works_again(place: Place, _seen: Seen) -> str:
    """Every stack is complete, or rolled back: the CDK deploys no template that is there already.

    https://docs.aws.amazon.com/cdk/v2/guide/ref-cli-cmd-deploy.html
    """
    return _all_are(place, *_COMPLETE, _ROLLED_BACK)


def _all_are(place: Place, *statuses: str) -> str:
    stacks = place.stacks()
    wrong = [s for s in stacks if s["StackStatus"] not in statuses]
    if wrong or not stacks:
        found = ", ".join(f"{s['StackName']} is {s['StackStatus']}" for s in wrong)
        raise NotSeenError(found or f"there is no stack {place.prefix}-...")
    return f"{len(stacks)} stacks are complete"


def unchanged(place: Place, seen: Seen) -> str:
    """The CDK changed no stack."""
    stacks, same = len(place.stacks()), seen.text.count("(no changes)")
    if same != stacks:
        raise NotSeenError(f"{same} of {stacks} stacks had no changes")
    return f"no changes in {same} stacks"


def answers(_place: Place, seen: Seen) -> str:
    """The function answers a probe."""
    answer = seen.answers[-1]
    try:
        probe = ProbeAnswer.decode(answer["Payload"])
    except DecodeError:
        text = answer["Payload"].decode(errors="replace")[:300]
        raise NotSeenError(f"the function did not answer the probe: {text}") from None
    reached = probe.execution_api_error or f"answers in {probe.execution_api_ms:.0f} ms"
    return f"Airflow {probe.airflow}, Python {probe.python}; the Execution API: {reached}"


def healthy(place: Place, seen: Seen) -> str:
    """The doctor has nothing to fix, and nothing is in flight."""
    problems = [line for line in seen.text.splitlines() if line.startswith("PROBLEM")]
    if problems or "0 to fix" not in seen.text:
        raise NotSeenError("; ".join(problems) or f"the doctor has not ended: {seen.log}")
    del place
    return "no PROBLEM"


def ended(**expected: str) -> Callable[[Place, Seen], str]:
    """Return the check that each DAG run ended in a state."""

    def check(_place: Place, seen: Seen) -> str:
        found = {dag: state for dag, (state, _) in seen.answers[-1].items()}
        wrong = [f"{dag}: {found.get(dag)}" for dag in expected if found.get(dag) != expected[dag]]
        if wrong:
            raise NotSeenError(", ".join(wrong))
        return ", ".join(f"{dag}: {state}" for dag, state in found.items())

    return check


def stopped_in_time(_place: Place, seen: Seen) -> str:
    """A task survived a deploy; one that sleeps for ten minutes was stopped by the deadline."""
    (survived, _), (state, seconds) = (answer["prove_sleeper"] for answer in seen.answers)
    if survived != "success":
        raise NotSeenError(f"the task during the deploy ended as {survived}")
    if state != "failed" or seconds > 300:  # noqa: PLR2004 - half of what it sleeps
        raise NotSeenError(f"the sleeper ended as {state} after {seconds:.0f} s")
    return f"failed after {seconds:.0f} s"


def ran_for_long(_place: Place, seen: Seen) -> str:
    """A task ran for longer than Lambda allowed before."""
    state, seconds = seen.answers[-1]["prove_sleeper"]
    if state != "success" or seconds <= EARLIER_LONGEST_TIMEOUT_S:
        raise NotSeenError(f"the sleeper ended as {state} after {seconds:.0f} s")
    return f"success after {seconds:.0f} s"


def restored(place: Place, seen: Seen) -> str:
    """What is invoked has a snapshot, and Lambda restored an execution environment from it."""
    outputs = place.outputs()
    found = place.client("lambda").get_function_configuration(
        FunctionName=outputs["FunctionName"], Qualifier=outputs["FunctionAlias"]
    )
    status = found.get("SnapStart", {}).get("OptimizationStatus", "unknown")
    if status != "On":
        raise NotSeenError(f"the version {found.get('Version')} has no snapshot: it is {status}")

    def look() -> str | None:
        events = place.client("logs").filter_log_events(
            logGroupName=outputs["LogGroupName"],
            filterPattern='"Billed Restore Duration"',
            startTime=int((time.time() - 600) * 1000),
        )["events"]
        found = _RESTORED.search(events[-1]["message"]) if events else None
        return f"restored in {found[1]} ms, of which {found[2]} ms are billed" if found else None

    return f"{eventually(look, 'a report of a restore in the log', 5)}; {answers(place, seen)}"


def no_payload_left(_place: Place, seen: Seen) -> str:
    """The payload bucket is empty."""
    if left := seen.answers[-1].get("Contents", ()):
        raise NotSeenError(f"{len(left)} objects are left, one is {left[0]['Key']}")
    return "no object"


def no_token_logged(_place: Place, seen: Seen) -> str:
    """The function's log has no token."""
    if seen.answers[-1].get("events"):
        raise NotSeenError("the function's log has something that begins like a token (eyJ)")
    return "no event"


def both_denied(_place: Place, seen: Seen) -> str:
    """Two calls that the scheduler may not make were denied."""
    denied = seen.text.count("AccessDenied")
    if denied != 2:  # noqa: PLR2004 - the two calls of the step
        raise NotSeenError(f"{denied} of 2 calls were denied")
    return "AccessDenied, both"


def a_newer_version(place: Place, seen: Seen) -> str:
    """Invocations run another version than before."""
    now = place.version()
    if now == seen.before:
        raise NotSeenError(f"the alias is still at version {now}")
    return f"version {seen.before}, then version {now}"


def the_same_version(place: Place, seen: Seen) -> str:
    """Each deploy was rolled back, and invocations run the version that they ran before."""
    if not all(seen.codes):
        raise NotSeenError("the deploy did not fail")
    found = {s["StackName"]: s["StackStatus"] for s in place.stacks()}
    status = found.get(f"{place.prefix}-execution", "gone")
    now, before = version_and_rollbacks(place), seen.before
    if status != _ROLLED_BACK or now["version"] != before["version"]:
        versions = f"the version {now['version']} and before {before['version']}"
        raise NotSeenError(f"the stack is {status}, {versions}")
    if (new := now["rollbacks"] - before["rollbacks"]) != len(seen.codes):
        raise NotSeenError(f"{new} of {len(seen.codes)} deploys were rolled back: {seen.log}")
    return f"{status}, still version {now['version']}"


def version_and_rollbacks(place: Place) -> dict[str, Any]:
    """Return what invocations run, and how often the function's stack was rolled back so far."""
    pages = place.client("cloudformation").get_paginator("describe_stack_events")
    events = [
        event["ResourceStatus"]
        for page in pages.paginate(StackName=f"{place.prefix}-execution")
        for event in page["StackEvents"]
        if event["ResourceType"] == "AWS::CloudFormation::Stack"
    ]
    return {"version": place.version(), "rollbacks": events.count(_ROLLED_BACK)}


def failed_alike(place: Place, seen: Seen) -> str:
    """The same deploy failed twice for its own reason, not because its version exists."""
    if exists := _VERSION_EXISTS.search(seen.text):
        raise NotSeenError(exists[0].strip())
    if not all(_TOO_WARM in text for text in seen.texts):
        raise NotSeenError(f"a deploy failed without {_TOO_WARM} in its output: {seen.log}")
    return the_same_version(place, seen)


def a_dead_letter(place: Place, seen: Seen) -> str:
    """Lambda gave the invocation of a paused function up."""

    def look() -> str | None:
        number = dead_letters(place)
        more = number > seen.before
        return f"{number} in the failures queue, {seen.before} before" if more else None

    return eventually(look, f"one more message than {seen.before} in the failures queue", 3)


def dead_letters(place: Place) -> int:
    """Return how many messages are in the failures queue."""
    attribute = "ApproximateNumberOfMessages"
    found = place.client("sqs").get_queue_attributes(
        QueueUrl=place.outputs()["FailuresQueueUrl"], AttributeNames=[attribute]
    )
    return int(found["Attributes"][attribute])


def runs_again(place: Place, _seen: Seen) -> str:
    """The function's reserved concurrency is the stage's."""
    found = place.client("lambda").get_function_concurrency(FunctionName=place.prefix)
    now = found.get("ReservedConcurrentExecutions")
    wanted = place.config.default_function.reserved_concurrency
    if now != wanted:
        raise NotSeenError(f"the reserved concurrency is {now}, the stage's is {wanted}")
    return "no reservation" if now is None else f"a reservation of {now}"


def an_alarm(place: Place, _seen: Seen) -> str:
    """The alarm about dropped invocations is on."""
    cloudwatch = place.client("cloudwatch")

    def look() -> str | None:
        found = cloudwatch.describe_alarms(AlarmNamePrefix=place.prefix, StateValue="ALARM")
        names = [alarm["AlarmName"] for alarm in found["MetricAlarms"]]
        return next((name for name in names if "dropped" in name), None)

    return f"{eventually(look, 'the alarm about dropped invocations', 15)} is on"


def a_dashboard(_place: Place, seen: Seen) -> str:
    """The dashboard has widgets; whether they can be read only a person sees."""
    widgets = json.loads(seen.answers[-1]["DashboardBody"])["widgets"]
    if not widgets:
        raise NotSeenError("the dashboard has no widget")
    return f"{len(widgets)} widgets"


def data(_place: Place, seen: Seen) -> str:
    """CloudWatch has invocations of the function."""
    total = sum(point["Sum"] for point in seen.answers[-1]["Datapoints"])
    if not total:
        raise NotSeenError("no invocation in the metrics of the last hour")
    return f"{total:.0f} invocations in the last hour"


def steady(place: Place, _seen: Seen) -> str:
    """Every service has all its tasks, and its deployment is complete."""
    ecs = place.client("ecs")

    def look() -> str | None:
        arns = ecs.list_services(cluster=place.prefix)["serviceArns"]
        found = ecs.describe_services(cluster=place.prefix, services=arns)["services"]
        ready = [
            service
            for service in found
            if service["runningCount"] == service["desiredCount"] > 0
            and len(service["deployments"]) == 1
        ]
        return f"{len(ready)} services run" if found and len(ready) == len(found) else None

    return eventually(look, "all services run", 15)


def a_proxy(place: Place, seen: Seen) -> str:
    """The database's proxy is available, and the services run."""
    proxies = place.client("rds").describe_db_proxies()["DBProxies"]
    found = [p["Status"] for p in proxies if p["DBProxyName"].startswith(place.prefix)]
    if found != ["available"]:
        raise NotSeenError(f"the status of the proxy is {found or 'unknown: there is none'}")
    return f"the proxy is available, {steady(place, seen)}"


def scheme(expected: str) -> Callable[[Place, Seen], str]:
    """Return the check that the stage's load balancer has a scheme, and that the services run."""

    def check(place: Place, seen: Seen) -> str:
        arns = _load_balancers(place)
        found = place.client("elbv2").describe_load_balancers(LoadBalancerArns=arns)
        schemes = [each["Scheme"] for each in found["LoadBalancers"]]
        if schemes != [expected]:
            raise NotSeenError(f"the load balancer is {' and '.join(schemes) or 'not there'}")
        return f"the load balancer is {expected}, {steady(place, seen)}"

    return check


def _load_balancers(place: Place) -> list[str]:
    resources = place.client("cloudformation").get_paginator("list_stack_resources")
    return [
        resource["PhysicalResourceId"]
        for page in resources.paginate(StackName=f"{place.prefix}-control-plane")
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::ElasticLoadBalancingV2::LoadBalancer"
        and resource["ResourceStatus"] != "DELETE_COMPLETE"
    ]


def stopped_not_pending(place: Place, seen: Seen) -> str:
    """A task that cannot migrate the database stops with an exit code."""
    ecs = place.client("ecs")
    known = seen.before["tasks"]

    def look() -> str | None:
        for status in ("STOPPED", "RUNNING"):
            arns = ecs.list_tasks(cluster=place.prefix, desiredStatus=status)["taskArns"]
            for task in _tasks(place, [arn for arn in arns if arn not in known]):
                codes = [c.get("exitCode") for c in task["containers"]]
                if task["lastStatus"] == "STOPPED" and any(codes):
                    return f"a task stopped: {task.get('stoppedReason', codes)}"
        return None

    return eventually(look, "a task that stopped with an exit code; what is PENDING stays so", 15)


def tasks_and_password(place: Place) -> dict[str, Any]:
    """Return the tasks that run or have just stopped, and the version of the password."""
    ecs = place.client("ecs")
    arns = [
        arn
        for status in ("STOPPED", "RUNNING")
        for arn in ecs.list_tasks(cluster=place.prefix, desiredStatus=status)["taskArns"]
    ]
    return {"tasks": arns, "password": password(place)}


def password(place: Place) -> str:
    """Return which version of the database's password is valid."""
    found = place.client("secretsmanager").describe_secret(
        SecretId=place.outputs()["DatabaseSecretArn"]
    )
    versions = found["VersionIdsToStages"].items()
    return str(next(version for version, stages in versions if "AWSCURRENT" in stages))


def _tasks(place: Place, arns: list[str]) -> list[dict[str, Any]]:
    if not arns:
        return []
    ecs = place.client("ecs")
    found: list[dict[str, Any]] = ecs.describe_tasks(cluster=place.prefix, tasks=arns)["tasks"]
    return found


def gone(place: Place, _seen: Seen) -> str:
    """No stack is left; what AWS lists with the stage's tag is only named.

    It lists what is deleted, too, for a time that nobody states:
    https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html
    """
    if left := [s["StackName"] for s in place.stacks()]:
        raise NotSeenError(f"still there: {', '.join(left)}")
    pages = place.client("resourcegroupstaggingapi").get_paginator("get_resources")
    filters = [{"Key": "airflow-lambda:stage", "Values": [place.stage]}]
    others: list[str] = []

    def look() -> str | None:
        arns = [
            found["ResourceARN"]
            for page in pages.paginate(TagFilters=filters)
            for found in page["ResourceTagMappingList"]
        ]
        others[:] = [arn for arn in arns if _kind(arn) not in _LASTING]
        kept = len(arns) - len(others)
        return None if others else f"no stack; AWS still lists {kept} records of keys and of ECS"

    try:
        return eventually(look, "nothing is listed", 10)
    except NotSeenError:
        return f"no stack; AWS still lists {len(others)} more, one is {others[0]}: look at them"


def _kind(arn: str) -> tuple[str, str]:
    _, _, service, _, _, resource = arn.split(":", 5)
    return service, re.split("[:/]", resource)[0]
