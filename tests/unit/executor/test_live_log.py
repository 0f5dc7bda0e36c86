"""The lines of a task in a function's log, and failures to read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.aws import LogLine
from lambda_executor.aws.micro_vm_ids import MicroVmIds
from lambda_executor.contract import log_lines
from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service
from lambda_executor.scheduler.live_log import (
    CLOCKS_MS,
    MAX_LINES,
    PAUSE_S,
    LiveLog,
    RunningTask,
    of_invocation,
    presented,
)
from lambda_executor.setup.job_log_groups import KEPT_S
from tests.support.job_service import JobService

TASK = RunningTask("ours", "default", None, None)


def line(text: str | Mapping[str, object], at_ms: int = 0) -> LogLine:
    """A line of a stream."""
    return LogLine("stream", at_ms, text if isinstance(text, str) else json.dumps(text))


def started(id: str) -> dict[str, object]:
    """The line that the handler writes before a workload."""
    return {"event": "invocation started", "invocation_id": id}


def settled(id: str) -> dict[str, object]:
    """The line that the handler writes after a workload."""
    return {"event": "invocation settled", "invocation_id": id}


def texts(lines: Iterable[str | Mapping[str, object]]) -> list[str]:
    """The lines of our invocation among these."""
    return [each.text for each in of_invocation("ours", map(line, lines))]


def test_only_the_lines_of_the_invocation_are_shown() -> None:
    """An environment writes the lines of successive invocations into the same stream."""
    said = texts(
        [
            started("other"),
            "a secret of another task",
            settled("other"),
            "START RequestId: 1 Version: 7",
            started("ours"),
            "said",
            settled("ours"),
            "END RequestId: 1",
            started("third"),
            "another secret",
        ]
    )
    assert [json.loads(each)["event"] if each[0] == "{" else each for each in said] == [
        "invocation started",
        "said",
        "invocation settled",
    ]


@pytest.mark.parametrize(
    "next_start",
    [
        "START RequestId: 2 Version: 7",
        json.dumps({"time": "t", "type": "platform.start", "record": {"requestId": "2"}}),
        json.dumps(started("other")),
    ],
)
def test_a_crash_is_shown_to_its_end(next_start: str) -> None:
    """Without a settling line the log ends before the next invocation's first line."""
    crash = "Error: Runtime exited with error: signal: killed"
    said = texts([started("ours"), "said", crash, "REPORT RequestId: 1", next_start, "a secret"])
    assert said[1:] == ["said", crash, "REPORT RequestId: 1"]


@given(st.lists(st.text(min_size=1)), st.lists(st.text(min_size=1)))
def test_nothing_of_another_invocation_is_shown_whatever_is_logged(
    before: list[str], inside: list[str]
) -> None:
    """A task's output can shorten its shown log, but never show another task's lines."""
    secret = "the secret of another task"
    said = texts([*before, secret, started("ours"), *inside, settled("ours"), secret])
    assert secret not in [*said[1:]] or secret in inside
    assert said[0] == json.dumps(started("ours"))


def test_without_its_start_an_invocation_has_the_lines_from_its_first_one_on() -> None:
    """The newest lines of a stream may begin anywhere, also before the invocation."""
    ours = {"event": "loaded", "invocation_id": "ours"}
    theirs = {"event": "a secret", "invocation_id": "other"}
    crash = "Error: Runtime exited with error: signal: killed"
    assert texts([theirs, settled("other"), ours, crash, started("third"), theirs]) == [
        json.dumps(ours),
        crash,
    ]
    assert texts([theirs, settled("other"), started("third"), theirs]) == []
    assert texts([{"invocation_id": "ours"}, "no line of the handler"]) == []


@given(st.lists(st.booleans()), st.integers(min_value=0))
def test_nothing_of_another_invocation_is_in_the_newest_lines_wherever_they_begin(
    ours: list[bool], begin: int
) -> None:
    """An environment's invocations follow each other, and each may crash."""
    stream: list[str | dict[str, object]] = []
    for number, is_ours in enumerate(ours):
        id = "ours" if is_ours and not any(ours[:number]) else f"other-{number}"
        stream += [started(id), {"event": f"said by {id}", "invocation_id": id}, f"crash of {id}"]
    said = texts(stream[begin % (len(stream) + 1) :])
    assert all("other-" not in each for each in said)


