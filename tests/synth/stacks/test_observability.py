"""Alarms, dashboard and budget: links, metrics and limits."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_lambda_constructs.observability.invocation_metrics import (
    _ENDS,
    _NOT_RESTORED,
    _RESTORED,
)
from lambda_executor.contract import wire
from lambda_executor.core import metrics
from lambda_executor.core.reports import kind
from lambda_image.deadline import Margins
from lambda_image.invocation.handling import InvocationHandler
from lambda_image.verdict import Verdict
from stacks.observability_stack import WATCHED_TAG, fingerprint
from tests.synth.assembly import Assembly, Resource
from tests.synth.variants import ROOT

Get = Callable[[str], Assembly]

#: The metrics that services publish under these dimensions, from their documentation:
#: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
#: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-metrics.html
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/available-metrics.html
#: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
PUBLISHED = {
    ("AWS/Lambda", ("FunctionName",)): {
        "AsyncEventAge",
        "AsyncEventsDropped",
        "AsyncEventsReceived",
        "ConcurrentExecutions",
        "DeadLetterErrors",
        "Duration",
        "Errors",
        "Invocations",
        "Throttles",
    },
    ("AWS/SQS", ("QueueName",)): {
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesVisible",
    },
    ("AWS/RDS", ("DBInstanceIdentifier",)): {
        "CPUUtilization",
        "DatabaseConnections",
        "FreeStorageSpace",
        "FreeableMemory",
        "ReadLatency",
        "WriteLatency",
    },
    ("AWS/ECS", ("ClusterName", "ServiceName")): {"CPUUtilization", "MemoryUtilization"},
    ("AWS/ApplicationELB", ("LoadBalancer", "TargetGroup")): {
        "HealthyHostCount",
        "TargetResponseTime",
        "UnHealthyHostCount",
    },
}


@pytest.fixture(params=["dev", "prod"])
def watched(request: pytest.FixtureRequest, assembly_of: Get) -> Assembly:
    """The stages that are watched, in turn."""
    return assembly_of(request.param)


def alarms(assembly: Assembly) -> dict[str, dict[str, Any]]:
    """The properties of every alarm, by the alarm's name without the stage's."""
    prefix = f"airflow-lambda-{assembly.stage}-"
    return {
        alarm.properties["AlarmName"].removeprefix(prefix): dict(alarm.properties)
        for alarm in assembly.resources("AWS::CloudWatch::Alarm")
    }


def sections(page: str) -> set[str]:
    """The anchors of a page's sections."""
    titles = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    return {title.lower().replace(" ", "-") for title in titles}


def widgets(assembly: Assembly, kind: str) -> list[dict[str, Any]]:
    """The widgets of the dashboard, with `?` for values that are known only at deploy."""
    body = assembly.only("AWS::CloudWatch::Dashboard").properties["DashboardBody"]
    text = (
        body
        if isinstance(body, str)
        else "".join(part if isinstance(part, str) else "?" for part in body["Fn::Join"][1])
    )
    found = json.loads(text)["widgets"]
    return [widget["properties"] for widget in found if widget["type"] == kind]


def graphs(assembly: Assembly) -> list[dict[str, Any]]:
    """The graphs of the dashboard."""
    return widgets(assembly, "metric")


def drawn(assembly: Assembly) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Namespace, name and dimensions of every metric of the dashboard."""
    for graph in graphs(assembly):
        for metric in graph["metrics"]:
            if isinstance(metric[0], str):
                namespace, name, *dimensions = (part for part in metric if isinstance(part, str))
                yield namespace, name, tuple(sorted(dimensions[::2]))


def alarmed(assembly: Assembly) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Namespace, name and dimensions of every metric of an alarm."""
    for alarm in alarms(assembly).values():
        stats = [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m]
        for metric in stats or [alarm]:
            dimensions = tuple(sorted(d["Name"] for d in metric.get("Dimensions", [])))
            yield metric["Namespace"], metric["MetricName"], dimensions


def filtered(assembly: Assembly) -> dict[tuple[str, str], Resource]:
    """The metric filters, by namespace and name of their metric."""
    found = {}
    for filter_ in assembly.resources("AWS::Logs::MetricFilter"):
        (made,) = filter_.properties["MetricTransformations"]
        found[made["MetricNamespace"], made["MetricName"]] = filter_
    return found


