"""Why a task failed or waits: the story in a log, and the verdict on all that is known."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lambda_executor.aws import LogLine
from lambda_executor.core.reports import CONTINUED
from lambda_executor.ops.dead_letters import TaskName
from lambda_executor.ops.explain import log_story, verdict
from lambda_executor.ops.explain.command import in_order
from lambda_executor.ops.explain.evidence import Event, Evidence, Fact, LogStory, Try, reason_of
from tests.support.handler_process import ROOT

NAME = TaskName("d", "r", "t", -1, 2)
REQUEST = "15e9cd80-edf5-4e08-8b3d-6139bc438860"
STARTED = {"event": "invocation started", "invocation_id": "ours", "request_id": REQUEST}
SETTLED = {
    "event": "invocation settled",
    "invocation_id": "ours",
    "request_id": REQUEST,
    "outcome": "completed",
    "return_code": 1,
}
TIMEOUT = f"2026-11-30T10:00:03.000Z {REQUEST} Task timed out after 3.00 seconds"


def told(*lines: str | dict[str, Any], request_id: str = "") -> LogStory:
    """The story in some lines."""
    stream = [
        LogLine("stream", 1000 * number, line if isinstance(line, str) else json.dumps(line))
        for number, line in enumerate(lines)
    ]
    return log_story.told(stream, "ours", request_id, "function log")


def texts(story: LogStory) -> list[str]:
    """What its facts say."""
    return [fact.text for fact in story.facts]


def judged(state: str | None, **known: Any) -> verdict.Verdict:
    """The verdict on a task in a state."""
    return verdict.of(Evidence(Try(NAME, state), **known))


def failed(text: str, event: str = "lambda executor", try_number: int = 2) -> Event:
    """An entry of the audit log."""
    return Event(None, event, text, try_number)


def test_a_story_has_the_handlers_lines_and_lambdas_and_no_others() -> None:
    """Neither what the task prints nor another invocation is told."""
    story = told(
        STARTED | {"cold": True},
        "printed by a native library",
        {"event": "printed"} | {"invocation_id": "ours"},
        SETTLED | {"run_ms": 1200.4, "max_memory_mb": None, "reason": "no\nway"},
        f"END RequestId: {REQUEST}",
        f"REPORT RequestId: {REQUEST}\tDuration: 9 ms\tMax Memory Used: 9 MB\t\n",
        "START RequestId: another Version: 7",
        {"event": "invocation settled", "invocation_id": "ours"},
    )
    assert texts(story) == [
        "the handler started it in a new execution environment",
        "the handler ended it: outcome completed, return code 1, ran for 1200 ms: no way",
        "REPORT Duration: 9 ms Max Memory Used: 9 MB",
    ]
    assert story.has_started
    assert story.settled["return_code"] == 1
    assert story.crash == ""
    assert story.facts[1].at == datetime.fromtimestamp(3, UTC)


def test_a_crash_is_told_in_lambdas_words() -> None:
    """The story of one that wrote no end is over when the next invocation starts."""
    story = told(STARTED, TIMEOUT, "START RequestId: another Version: 7", TIMEOUT)
    assert texts(story)[1:] == ["2026-11-30T10:00:03.000Z Task timed out after 3.00 seconds"]
    assert story.crash == texts(story)[1]


def test_lambdas_json_log_format_is_read_too() -> None:
    """A function may have its system log in JSON."""
    record = {"requestId": REQUEST, "status": "timeout", "metrics": {"durationMs": 3000.0}}
    story = told(
        {"type": "platform.start", "record": {"requestId": REQUEST}},
        STARTED,
        {"type": "platform.report", "record": record | {"errorType": "Sandbox.Timedout"}},
    )
    report = "REPORT durationMs 3000.0 Status: timeout, Sandbox.Timedout"
    assert (texts(story)[-1], story.crash) == (report, report)


def test_a_request_id_alone_is_enough() -> None:
    """A function that crashes while it is imported writes no line of the handler's."""
    crash = f"RequestId: {REQUEST} Error: Runtime exited with error: exit status 1"
    assert texts(told(crash, request_id=REQUEST)) == [
        "Error: Runtime exited with error: exit status 1"
    ]
    assert texts(told(crash)) == []


@pytest.mark.parametrize(
    ("reason", "id"),
    [
        (f"it ended (request id {REQUEST}, log stream s)", REQUEST),
        (f"Lambda gave up: why (request id {REQUEST})", REQUEST),
        ("Lambda gave up: why", ""),
        ("(request id \x1b[2J)", ""),
    ],
)
def test_the_request_id_is_taken_from_the_executors_reason(reason: str, id: str) -> None:
    """Only what AWS gives as one is searched for."""
    assert log_story.request_id_in(reason) == id