@given(st.text())
def test_every_line_is_one_that_airflow_reads(text: str) -> None:
    """A line is JSON with an event: unchanged, or made from its time and text."""
    shown = json.loads(presented(line(text, at_ms=1_700_000_000_000)))
    try:
        given_event = json.loads(text)["event"]
    except (ValueError, KeyError, TypeError, IndexError):
        assert shown == {"timestamp": "2023-11-14T22:13:20.000+00:00", "event": text}
    else:
        assert shown["event"] == given_event


def test_the_fields_that_identify_the_task_are_left_out_of_its_log() -> None:
    """The UI shows every field of a line; the task's own fields are kept."""
    context = dict.fromkeys(log_lines.CONTEXT, "x")
    said = {"event": "said", "logger": "task", "rows": 3}
    assert json.loads(presented(line(said | context))) == said


@pytest.mark.parametrize("event", [log_lines.STARTED, log_lines.SETTLED])
def test_no_line_of_a_tasks_log_has_the_dispatch_id(event: str) -> None:
    """Whoever knows it can settle the invocation; the other fields of the line are kept."""
    others = {"event": event, "request_id": "r", "dag_id": "dag", "cold": True}
    assert json.loads(presented(line(others | {log_lines.INVOCATION: "id"}))) == others


def test_a_failure_is_reported_and_not_retried_at_once() -> None:
    """An API server without permissions answers every request at once, and recovers."""
    now_s = 0.0
    tries = 0

    def reach() -> None:
        nonlocal tries
        tries += 1
        raise ConfigError("no credentials")

    log = LiveLog(reach, clock=lambda: now_s)  # type: ignore[arg-type] # never gets as far
    expected: tuple[list[str], list[str]] = (
        ["The function's log cannot be read: no credentials"],
        [],
    )
    assert [log.read(TASK), log.read(TASK)] == [expected, expected]
    assert tries == 1
    now_s = PAUSE_S + 1
    assert log.read(TASK) == expected
    assert tries == 2


def test_no_error_is_raised() -> None:
    """Otherwise Airflow's API would answer with an error instead of the rest of the log."""

    def reach() -> None:
        raise RuntimeError("anything")

    sources, lines = LiveLog(reach).read(TASK)  # type: ignore[arg-type] # never gets as far
    assert ("anything" in sources[0], lines) == (True, [])


def log_of(
    service: JobService, *jobs: JobTarget, clock: Callable[[], float] = lambda: 0
) -> LiveLog:
    """The live log of an environment with some targets of jobs."""
    settings = SimpleNamespace(
        routes=Routes(FunctionTarget("fn"), jobs={job.name: job for job in jobs}),
        log_group_of=lambda _: "/aws/lambda/fn",
        payload_bucket="bucket",
    )
    gateway: Any = SimpleNamespace(settings=lambda: settings, clients=lambda _: service.clients())
    return LiveLog(lambda: gateway, clock=clock)


BATCH = JobTarget("long", Service.BATCH, '{"jobQueue": "q", "jobDefinition": "task"}')
ECS = JobTarget("huge", Service.ECS, '{"cluster": "c", "taskDefinition": "task"}')
VM_REQUEST = {
    "imageIdentifier": "arn:aws:lambda:eu-west-1:123456789012:microvm-image:task",
    "executionRoleArn": "arn:aws:iam::123456789012:role/task",
    "maximumDurationInSeconds": 3600,
}
VM = JobTarget("vm", Service.MICROVM, json.dumps(VM_REQUEST))
LOGS_TO_OWN = json.dumps({**VM_REQUEST, "logging": {"cloudWatch": {"logGroup": "own"}}})
LOGS_NOTHING = json.dumps({**VM_REQUEST, "logging": {"disabled": {}}})


def awslogs(**options: str) -> dict[str, Any]:
    """A container's log configuration."""
    return {"logConfiguration": {"logDriver": "awslogs", "options": options}}


def job_definitions(*properties: dict[str, Any]) -> dict[str, Any]:
    """An answer of `DescribeJobDefinitions`, the oldest revision first."""
    return {
        "jobDefinitions": [
            {
                "jobDefinitionName": "task",
                "jobDefinitionArn": "arn",
                "revision": number,
                "type": "container",
                "containerProperties": {"image": "i", **each},
            }
            for number, each in enumerate(properties, 1)
        ]
    }


def task_definition(*containers: dict[str, Any]) -> dict[str, Any]:
    """An answer of `DescribeTaskDefinition`."""
    return {
        "taskDefinition": {
            "containerDefinitions": [
                {"name": f"container-{number}", **each} for number, each in enumerate(containers)
            ]
        }
    }