def test_every_alarm_has_its_section_in_the_runbook(watched: Assembly) -> None:
    """An alarm's text ends with the runbook and a section that the page has."""
    known = sections("docs/howto/runbook.md")
    for name, alarm in alarms(watched).items():
        page, _, anchor = alarm["AlarmDescription"].rpartition(" ")[2].partition("#")
        assert page == "docs/howto/runbook.md"
        assert anchor in known, name
        assert name.endswith(anchor)


def test_alarms_lead_to_the_runbook_that_people_can_open(assembly_of: Get) -> None:
    """With `runbook_url` an alarm's text has a full link."""
    for name, alarm in alarms(assembly_of("much")).items():
        page, _, anchor = alarm["AlarmDescription"].rpartition(" ")[2].partition("#")
        assert page == "https://wiki.example.com/airflow-lambda/runbook"
        assert name.endswith(anchor)


@pytest.mark.parametrize(
    ("stage", "form"),
    [("dev", r"`docs/howto/runbook\.md#{0}`"), ("much", r"\[{0}\]\(https://wiki\S+/runbook#{0}\)")],
)
def test_the_dashboard_leads_to_the_section_of_each_alarm(
    assembly_of: Get, stage: str, form: str
) -> None:
    """By links if people can open the runbook, by its path in the repository otherwise."""
    watched = assembly_of(stage)
    (text,) = (widget["markdown"] for widget in widgets(watched, "text"))
    named = set(re.findall(r"#([a-z-]+)", text))
    assert named <= sections("docs/howto/runbook.md")
    assert all(any(name.endswith(section) for section in named) for name in alarms(watched))
    for section in named:
        assert re.search(form.format(section), text), section


def test_every_section_of_the_runbook_has_its_alarm(assembly_of: Get) -> None:
    """Every section of the runbook belongs to an alarm or the budget, or says that it has none."""
    stages = [assembly_of("dev"), assembly_of("prod")]
    names = [name for stage in stages for name in alarms(stage)]
    for section in sections("docs/howto/runbook.md") - {
        "budget",
        "nothing-is-sent",
        "tasks-stay-scheduled",
    }:
        assert any(name.endswith(section) for name in names), section


def test_alarms_go_to_a_topic_when_they_begin_and_when_they_end(watched: Assembly) -> None:
    """Every alarm notifies the topic when it goes off and when it is over."""
    topic = {"Ref": watched.only("AWS::SNS::Topic").logical_id}
    for name, alarm in alarms(watched).items():
        assert alarm["AlarmActions"] == [topic], name
        assert alarm["OKActions"] == [topic], name


def test_topic_is_encrypted_with_a_key_that_cloudwatch_may_use(watched: Assembly) -> None:
    """The topic has a key of the stage, over TLS only, and CloudWatch of this account may use both.

    With SNS's own key no alarm would arrive.
    """
    key = watched.only("AWS::KMS::Key", "AlarmTopic")
    topic = watched.only("AWS::SNS::Topic").properties
    assert topic["KmsMasterKeyId"] == {"Fn::GetAtt": [key.logical_id, "Arn"]}
    statements = [
        *key.properties["KeyPolicy"]["Statement"],
        *watched.only("AWS::SNS::TopicPolicy").properties["PolicyDocument"]["Statement"],
    ]
    by_cloudwatch = [s for s in statements if "cloudwatch" in json.dumps(s["Principal"])]
    assert [s["Action"] for s in by_cloudwatch] == [
        ["kms:Decrypt", "kms:GenerateDataKey"],
        "sns:Publish",
    ]
    for statement in by_cloudwatch:
        assert statement["Condition"] == {
            "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
        }
    assert [s["Condition"] for s in statements if s["Effect"] == "Deny"] == [
        {"Bool": {"aws:SecureTransport": "false"}}
    ]


def test_alarms_are_mailed_where_an_address_is_given(assembly_of: Get) -> None:
    """A configured address gets a subscription; without one there is only the topic."""
    subscription = assembly_of("much").only("AWS::SNS::Subscription").properties
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "oncall@example.com")
    assert not assembly_of("dev").resources("AWS::SNS::Subscription")


