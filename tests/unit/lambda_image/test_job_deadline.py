"""The deadline of a job: without an end, with a late one, and with one that comes nearer."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_image import host, verdict
from lambda_image.deadline import RESERVE_S, Deadline, Margins
from lambda_image.machine.stop_request import GRACE_S, REASON, StopRequest
from lambda_image.machine.zygote import REQUEST_SIGNAL, STOP_SIGNAL

DAY_S = 86_400.0


def deadline(
    time_out_s: float, now_s: float = 100, asked_at_s: float | None = None, **margins: float
) -> Deadline:
    """The deadline of a job, which AWS may have asked to stop."""
    request = StopRequest(lambda: asked_at_s or 0)
    if asked_at_s is not None:
        request.make()
    made = Margins(margins.get("stop_s"), margins.get("kill_s")).deadline(time_out_s, now_s)
    return replace(made, request=request)


def test_without_a_time_out_nothing_ends_the_task() -> None:
    """Only the start has an end: it is not waited for at the user's cost."""
    endless = deadline(math.inf)
    assert (endless.times.stop_at_s, endless.times.kill_at_s) == (math.inf, math.inf)
    assert (endless.give_up_at_s, endless.notify_by_s, endless.end_at_s) == (math.inf,) * 3
    assert endless.start_by_s == 280
    assert not endless.is_requested


def test_a_time_out_of_days_has_the_margins_of_a_function() -> None:
    """No limit of Lambda is part of the arithmetic."""
    long = deadline(7 * DAY_S)
    assert long.times.stop_at_s == 100 + 7 * DAY_S - 20
    assert long.times.kill_at_s == 100 + 7 * DAY_S - 8
    assert long.times.stop_signal == STOP_SIGNAL


@given(
    time_out_s=st.just(math.inf) | st.floats(3.5, 30 * DAY_S),
    ran_s=st.floats(0, 30 * DAY_S),
    kill_s=st.none() | st.floats(2, 1790),
)
def test_a_request_leaves_time_for_everything(
    time_out_s: float, ran_s: float, kill_s: float | None
) -> None:
    """Stop, kill, give up and the service's kill come in this order, however late it comes."""
    asked_at_s = 100 + ran_s
    given_s = {} if kill_s is None or kill_s * 3 > time_out_s else {"kill_s": kill_s}
    found = deadline(time_out_s, 100, asked_at_s, **given_s)
    if not found.is_requested:
        assert found.end_at_s == 100 + time_out_s
        return
    order = [found.times.stop_at_s, found.times.kill_at_s, found.give_up_at_s, found.end_at_s]
    assert order == sorted(set(order))
    assert found.times.stop_at_s == asked_at_s
    assert found.end_at_s == asked_at_s + GRACE_S
    assert found.end_at_s - RESERVE_S - found.give_up_at_s >= 1 - 1e-6
    assert found.times.kill_at_s - asked_at_s >= GRACE_S / 2 - 1e-6
    assert found.start_by_s <= asked_at_s
    assert found.times.kill_at_s <= found.notify_by_s < found.give_up_at_s


def test_a_request_just_before_the_time_out_gives_no_more_time() -> None:
    """What comes first is the end, and the reason."""
    late = deadline(60, 100, asked_at_s=150)
    assert (late.end_at_s, late.times.stop_signal) == (160, STOP_SIGNAL)
    assert "time-out" in late.stop_reason


def test_the_reasons_say_what_is_known() -> None:
    """Of the signal nothing else is: AWS does not say why it sent it."""
    asked = deadline(math.inf, 100, asked_at_s=5000)
    assert asked.times.stop_signal == REQUEST_SIGNAL
    assert asked.stop_reason == f"stopped: {REASON}"
    assert asked.kill_reason == f"killed 22 s after the request to stop: {REASON}"


def test_what_was_not_started_says_so_too() -> None:
    """Only then: how a task that ran was stopped is in its own reason."""
    asked, endless = deadline(math.inf, 100, asked_at_s=5000), deadline(math.inf)
    refused = verdict.rejected("the API is away")
    assert asked.with_request(refused).reason == f"the API is away. {REASON}"
    assert endless.with_request(refused) is refused
    not_started = verdict.rejected(asked.request.reason_against_start or "")
    assert asked.with_request(not_started).reason == f"not started: {REASON}"
    assert endless.request.reason_against_start is None
    ended = verdict.ended(0)
    assert asked.with_request(ended) is ended


def test_a_jobs_time_out_is_not_a_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is the job's own setting."""
    monkeypatch.setattr(host, "_name", "job")
    assert deadline(3600).stop_reason == (
        "stopped 20 s before the end of the job's time-out, which left 3600.0 s for it: raise "
        "timeout.attemptDurationSeconds of the Batch job, or give the task less to do. For a "
        "target with more time, set the task's execution_timeout or queue, or "
        "{'lambda_executor': {'on_deadline': 'next_target'}} as its executor_config"
    )


def test_a_request_counts_once() -> None:
    """The second one leaves the time of the first."""
    times = iter([5.0, 6.0])
    request = StopRequest(lambda: next(times))
    assert (request.is_made, request.ends_at_s) == (False, math.inf)
    assert (request.make(), request.make()) == (True, False)
    assert (request.is_made, request.made_at_s) == (True, 5.0)


def test_a_request_may_have_been_made_earlier() -> None:
    """Its signal was kept until somebody looked."""
    request = StopRequest(lambda: 60.0)
    assert request.make(55.0)
    assert (request.made_at_s, request.ends_at_s) == (55.0, 55.0 + GRACE_S)