@pytest.mark.parametrize(
    ("target", "answer", "group"),
    [
        (BATCH, job_definitions({}), "/aws/batch/job"),
        (BATCH, job_definitions({}, awslogs(**{"awslogs-group": "own"})), "own"),
        (ECS, task_definition(awslogs(**{"awslogs-group": "own"})), "own"),
        (
            replace(ECS, container="container-1"),
            task_definition({}, awslogs(**{"awslogs-group": "own"})),
            "own",
        ),
        (VM, {}, "/aws/lambda-microvms/task"),
        (
            replace(VM, request=LOGS_TO_OWN),
            {},
            "own",
        ),
    ],
)
def test_the_log_of_a_job_is_read_from_the_group_of_its_target(
    target: JobTarget, answer: dict[str, Any], group: str
) -> None:
    """By the dispatch id, as a function's; the newest definition says which group that is."""
    service = JobService()
    service.answer("DescribeJobDefinitions", **answer)
    service.answer("DescribeTaskDefinition", **answer)
    lines = [started("ours"), {"event": "said"}]
    events = [{"logStreamName": "s", "timestamp": 5, "message": json.dumps(e)} for e in lines]
    service.answer("FilterLogEvents", events=events[:1])
    service.answer("GetLogEvents", events=events, nextBackwardToken="end")
    log = log_of(service, target)
    for _ in range(2):
        sources, shown = log.read(replace(TASK, queue=target.name))
        assert sources == [f"CloudWatch log group {group}, log stream s"]
        assert [json.loads(each)["event"] for each in shown] == ["invocation started", "said"]
        assert "ours" not in "".join(shown)
    assert service.of("FilterLogEvents")[0]["logGroupName"] == group
    described = service.of("DescribeJobDefinitions") + service.of("DescribeTaskDefinition")
    assert len(described) == (0 if target.service is Service.MICROVM else 1)


def events(*texts: str | Mapping[str, object]) -> list[dict[str, Any]]:
    """The lines of a stream in an answer of CloudWatch Logs."""
    return [
        {"logStreamName": "s", "timestamp": 5, "message": line(text).text + "\n"} for text in texts
    ]


@pytest.mark.parametrize("queue", ["default", "long"])
def test_of_a_long_log_the_start_and_the_newest_lines_are_shown(queue: str) -> None:
    """One line says that there are more, and where; the budget is spent on the newest."""
    said = [{"event": f"line {number}", "invocation_id": "ours"} for number in range(30_000)]
    service = JobService()
    service.answer("DescribeJobDefinitions", **job_definitions({}))
    service.answer("FilterLogEvents", events=events(started("ours")))
    for last in (30_000, 20_000, 10_000):
        page = events(*said[last - 10_000 : last])
        service.answer("GetLogEvents", events=page, nextBackwardToken=f"before {last - 10_000}")
    (source,), lines = log_of(service, BATCH).read(replace(TASK, queue=queue))
    shown = [json.loads(each)["event"] for each in lines]
    left_out = f"Lines are left out here; all of them are in {source}"
    assert shown[:3] == ["invocation started", left_out, "line 10000"]
    assert (shown[-1], len(shown)) == ("line 29999", MAX_LINES + 2)
    asked = [call.get("nextToken") for call in service.of("GetLogEvents")]
    assert asked == [None, "before 20000"]
    assert "ours" not in "".join(lines)


def test_a_slow_answer_has_the_newest_page_and_says_that_it_is_not_all() -> None:
    """A person waits."""
    now_s = iter(range(0, 1_000, 4))
    service = JobService()
    service.answer("FilterLogEvents", events=events(started("ours")))
    for number in (3, 2, 1):
        page = events({"event": f"line {number}", "invocation_id": "ours"})
        service.answer("GetLogEvents", events=page, nextBackwardToken=f"before {number}")
    _, lines = log_of(service, clock=lambda: next(now_s)).read(TASK)
    start, left_out, *shown = [json.loads(each)["event"] for each in lines]
    assert start == "invocation started"
    assert left_out.startswith("Lines are left out here")
    assert shown == ["line 2", "line 3"]