def test_every_metric_is_one_that_somebody_publishes(watched: Assembly) -> None:
    """Every used metric is a service's documented one or made by a filter."""
    ours = {
        (namespace, name, tuple(d["Key"] for d in made.get("Dimensions", [])))
        for (namespace, name), filter_ in filtered(watched).items()
        for made in filter_.properties["MetricTransformations"]
    }
    used = {*drawn(watched), *alarmed(watched)}
    assert used
    for namespace, name, dimensions in used:
        published = PUBLISHED.get((namespace, dimensions), set())
        assert name in published or (namespace, name, dimensions) in ours, (namespace, name)


def test_dashboard_shows_the_whole_way_of_an_invocation(watched: Assembly) -> None:
    """Every documented metric listed above is used if its part exists."""
    shown = {(namespace, name) for namespace, name, _ in drawn(watched)}
    missing = set() if watched.has("control-plane") else {"AWS/ECS"}
    if not watched.resources("AWS::ElasticLoadBalancingV2::LoadBalancer"):
        missing.add("AWS/ApplicationELB")
    for (namespace, _), names in PUBLISHED.items():
        expected = set() if namespace in missing else names
        assert {name for space, name in shown if space == namespace} == expected, namespace


def test_executor_metrics_on_the_dashboard_exist(watched: Assembly) -> None:
    """The executor's metrics on the dashboard are in its table of metrics."""
    searched = {
        name
        for graph in graphs(watched)
        for metric in graph["metrics"]
        for name in re.findall(r"lambda_executor (\w+)'", json.dumps(metric))
    }
    assert len(searched) >= 8
    assert searched <= metrics.METRICS.keys()


def test_filters_read_what_the_handler_writes(watched: Assembly) -> None:
    """Every field of a filter is in the line that the handler writes."""
    written: dict[str, Any] = {}
    it: Any = SimpleNamespace(
        run=lambda *_: Verdict(wire.Outcome.COMPLETED, 0, ""),
        resolve=lambda invocation, *_: invocation,
        queue_url=lambda *_: "https://sqs.test/results",
        send=lambda *_: None,
        aws_request_id="1",
        log_stream_name="2",
        get_remaining_time_in_millis=lambda: 60_000,
    )
    handler = InvocationHandler(
        run_workload=it.run,
        queue_url=it.queue_url,
        send=it.send,
        resolve=it.resolve,
        write_log=lambda _, event, **fields: written.update(fields, event=event),
        answer_probe=lambda _: pytest.fail("no probe was sent"),
        init_ms=1.0,
        margins=Margins(None, None),
    )
    handler.handle({"task_key": "k", "command": ["{}"], "executor_config": {}}, it)

    patterns = [f.properties["FilterPattern"] for f in filtered(watched).values()]
    dimensions = [
        dimension["Value"]
        for filter_ in filtered(watched).values()
        for made in filter_.properties["MetricTransformations"]
        for dimension in made.get("Dimensions", [])
    ]
    fields = set(re.findall(r"\$\.(\w+)", " ".join(patterns + dimensions)))
    assert {
        "event",
        "init_ms",
        "max_memory_mb",
        "outcome",
        "queue_to_start_ms",
        "reported",
        "run_ms",
    } == fields
    assert fields <= written.keys()
    event = f'$.event = "{written["event"]}"'
    assert all(event in pattern for pattern in patterns if pattern.startswith("{"))


