"""The invocation handler from the event to the result, with a fake runner and a fake queue."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.contract import probe
from lambda_executor.contract.errors import ConfigError, DecodeError
from lambda_executor.contract.probe import ProbeAnswer
from lambda_executor.contract.wire import (
    Invocation,
    InvocationId,
    Outcome,
    PayloadPointer,
    Result,
    payload_key,
)
from lambda_image import verdict
from lambda_image.deadline import RESERVE_S, Deadline, Margins
from lambda_image.invocation.handling import InvocationHandler
from lambda_image.invocation.reporter import ReportError
from lambda_image.logs import log_output
from lambda_image.logs.log_output import LogOutput
from lambda_image.machine.stop_request import GRACE_S, REASON, StopRequest
from lambda_image.verdict import Verdict

TOKEN = "eyJhbGciOiJub25lIn0.c2VjcmV0.bm90LWEtdG9rZW4"
WORKLOAD = json.dumps(
    {
        "type": "ExecuteTask",
        "token": TOKEN,
        "ti": {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": 3, "try_number": 2},
    }
)

ANSWER = ProbeAnswer("3.3.2", "3.12.4", 1, "https://airflow/execution/", "", 3.5)


@dataclass
class Context:
    """Lambda's context of an invocation."""

    aws_request_id: str = "request-1"
    log_stream_name: str = "stream-1"
    remaining_s: float = 900.0

    def get_remaining_time_in_millis(self) -> float:
        """Return the time left."""
        return self.remaining_s * 1000