def test_the_log_of_a_crashed_task_stays_whatever_its_environment_runs_next() -> None:
    """The newest lines are those of other tasks, and not shown."""
    service = JobService()
    service.answer("FilterLogEvents", events=events(started("ours")))
    others = [{"event": "theirs", "invocation_id": "other"}] * 10_000
    for number in range(2):
        service.answer("GetLogEvents", events=events(*others), nextBackwardToken=f"{number}")
    first = events(started("ours"), "said", "and more", "START RequestId: 2", started("other"))
    service.answer("GetLogEvents", events=first, nextForwardToken="f")
    service.answer("GetLogEvents", events=[], nextForwardToken="f")
    _, lines = log_of(service).read(TASK)
    shown = [json.loads(each)["event"] for each in lines]
    assert shown == ["invocation started", "said", "and more"]


def test_a_log_that_fits_is_shown_whole() -> None:
    """Nothing is said to be left out, whether it has one page or several, or an empty one."""
    service = JobService()
    service.answer("FilterLogEvents", events=events(started("ours")))
    service.answer("GetLogEvents", events=events("second"), nextBackwardToken="b")
    service.answer("GetLogEvents", events=[], nextBackwardToken="c")
    service.answer("GetLogEvents", events=events(started("ours"), "first"), nextBackwardToken="d")
    service.answer("GetLogEvents", events=[], nextBackwardToken="d")
    _, lines = log_of(service).read(TASK)
    shown = [json.loads(each)["event"] for each in lines]
    assert shown == ["invocation started", "first", "second"]


QUEUED_S = 1_700_000_000
STARTED_S = QUEUED_S + 6 * 3600


def long_ago(service: JobService) -> None:
    """A search from when a task was queued sees five pages of other lines."""
    for _ in range(5):
        service.answer("FilterLogEvents", events=[], nextToken="t")


@pytest.mark.parametrize("target", [BATCH, ECS, VM])
def test_a_job_that_waited_for_long_is_looked_for_from_its_start_on(target: JobTarget) -> None:
    """Its service knows when that was."""
    service = JobService()
    service.answer("DescribeJobDefinitions", **job_definitions({}))
    service.answer("DescribeTaskDefinition", **task_definition(awslogs(**{"awslogs-group": "own"})))
    service.answer("ListJobs", jobSummaryList=[{"jobId": "j", "jobName": "ours"}])
    job = {"jobId": "j", "jobName": "ours", "jobQueue": "q", "status": "RUNNING"}
    service.answer("DescribeJobs", jobs=[{**job, "startedAt": STARTED_S * 1000}])
    service.answer("ListTasks", taskArns=["t"])
    ran = {"taskArn": "t", "lastStatus": "RUNNING", "startedAt": STARTED_S}
    service.answer("DescribeTasks", tasks=[ran])
    MicroVmIds(service.clients(), "bucket").store(InvocationId("ours"), "vm-1")
    service.answer("GetMicrovm", microvmId="vm-1", state="RUNNING", startedAt=STARTED_S)
    long_ago(service)
    service.answer("FilterLogEvents", events=events(started("ours")))
    service.answer("GetLogEvents", events=events(started("ours")), nextBackwardToken="end")
    queued_at = datetime.fromtimestamp(QUEUED_S, UTC)
    task = replace(TASK, queue=target.name, queued_at=queued_at)
    _, lines = log_of(service, target).read(task)
    assert [json.loads(each)["event"] for each in lines] == ["invocation started"]
    since_ms = [call["startTime"] + CLOCKS_MS for call in service.of("FilterLogEvents")]
    assert since_ms == [QUEUED_S * 1000] * 5 + [STARTED_S * 1000]


def test_who_may_not_ask_when_a_job_started_looks_for_it_as_for_a_function() -> None:
    """The permission is not needed for jobs that start soon."""
    service = JobService()
    service.answer("DescribeJobDefinitions", **job_definitions({}))
    service.refuse("ListJobs", "AccessDeniedException", "not authorized", 403)
    long_ago(service)
    service.answer("FilterLogEvents", events=events(started("ours")))
    service.answer("GetLogEvents", events=events(started("ours")), nextBackwardToken="end")
    log = log_of(service, BATCH)
    task = replace(TASK, queue="long")
    assert "no line of this task yet" in log.read(task)[0][0]
    assert len(log.read(task)[1]) == 1


def test_a_task_that_names_its_log_stream_has_the_group_of_its_target() -> None:
    """Overrides are merged as they are for the launch."""
    service = JobService()
    service.answer("FilterLogEvents", events=[])
    target = replace(VM, request=LOGS_TO_OWN)
    overrides = {"logging": {"cloudWatch": {"logStream": "mine"}}}
    task = replace(TASK, queue="vm", executor_config={"microvm": overrides})
    sources, _ = log_of(service, target).read(task)
    assert sources == ["CloudWatch log group own has no line of this task yet"]