def test_every_outcome_is_drawn(watched: Assembly) -> None:
    """The dashboard has a line for each way in which an invocation can end."""
    shown = {
        metric[3]
        for graph in graphs(watched)
        for metric in graph["metrics"]
        if len(metric) > 3 and metric[2] == "outcome"
    }
    assert shown == {outcome.value for outcome in wire.Outcome}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "2026-06-23T14:08:22.417Z 5f3c1a9e-0000 Task timed out after 3.01 seconds",
            "timeout",
        ),
        ("RequestId: 5f3c1a9e-0000 Error: Runtime exited with error: signal: killed", "killed"),
        ("RequestId: 5f3c1a9e-0000 Error: Runtime exited with error: exit status 1", "crash"),
        ('{"event": "Task timed out after 3 seconds", "level": "info"}', None),
        ('{"event": "RequestId: 1 Error: Runtime exited with error: exit status 1"}', None),
        ("REPORT RequestId: 5f3c1a9e-0000 Duration: 1.00 ms Billed Duration: 1 ms", None),
    ],
)
def test_lambdas_own_words_are_counted_by_reason(line: str, reason: str | None) -> None:
    """Lambda's lines count under the executor's reasons, and a task's log does not match."""
    matched = {name for name, pattern in _ENDS.items() if matches(pattern, line)}
    assert matched == ({reason} if reason else set())
    if reason:
        letter = wire.DeadLetter(id=wire.InvocationId("k"), reason=line, request_id=None)
        assert kind(letter) == reason


_REPORT = (
    "REPORT RequestId: 5f3c1a9e-0000\tDuration: 61.20 ms\tBilled Duration: 262 ms\t"
    "Memory Size: 1769 MB\tMax Memory Used: 188 MB\t"
)


@pytest.mark.parametrize(
    ("line", "restore_ms"),
    [
        (f"{_REPORT}Restore Duration: 452.81 ms\tBilled Restore Duration: 200 ms\t", "452.81"),
        (f"{_REPORT}Init Duration: 1403.20 ms\t", None),
        (_REPORT, None),
        ('{"event": "REPORT RequestId: 1 Restore Duration: 5 ms"}', None),
        ("RESTORE_REPORT Restore Duration: 10000.00 ms\tStatus: timeout", None),
    ],
)
def test_a_restore_is_read_from_lambdas_report(line: str, restore_ms: str | None) -> None:
    """Only the report of an invocation that found a restored environment says how long it took."""
    assert matches(_RESTORED, line) is (restore_ms is not None)
    if restore_ms is not None:
        names = [field.partition("=")[0] for field in _RESTORED.strip("[]").split(", ")]
        assert line.split()[names.index("restore")] == restore_ms


@pytest.mark.parametrize(
    ("line", "failed"),
    [
        ("RESTORE_REPORT Restore Duration: 10000.00 ms\tStatus: timeout", True),
        ("RESTORE_REPORT Restore Duration: 20.00 ms\tStatus: error\tError Type: Exit", True),
        ("RESTORE_REPORT Restore Duration: 20.00 ms", False),
        (f"{_REPORT}Restore Duration: 452.81 ms\tBilled Restore Duration: 200 ms\t", False),
        ('{"event": "RESTORE_REPORT Status: error"}', False),
    ],
)
def test_a_failed_restore_is_counted(line: str, failed: bool) -> None:
    """Lambda writes its own report about it, and no other line counts."""
    assert matches(_NOT_RESTORED, line) is failed


def test_the_dashboard_tells_cold_restored_and_warm_starts_apart(watched: Assembly) -> None:
    """A stage without snapshots has no restored ones, and no restore that failed."""
    labels = {
        metric[-1].get("label")
        for graph in graphs(watched)
        for metric in graph["metrics"]
        if isinstance(metric[-1], dict)
    }
    of_snapshots = {"restored starts", "median of a restore", "restore"}
    snapshots = any(map(watched.config.starts_from_snapshot, watched.config.functions))
    assert labels >= {"cold starts", "warm starts", *(of_snapshots if snapshots else ())}
    assert snapshots or not labels & of_snapshots


def matches(pattern: str, line: str) -> bool:
    """Whether a space-delimited filter pattern matches a line, as CloudWatch Logs documents it.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html
    """
    *fields, rest = pattern.strip("[]").split(", ")
    assert rest == "..."
    words = line.split()
    wanted = [field.partition("=")[2] or "*" for field in fields]
    return len(words) >= len(wanted) and all(
        fnmatch.fnmatchcase(word, glob) for word, glob in zip(words, wanted, strict=False)
    )