@dataclass
class World:
    """A handler with a fake task and a fake queue."""

    end: Verdict = field(default_factory=lambda: replace(verdict.ended(0), max_memory_mb=183.5))
    default_queue: str | None = "https://default"
    queue_takes: bool = True
    started: list[str] = field(default_factory=list)
    sent: list[tuple[str, Result]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    fetched: Invocation | Verdict | None = None
    margins: Margins = field(default_factory=lambda: Margins(None, None))
    deadlines: list[Deadline] = field(default_factory=list)
    resolve_by_s: float = 0.0
    send_by_s: float = 0.0
    clock_s: float = 1000.0
    takes_s: float = 0.25
    request: StopRequest = field(default_factory=lambda: StopRequest(lambda: 60.0))
    explained: list[str] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.handler = InvocationHandler(
            run_workload=self.run,
            queue_url=self.queue_url,
            send=self.send,
            resolve=self.resolve,
            margins=self.margins,
            write_log=lambda level, event, **fields: self.lines.append(
                {"level": level, "event": event, **fields}
            ),
            answer_probe=lambda _: ANSWER,
            explain=lambda _workload, reason, _deadline: self.explained.append(reason),
            announce=lambda _workload, reason: self.announced.append(reason),
            request=self.request,
            init_ms=1234.5,
            now_s=lambda: self.clock_s,
            clock_s=lambda: 50.0,
        )

    def run(self, workload_json: str, deadline: Deadline) -> Verdict:
        """Run for as long as it takes."""
        self.started.append(workload_json)
        self.deadlines.append(deadline)
        self.clock_s += self.takes_s
        return self.end

    def resolve(self, invocation: Invocation, by_s: Callable[[], float]) -> Invocation | Verdict:
        """Return the prepared invocation for a pointer."""
        self.resolve_by_s = by_s()
        if invocation.payload is None:
            return invocation
        assert self.fetched is not None
        return self.fetched

    def queue_url(self, reply_to: str | None) -> str:
        """Find the queue as `Reporter` does."""
        if url := reply_to or self.default_queue:
            return url
        raise ConfigError("no results queue")

    def send(self, queue_url: str, result: Result, by_s: float) -> None:
        """Keep the result."""
        self.send_by_s = by_s
        if not self.queue_takes:
            raise ReportError("not taken")
        # What arrives is what the other side reads.
        self.sent.append((queue_url, Result.decode(result.encode())))

    def handle(self, event: object, remaining_s: float = 900.0) -> dict[str, Any]:
        """Hand over one event as Lambda does."""
        return self.handler.handle(event, Context(remaining_s=remaining_s))


def event(**changes: Any) -> dict[str, Any]:
    """Make an event of our executor."""
    invocation = Invocation.for_workload(InvocationId("id-1"), WORKLOAD, queued_at_s=998.5)
    return {**json.loads(invocation.encode()), **changes}


def pointer_event() -> dict[str, Any]:
    """Make an event that points to its payload."""
    pointer = PayloadPointer("bucket", payload_key(InvocationId("id-1")), 5_000_000)
    pointing = Invocation.decode(event()).pointing_to(pointer)
    return cast("dict[str, Any]", json.loads(pointing.encode()))


def reference_event(key: str) -> dict[str, Any]:
    """Make an event of the reference's executor."""
    ours = event()
    return {"task_key": key, "command": ours["command"], "executor_config": {}}


def test_the_result_of_a_task_tells_all_there_is_to_know() -> None:
    """A result carries the outcome, the log stream and the times of a cold start."""
    world = World()
    world.handle(event(reply_to="https://mine"))
    assert world.sent == [
        (
            "https://mine",
            Result(
                id=InvocationId("id-1"),
                return_code=0,
                outcome=Outcome.COMPLETED,
                request_id="request-1",
                log_stream="stream-1",
                cold=True,
                init_ms=1234.5,
                run_ms=250.0,
                started_at_s=1000.0,
                queue_to_start_ms=1500.0,
                max_memory_mb=183.5,
            ),
        )
    ]
    assert world.started == [WORKLOAD]


def test_a_workload_has_the_time_that_lambda_leaves_it() -> None:
    """The deadlines of workload, payload and result count from the entry."""
    world = World()
    world.handle(event(), remaining_s=300.0)
    (deadline,) = world.deadlines
    assert (deadline.times.stop_at_s, deadline.times.kill_at_s) == (330.0, 342.0)
    assert world.resolve_by_s == deadline.give_up_at_s == pytest.approx(346.8)
    assert world.send_by_s == pytest.approx(349.8)


@pytest.mark.parametrize("takes_s", [40 * 60, 3 * 86_400])
def test_a_job_takes_as_long_as_it_takes(takes_s: float) -> None:
    """Without a time-out no limit of a function applies, and the result is not held up."""
    world = World(takes_s=takes_s)
    world.handle(event(), remaining_s=math.inf)
    (deadline,) = world.deadlines
    assert (deadline.times.stop_at_s, deadline.give_up_at_s) == (math.inf, math.inf)
    ((_, result),) = world.sent
    assert (result.outcome, result.run_ms) == (Outcome.COMPLETED, takes_s * 1000)
    assert world.send_by_s == math.inf


def test_the_reason_of_a_tasks_target_is_announced_before_it_runs() -> None:
    """It goes into the task's log; without one nothing does."""
    world = World()
    world.handle(event())
    assert world.announced == []
    world.handle(event(executor_config={"lambda_executor": {"routed": "sent to long"}}))
    assert world.announced == ["sent to long"]


def test_a_request_to_stop_reaches_the_deadline_of_a_running_task() -> None:
    """Also when it comes days after the start: the result must be sent before the kill."""
    world = World()
    world.handler.run_workload = lambda *given: (world.request.make(), world.run(*given))[1]
    world.handle(event(), remaining_s=math.inf)
    (deadline,) = world.deadlines
    assert deadline.times.stop_at_s == 60.0
    ((_, result),) = world.sent
    assert result.stop_requested
    assert world.send_by_s == pytest.approx(60.0 + GRACE_S - RESERVE_S)


def test_after_a_request_to_stop_nothing_starts() -> None:
    """The task's log has the reason, and so has the result."""
    world = World()
    world.request.make()
    world.handle(event(), remaining_s=math.inf)
    ((_, result),) = world.sent
    assert (result.outcome, result.reason) == (Outcome.REJECTED, f"not started: {REASON}")
    assert (world.started, world.explained) == ([], [result.reason])


def test_a_payload_that_a_request_to_stop_left_no_time_for_says_so() -> None:
    """S3's silence alone would send somebody to look at S3."""
    world = World(fetched=verdict.rejected("S3 did not answer within 20.0 s"))
    world.request.make()
    world.handle(pointer_event(), remaining_s=math.inf)
    ((_, result),) = world.sent
    assert result.reason == f"S3 did not answer within 20.0 s. {REASON}"


def test_without_time_for_a_task_nothing_starts() -> None:
    """Margins that leave no time are rejected, with their values in the reason."""
    world = World(margins=Margins(60.0, 15.0))
    world.handle(event(), remaining_s=45.0)
    ((_, result),) = world.sent
    assert (result.outcome, result.return_code) == (Outcome.REJECTED, 1)
    assert "leaves 45.0 s" in result.reason
    assert "asked to stop 60 s and killed 15 s before" in result.reason
    assert world.started == []


def test_only_the_first_invocation_is_cold() -> None:
    """Only the invocation that waited for the init phase reports it."""
    world = World()
    world.handle(event())
    world.handle(event())
    (_, first), (_, second) = world.sent
    assert (first.cold, first.init_ms) == (True, 1234.5)
    assert (second.cold, second.init_ms) == (False, None)


def test_the_first_invocation_after_a_restore_reports_it() -> None:
    """Its environment came from a snapshot: the init phase was another environment's."""
    world = World()
    world.handler.init_ms, world.handler.restore_ms = None, 21.5
    world.handle(event())
    world.handle(event())
    (_, first), (_, second) = world.sent
    assert (first.cold, first.init_ms, first.restore_ms) == (True, None, 21.5)
    assert (second.cold, second.init_ms, second.restore_ms) == (False, None, None)


def test_every_invocation_ends_with_one_settled_line() -> None:
    """Every invocation logs one such line, with every field."""
    world = World(end=verdict.ended(-9))
    world.handle(event())
    _, line = world.lines
    assert line.pop("reason").startswith("the workload's process was killed by SIGKILL")
    assert line == {
        "level": "info",
        "event": "invocation settled",
        "dag_id": "d",
        "task_id": "t",
        "run_id": "r",
        "map_index": 3,
        "try_number": 2,
        "invocation_id": "id-1",
        "request_id": "request-1",
        "outcome": "crashed",
        "return_code": -9,
        "cold": True,
        "init_ms": 1234.5,
        "restore_ms": None,
        "run_ms": 250.0,
        "queue_to_start_ms": 1500.0,
        "max_memory_mb": None,
        "started_at_s": 1000.0,
        "task_state": None,
        "reported": True,
    }


def test_a_line_tells_of_the_start_before_the_workload_runs() -> None:
    """The log names task and dispatch id before the workload runs."""
    world = World()
    world.handle(event())
    assert world.lines[0] == {
        "level": "info",
        "event": "invocation started",
        "dag_id": "d",
        "task_id": "t",
        "run_id": "r",
        "map_index": 3,
        "try_number": 2,
        "invocation_id": "id-1",
        "request_id": "request-1",
        "cold": True,
    }


def test_what_is_fetched_for_an_invocation_is_masked_until_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also what was fetched before the first one: a job has only that one."""
    out = LogOutput(io.BytesIO(), {})
    out.share()
    monkeypatch.setattr(log_output, "_output", out)
    secrets = ("the-secret-key-of-the-start", "the-secret-key-of-the-payload")
    masked: list[str] = []
    world = World()

    def run(_workload: str, _deadline: Deadline) -> Verdict:
        masked.append(log_output.masked(" ".join(secrets)))
        return world.end

    def resolve(invocation: Invocation, _by_s: object) -> Invocation:
        if not masked:
            log_output.mask_shared(secrets[1])
        return invocation

    world.handler.run_workload, world.handler.resolve = run, resolve
    log_output.mask_shared(secrets[0])
    for _ in range(2):
        world.handle(event())
    assert masked == ["*** ***", " ".join(secrets)]


def test_a_probe_is_answered_and_runs_nothing() -> None:
    """A probe gets its answer without a workload, a result or a queue."""
    world = World(default_queue=None)
    answer = world.handle(json.loads(probe.event()))
    assert ProbeAnswer.decode(json.dumps(answer).encode()) == ANSWER
    assert (world.started, world.sent) == ([], [])


@pytest.mark.reference_fault("W9")
def test_without_a_queue_nothing_starts() -> None:
    """A missing results queue is an error before the task starts."""
    world = World(default_queue=None)
    with pytest.raises(ConfigError):
        world.handle(event())
    assert world.started == []


@pytest.mark.reference_fault("W8")
def test_a_result_that_cannot_be_sent_raises() -> None:
    """The invocation fails and becomes a dead letter; the log has its end."""
    world = World(queue_takes=False)
    with pytest.raises(ReportError):
        world.handle(event())
    _, line = world.lines
    assert (line["level"], line["event"], line["reported"]) == (
        "error",
        "invocation settled",
        False,
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"wire_version": 99}, "wire_version is 99"),
        ({"command": []}, "command must be"),
        ({"command": ["python", "-c", "print()"]}, "does not carry a workload"),
        ({"executor_config": 5}, "executor_config must be"),
    ],
)
def test_an_unfit_event_that_names_itself_is_rejected(changes: dict[str, Any], says: str) -> None:
    """The executor gets a result with the reason why nothing was started."""
    world = World()
    world.handle(event(**changes))
    ((queue, result),) = world.sent
    assert queue == "https://default"
    assert (result.id, result.outcome, result.return_code) == ("id-1", Outcome.REJECTED, 1)
    assert says in result.reason
    assert world.started == []


def test_what_an_event_points_to_is_run() -> None:
    """The payload's workload runs; times and queue are those of any invocation."""
    world = World(fetched=Invocation.decode(event()))
    world.handle(pointer_event())
    ((_, result),) = world.sent
    assert (world.started, result.outcome) == ([WORKLOAD], Outcome.COMPLETED)
    assert world.lines[-1]["dag_id"] == "d"
    assert world.lines[-1]["queue_to_start_ms"] == 1500.0


@pytest.mark.parametrize("end", [verdict.rejected("no bucket"), verdict.duplicate("taken")])
def test_without_its_payload_nothing_is_started(end: Verdict) -> None:
    """The result has the reason; a payload that was taken before is a duplicate."""
    world = World(fetched=end)
    world.handle(pointer_event())
    ((_, result),) = world.sent
    assert (result.outcome, result.reason) == (end.outcome, end.reason)
    assert world.started == []


def test_what_points_to_no_workload_is_rejected() -> None:
    """A payload is checked like an event."""
    world = World(fetched=Invocation(InvocationId("id-1"), ("python", "-c", "print()")))
    world.handle(pointer_event())
    ((_, result),) = world.sent
    assert result.outcome is Outcome.REJECTED
    assert "does not carry a workload" in result.reason
    assert world.started == []


def test_what_has_expired_is_not_started() -> None:
    """The reason says when the token expired, after which wait, and what to do."""
    world = World()
    world.handle(event(not_after_s=990.0, queued_at_s=390.0))
    ((_, result),) = world.sent
    assert (result.outcome, result.return_code) == (Outcome.REJECTED, 1)
    assert "ran out 10 s ago, after it had waited for 610 s" in result.reason
    assert "[scheduler] task_queued_timeout" in result.reason
    assert world.started == []
    (line,) = world.lines
    assert (line["event"], line["dag_id"]) == ("invocation settled", "d")


def test_the_reason_of_an_expired_token_names_the_versions_own_option() -> None:
    """Before Airflow 3.2 another option says how long a token lives."""
    world = World()
    world.handler.lifetime_option = "[execution_api] jwt_expiration_time"
    world.handle(event(not_after_s=990.0, queued_at_s=390.0))
    ((_, result),) = world.sent
    assert result.reason.endswith("raise [execution_api] jwt_expiration_time")


def test_the_reason_of_an_expired_token_is_in_the_tasks_log() -> None:
    """The workload is never read by Airflow, so the handler has its log written."""
    world = World()
    explained: list[tuple[str, str]] = []
    world.handler.explain = lambda workload, reason, _: explained.append((workload, reason))
    world.handle(event(not_after_s=990.0))
    ((_, result),) = world.sent
    ((workload, reason),) = explained
    assert reason == result.reason
    assert json.loads(workload)["ti"]["dag_id"] == "d"


def test_the_deadline_has_what_the_invocation_says_about_time() -> None:
    """How long it waited, and when its token expires on the monotonic clock (50 s at 1000 s)."""
    world = World()
    world.handle(event(queued_at_s=998.5, not_after_s=1400.0))
    (deadline,) = world.deadlines
    assert (deadline.waited_s, deadline.token_ends_at_s) == (1.5, 450.0)


def test_the_result_has_the_state_that_airflow_was_given() -> None:
    """The executor and the log line get it."""
    world = World(end=replace(verdict.ended(0), task_state="deferred"))
    world.handle(event())
    ((_, result),) = world.sent
    assert result.task_state == world.lines[-1]["task_state"] == "deferred"


@pytest.mark.parametrize("changes", [{"not_after_s": 1000.5}, {"not_after_s": None}, {}])
def test_what_has_not_expired_is_started(changes: dict[str, Any]) -> None:
    """A workload runs until the moment its token expires, or without such a time."""
    world = World()
    world.handle(event(**changes))
    assert world.started == [WORKLOAD]


def test_what_expires_while_its_payload_is_fetched_is_not_started() -> None:
    """The payload's own expiry counts, at the moment of the start."""
    world = World(fetched=Invocation.decode(event(not_after_s=1000.0)))
    world.handle(pointer_event())
    ((_, result),) = world.sent
    assert result.outcome is Outcome.REJECTED
    assert world.started == []


@pytest.mark.parametrize("unfit", [None, 5, [], {}, {"task_key": 5}, {"task_key": "x" * 5001}])
def test_an_event_without_a_name_raises(unfit: object) -> None:
    """Without an id no result can settle it: it becomes a dead letter."""
    world = World()
    with pytest.raises(DecodeError):
        world.handle(unfit)
    assert world.sent == []
    assert world.started == []


def test_a_duplicate_start_is_reported_as_one() -> None:
    """Our executor gets the outcome `duplicate`."""
    world = World(end=verdict.duplicate("already running"))
    world.handle(event())
    ((_, result),) = world.sent
    assert (result.outcome, result.return_code) == (Outcome.DUPLICATE, 0)


def test_a_duplicate_start_is_kept_from_the_reference_executor() -> None:
    """The reference's executor gets no result: it would end the running task."""
    world = World(end=verdict.duplicate("already running"))
    world.handle(reference_event("{}"))
    assert world.sent == []
    assert world.lines[-1]["outcome"] == "duplicate"


def test_the_reference_executor_gets_its_key_back() -> None:
    """Its key, the task's key as JSON, may be as long as Airflow's ids allow."""
    key = json.dumps(
        {"dag_id": "ä" * 250, "task_id": "t" * 250, "run_id": "ü" * 250, "try_number": 1}
    )
    world = World()
    world.handle(reference_event(key))
    ((queue, result),) = world.sent
    assert (queue, result.id, result.return_code) == ("https://default", key, 0)
    assert world.lines[-1]["queue_to_start_ms"] is None


texts = st.text(max_size=30)


@given(before=texts, after=texts, code=st.integers(-64, 255), queue_takes=st.booleans())
def test_a_token_never_leaves(before: str, after: str, code: int, *, queue_takes: bool) -> None:
    """No token is in the result, the log or the error, whatever the reason quotes."""
    end = Verdict(Outcome.CRASHED, code, f"{before}{TOKEN}{after}")
    world = World(end=end, queue_takes=queue_takes)
    said = ""
    try:
        said = json.dumps(world.handle(event()))
    except ReportError as e:
        said = repr(e)
    assert TOKEN not in said
    assert TOKEN not in json.dumps(world.lines)
    assert not any(TOKEN in result.encode() for _, result in world.sent)


@pytest.mark.parametrize("workload", ["", "[", "5", "[]", '{"ti": 5, "token": 5}', "{}"])
def test_a_workload_that_cannot_be_read_has_no_facts(workload: str) -> None:
    """The runner rejects it; the log has nulls."""
    world = World(end=verdict.rejected("not a workload"))
    world.handle(event(command=[*event()["command"][:-1], workload]))
    assert world.lines[0]["dag_id"] is None
    assert world.sent[0][1].outcome is Outcome.REJECTED
