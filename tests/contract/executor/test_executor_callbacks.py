"""Callbacks of deadlines: the workloads that no task stands behind (Airflow 3.3)."""

from __future__ import annotations

import json

import pytest
from airflow.models.callback import CallbackKey
from airflow.utils.state import CallbackState

from lambda_executor.contract.wire import InvocationId
from lambda_executor.engine.reconciliation import CHECKS_FOR_RESULT
from lambda_executor.scheduler.state import DatabaseState
from tests.support.scheduler import CALLBACK_ID as ID
from tests.support.scheduler import Scheduler, callback


def test_a_callback_runs_like_a_task(scheduler: Scheduler) -> None:
    """It is sent under its own id, Airflow hears that it runs, and then how it ended."""
    scheduler.executor.queue_workload(callback(), session=None)  # type: ignore[arg-type]
    scheduler.executor.heartbeat()
    assert scheduler.take() == {CallbackKey(ID): (CallbackState.RUNNING, InvocationId(ID))}
    assert scheduler.function.wait_for(1)
    (invocation,) = scheduler.function.invocations
    assert invocation.id == ID
    assert json.loads(invocation.workload_json)["type"] == "ExecuteCallback"
    scheduler.results.reply(invocation.id)
    scheduler.loop_until(lambda: CallbackKey(ID) in scheduler.executor.event_buffer)
    assert scheduler.executor.event_buffer == {CallbackKey(ID): (CallbackState.SUCCESS, None)}


@pytest.mark.reference_fault("W12")
def test_a_callback_that_nobody_looks_after_is_adopted(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its result, wherever it lies, is settled; without one it fails in the end."""
    found, lost = CallbackKey("found"), CallbackKey("lost")
    forgotten = {InvocationId(key.id): key for key in (found, lost)}
    monkeypatch.setattr(DatabaseState, "waits_for", lambda _, in_flight: set(in_flight))
    monkeypatch.setattr(DatabaseState, "unowned", lambda _: forgotten)
    monkeypatch.setattr(DatabaseState, "longest_wait_s", lambda _: 0.0)
    executor = scheduler.executor
    reconciler = scheduler.engine.reconciler
    reconciler.check()
    executor.heartbeat()
    assert executor.slots_available == 2
    scheduler.results.reply(InvocationId("found"))
    scheduler.loop_until(lambda: found in executor.event_buffer)
    assert scheduler.take() == {found: (CallbackState.SUCCESS, None)}
    forgotten.clear()
    for _ in range(CHECKS_FOR_RESULT):
        reconciler.check()
    scheduler.loop_until(lambda: lost in executor.event_buffer)
    state, info = scheduler.take()[lost]
    assert state == CallbackState.FAILED
    assert "no result came" in info