def test_a_task_with_a_job_definition_of_its_own_has_that_ones_log() -> None:
    """Its overrides are those of the launch."""
    service = JobService()
    service.answer("DescribeJobDefinitions", **job_definitions({}))
    service.answer("FilterLogEvents", events=[])
    service.answer("ListJobs", jobSummaryList=[])
    task = replace(TASK, queue="long", executor_config={"batch": {"jobDefinition": "own"}})
    sources, lines = log_of(service, BATCH).read(task)
    assert sources == ["CloudWatch log group /aws/batch/job has no line of this task yet"]
    assert lines == []
    assert service.of("DescribeJobDefinitions")[0]["jobDefinitionName"] == "own"


def test_after_a_deploy_the_log_group_is_asked_for_again() -> None:
    """The API server runs on."""
    now_s = 0.0
    service = JobService()
    service.answer("DescribeJobDefinitions", **job_definitions({}))
    service.answer("DescribeJobDefinitions", **job_definitions(awslogs(**{"awslogs-group": "new"})))
    service.answer("FilterLogEvents", events=[])
    service.answer("ListJobs", jobSummaryList=[])
    log = log_of(service, BATCH, clock=lambda: now_s)
    task = replace(TASK, queue="long")
    assert "/aws/batch/job" in log.read(task)[0][0]
    now_s = KEPT_S + 1
    assert "log group new" in log.read(task)[0][0]


SPLUNK = {"logConfiguration": {"logDriver": "splunk"}}


@pytest.mark.parametrize(
    ("target", "answer", "part"),
    [
        (BATCH, job_definitions(SPLUNK), "the job definition 'task' does not log to CloudWatch"),
        (ECS, task_definition(SPLUNK), "container 'container-0' of 'task' does not log to CloudW"),
        (ECS, task_definition({}), "container 'container-0' of 'task' does not log to CloudWatch"),
        (replace(VM, request=LOGS_NOTHING), {}, "is disabled"),
    ],
)
def test_a_log_that_is_elsewhere_is_said_to_be(
    target: JobTarget, answer: dict[str, Any], part: str
) -> None:
    """With what has to be set."""
    service = JobService()
    service.answer("DescribeJobDefinitions", **answer)
    service.answer("DescribeTaskDefinition", **answer)
    (source,), lines = log_of(service, target).read(replace(TASK, queue=target.name))
    assert source.startswith(f"The log of {target} cannot be read: ")
    assert part in source
    assert lines == []


DENIED = (
    "AccessDeniedException",
    "User: u is not authorized to perform: batch:DescribeJobDef",
    403,
)


def test_a_missing_permission_is_named_and_concerns_its_target_alone() -> None:
    """It is not asked for again at once, and the log of a function is read all the same."""
    now_s = 0.0
    service = JobService()
    service.refuse("DescribeJobDefinitions", *DENIED)
    service.answer("FilterLogEvents", events=[])
    service.answer("ListJobs", jobSummaryList=[])
    log = log_of(service, BATCH, clock=lambda: now_s)
    job = replace(TASK, queue="long")
    for _ in range(2):
        (source,), _lines = log.read(job)
        assert source.startswith("The log of batch:long cannot be read: the log group of 'task' is")
        assert "batch:DescribeJobDef" in source
    assert len(service.of("DescribeJobDefinitions")) == 1
    assert "no line of this task yet" in log.read(TASK)[0][0]
    service.answer("DescribeJobDefinitions", **job_definitions({}))
    now_s = PAUSE_S + 1
    assert "no line of this task yet" in log.read(job)[0][0]


def test_a_task_with_wrong_overrides_delays_no_other() -> None:
    """It was never launched; the log of the next one is read at once."""
    service = JobService()
    service.answer("DescribeJobDefinitions", **job_definitions({}))
    service.answer("FilterLogEvents", events=[])
    service.answer("ListJobs", jobSummaryList=[])
    log = log_of(service, BATCH)
    wrong = replace(TASK, queue="long", executor_config={"ecs": {}})
    assert "executor_config['ecs'] is for a job of Amazon ECS" in log.read(wrong)[0][0]
    assert "no line of this task yet" in log.read(replace(TASK, queue="long"))[0][0]