def test_limits_follow_the_stage(watched: Assembly) -> None:
    """An alarm goes off at half of what a stage allows to wait and at a tenth of its storage."""
    config, found = watched.config, alarms(watched)
    waits = found["default-invocations-wait"]
    assert waits["Threshold"] == config.execution.event_age_s * 1000 / 2
    full = found["database-full"]
    assert full["Threshold"] == config.database.storage_gb * 1024**3 / 10
    assert full["ComparisonOperator"] == "LessThanOrEqualToThreshold"
    unread = [name for name in found if name.endswith("results-unread")]
    assert len(unread) == config.execution.results_queues


def test_silence_is_no_alarm_but_of_a_service(watched: Assembly) -> None:
    """While no task runs, no alarm goes off."""
    for name, alarm in alarms(watched).items():
        expected = "breaching" if name.endswith("service-down") else "notBreaching"
        assert alarm["TreatMissingData"] == expected, name


def test_nothing_is_held_by_being_watched(watched: Assembly) -> None:
    """The observability stack imports no export, which would block changes of other stacks.

    A results queue less, a listener with a certificate instead of one without: what is watched is
    deployed first.
    """
    template = json.dumps(watched.json("observability"))
    assert "Fn::GetStackOutput" in template
    assert "Fn::ImportValue" not in template


def test_budget_counts_what_the_stacks_are_tagged_with(assembly_of: Get) -> None:
    """The budget filters by the stage's tag and mails to the stage's address."""
    assembly = assembly_of("much")
    budget = assembly.only("AWS::Budgets::Budget").properties
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 50, "Unit": "USD"}
    (counted,) = budget["Budget"]["CostFilters"]["TagKeyValue"]
    key, value = counted.removeprefix("user:").split("$")
    for part in assembly.parts:
        artifact = assembly.manifest()["artifacts"][f"airflow-lambda-dev-{part}"]
        assert artifact["properties"]["tags"][key] == value
    addresses = {
        subscriber["Address"]
        for notification in budget["NotificationsWithSubscribers"]
        for subscriber in notification["Subscribers"]
    }
    assert addresses == {"oncall@example.com"}
    assert not assembly_of("dev").resources("AWS::Budgets::Budget")


def test_nothing_is_built_where_nothing_is_wanted(assembly_of: Get) -> None:
    """A stage without dashboard and budget has no such stack."""
    local = assembly_of("local")
    assert not local.config.observability.wanted
    assert "observability" not in local.parts


# --- what is watched may be replaced ---


def fingerprints(assembly: Assembly) -> set[str]:
    """The values of the tag that says which templates the watched resources come from."""
    return {
        tag["Value"]
        for resource in assembly.resources("AWS::CloudWatch::Alarm")
        for tag in resource.properties.get("Tags", [])
        if tag["Key"] == WATCHED_TAG
    }


def test_every_alarm_changes_with_the_templates_of_what_it_watches(assembly: Assembly) -> None:
    """Otherwise it would go on to watch a load balancer that was replaced.

    Its references are resolved when its stack is updated, and CloudFormation updates a stack only
    if a resource in it changes: not if only its description or its metadata does.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-getstackoutput.html
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/metadata-section-structure.html
    """
    alarms = assembly.resources("AWS::CloudWatch::Alarm")
    others = [assembly.json(part) for part in assembly.parts if part != "observability"]
    expected = {fingerprint(json.dumps(other) for other in others)} if alarms else set()
    assert fingerprints(assembly) == expected
    for alarm in alarms:
        assert WATCHED_TAG in {tag["Key"] for tag in alarm.properties["Tags"]}, alarm.logical_id


def test_another_network_is_another_fingerprint(assembly_of: Get) -> None:
    """A stage that watches the same kinds of resources in another network."""
    assert fingerprints(assembly_of("dev")) != fingerprints(assembly_of("permitted"))


def test_a_new_image_alone_changes_no_alarm() -> None:
    """It changes hashes only, and replaces nothing that is watched."""

    def template(image: str, version: str, subnet: str = "a") -> str:
        version = f"WorkloadFunctionCurrentVersion1F237B1C{version * 32}"
        return json.dumps({"Image": image * 64, "Version": version, "Subnet": subnet})

    before = fingerprint([template("a", "1")])
    assert fingerprint([template("b", "2")]) == before
    assert fingerprint([template("a", "1", subnet="b")]) != before
