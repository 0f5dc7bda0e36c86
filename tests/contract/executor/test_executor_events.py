"""What the scheduler gets from the executor: reasons of failures, and many failures at once."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.log import Log
from airflow.models.taskinstancekey import TaskInstanceKey
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import Session, sessionmaker

from lambda_executor import LambdaExecutor
from lambda_executor.contract.wire import Outcome, Result
from lambda_executor.engine.acknowledgements import MOST_FAILURES
from tests.support.scheduler import Scheduler, started, workload

FAILURES = 190


def key(number: int) -> TaskInstanceKey:
    """A task's key."""
    return TaskInstanceKey("dag", f"task-{number}", "run", 1, -1)


def test_reasons_reach_airflows_audit_log(tmp_path: Path) -> None:
    """Before 3.4 Airflow saves them from a generator that nobody holds: each must outlive it."""
    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    Log.__table__.create(engine)
    executor = LambdaExecutor(parallelism=1)
    expected = []
    for loop in range(3):
        for number in range(2):
            reason = f"reason {loop}-{number}"
            executor.log_task_event(event="lambda executor", extra=reason, ti_key=key(number))
            expected.append(("lambda executor", f"task-{number}", reason))
        gc.collect()
        with Session(engine) as session:
            SchedulerJobRunner._process_task_event_logs(executor._task_event_logs, session)
            session.commit()
    with Session(engine) as session:
        saved = session.execute(select(Log.event, Log.task_id, Log.extra).order_by(Log.id))
        assert sorted(map(tuple, saved)) == sorted(expected)
    engine.dispose()


@pytest.fixture
def large() -> Iterator[Scheduler]:
    """A scheduler with a slot for each of the tasks."""
    with started(Scheduler(LambdaExecutor(parallelism=FAILURES))) as scheduler:
        yield scheduler


def test_many_failures_at_once_are_spread_over_several_loops(
    large: Scheduler, airflow_tables: sessionmaker[Session]
) -> None:
    """A loop makes one query and a bounded number of events; each failure has one event.

    For each of them Airflow's own part of the loop takes four queries and the time of many
    successes, so all of them in one loop would delay everything else.
    """
    assert MOST_FAILURES * 5 < FAILURES
    queries: list[str] = []

    def count(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        queries.append(statement)

    executor, results = large.executor, large.results
    for n in range(FAILURES):
        executor.queue_workload(workload(f"task-{n}"), session=None)  # type: ignore[arg-type]
    large.loop_until(lambda: len(large.function.invocations) == FAILURES)
    executor.get_event_buffer()
    for invocation in large.function.invocations:
        results.send(Result(invocation.id, -9, Outcome.CRASHED, "signal: killed"))
    poller = large.engine.listeners.own[0]
    with poller._arrived:
        assert poller._arrived.wait_for(lambda: len(poller._arrivals) == FAILURES, 30)
    taken: list[object] = []
    event.listen(airflow_tables.kw["bind"], "before_cursor_execute", count)
    for loop in range(math.ceil(FAILURES / MOST_FAILURES)):
        executor.sync()
        assert len(queries) == 1
        assert len(results) >= FAILURES - loop * MOST_FAILURES
        taken += executor.get_event_buffer()
        assert len(taken) == min((loop + 1) * MOST_FAILURES, FAILURES)
    event.remove(airflow_tables.kw["bind"], "before_cursor_execute", count)
    assert len(set(taken)) == FAILURES
    assert len(executor._task_event_logs) == FAILURES
    executor.sync()
    assert results.wait_until_empty()
    assert (executor.event_buffer, executor.slots_available) == ({}, FAILURES)