def test_the_executors_reason_of_this_try_comes_first() -> None:
    """It is what the sources have been condensed to already; other tries have their own."""
    story = LogStory(settled={"reason": "the handler's"}, crash="Lambda's")
    events = [failed("of the first", try_number=1), failed("the executor's")]
    assert judged("failed", events=events, log=story).text == "it failed: the executor's"
    assert judged("failed", events=events[:1], log=story).text == "it failed: the handler's"
    assert judged("failed", log=LogStory(crash="Lambda's")).text == "it failed: Lambda's"
    assert judged("failed", job_ends=["Batch's"]).text == "it failed: Batch's"
    events = [failed("5 minutes", "heartbeat timeout")]
    assert judged("failed", events=events).text == "it failed: heartbeat timeout: 5 minutes"
    assert reason_of(events, 2) == ""


def test_a_failure_of_the_task_itself_is_no_failure_of_the_environment() -> None:
    """The handler says that it did its part; without a source nothing is claimed."""
    story = LogStory(settled={"outcome": "completed", "task_state": "failed"})
    assert judged("failed", log=story).text.startswith("the task itself failed")
    assert "most often the task itself failed" in judged("failed").text
    assert "Airflow will try it again" in judged("up_for_retry").text


def test_what_has_ended_and_still_runs_in_airflow_is_told() -> None:
    """A crash, a job's end, and a result that the executor has not taken yet."""
    crash = "Error: Runtime exited with error: signal: killed"
    found = judged("running", log=LogStory(has_started=True, crash=crash))
    assert found.text.endswith(f"Airflow does not know that yet: {crash}")
    assert found.page.endswith("#the-task-needed-more-memory")
    assert "has ended" in judged("running", job_ends=["the job has stopped"]).text
    settled = LogStory(has_started=True, settled={"outcome": "completed"})
    assert "sent its result" in judged("running", log=settled).text
    assert judged("running").text == "it runs, and nothing says that it has ended"


def test_what_keeps_a_task_waiting_is_the_verdict() -> None:
    """Every reason that is known, and a way to find others where none is."""
    waits = ["no scheduler is alive", "the function is full"]
    for state in ("queued", "scheduled", None):
        assert judged(state, waits=waits).text.endswith("; ".join(waits))
    assert "has not started yet" in judged("queued").text
    assert judged("scheduled").text.startswith("it waits in Airflow: the scheduler will queue it")
    assert judged(None).fix.startswith("airflow tasks failed-deps d t r ")


def test_a_start_that_airflow_has_not_heard_of_is_no_wait() -> None:
    """The way to the Execution API is the first suspect; a job that ended early names its end."""
    found = judged("queued", log=LogStory(has_started=True), waits=["the function is full"])
    assert "has not heard of a start" in found.text
    found = judged("queued", job_ends=["the Batch job 1 has failed: CannotPull"])
    assert "before it started the task: the Batch job 1 has failed" in found.text


@pytest.mark.parametrize(
    "state",
    [
        *("failed", "queued", "removed", "restarting", "running", "skipped"),
        *("success", "up_for_retry", "upstream_failed", *sorted(CONTINUED)),
    ],
)
def test_every_state_of_airflow_has_a_verdict_of_its_own(state: str) -> None:
    """None of them is taken for a task that Airflow has not scheduled."""
    found = judged(state)
    assert found.text
    assert "not scheduled it yet" not in found.text


def test_a_task_of_another_executor_is_no_concern_of_ours() -> None:
    """Whatever its state is."""
    task = Try(NAME, "failed", executor="LocalExecutor", is_ours=False)
    assert "LocalExecutor runs it" in verdict.of(Evidence(task)).text


def test_facts_are_in_order_of_time_and_what_is_so_now_comes_last() -> None:
    """Facts of the same moment keep their order."""
    now = datetime.now(UTC)
    facts = [
        Fact(None, "a queue", "now"),
        Fact(now, "a log", "second"),
        Fact(now, "a log", "third"),
        Fact(now - timedelta(hours=1), "a task", "first"),
    ]
    assert [fact.text for fact in in_order(facts)] == ["first", "second", "third", "now"]


def test_every_page_that_a_verdict_names_is_there() -> None:
    """With the section, if it names one."""
    source = (ROOT / "executor/src/lambda_executor/ops/explain/verdict.py").read_text()
    folders = {"_TASKS": "docs/troubleshooting/tasks.md", "_RUNBOOK": "docs/howto/runbook.md"}
    sections = re.findall(r"\{(_TASKS|_RUNBOOK)\}#([a-z0-9-]+)", source)
    assert len(sections) > len(verdict.CAUSES)
    for name, section in sections:
        titles = re.findall(r"^## (.*)$", (ROOT / folders[name]).read_text(), re.MULTILINE)
        assert section in {_slug(title) for title in titles}


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
