"""The lines of a task in a function's log, and failures to read them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.aws import LogLine
from lambda_executor.contract import log_lines
from lambda_executor.contract.errors import ConfigError
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service
from lambda_executor.scheduler.live_log import (
    PAUSE_S,
    LiveLog,
    RunningTask,
    of_invocation,
    presented,
)

TASK = RunningTask("ours", "default", None, None)


def line(text: str | dict[str, object], at_ms: int = 0) -> LogLine:
    """A line of a stream."""
    return LogLine("stream", at_ms, text if isinstance(text, str) else json.dumps(text))


def started(id: str) -> dict[str, object]:
    """The line that the handler writes before a workload."""
    return {"event": "invocation started", "invocation_id": id}


def settled(id: str) -> dict[str, object]:
    """The line that the handler writes after a workload."""
    return {"event": "invocation settled", "invocation_id": id}


def texts(lines: Iterable[str | dict[str, object]]) -> list[str]:
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


class JobsOnly:
    """A gateway whose tasks all run as jobs."""

    def settings(self) -> SimpleNamespace:
        """Return what routes them."""
        target = JobTarget("long", Service.BATCH, "{}")
        return SimpleNamespace(routes=Routes(FunctionTarget("fn"), jobs={"long": target}))

    def clients(self, _settings: object) -> None:
        """Return nothing: no log is read."""


def test_of_a_job_the_log_says_where_its_log_is_and_not_its_dispatch_id() -> None:
    """Its container's log configuration decides that; more people read the UI than Batch."""
    task = RunningTask("ours", "long", None, None)
    (source,), lines = LiveLog(JobsOnly).read(task)  # type: ignore[arg-type] # as much as is read
    assert "a job of AWS Batch (target 'long'). Its log appears here when it has ended" in source
    assert "ours" not in source
    assert lines == []
