"""Keys since Airflow 3.4: a try is its UUID, and in a loop several tries have the same names."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.utils.state import TaskInstanceState

from lambda_executor.contract.log_lines import TASK
from lambda_executor.contract.wire import InvocationId
from lambda_executor.scheduler.version import AIRFLOW
from tests.support.scheduler import Scheduler, orphan, workload

if AIRFLOW < (3, 4):
    pytest.skip("Airflow has no such keys before 3.4", allow_module_level=True)

from airflow.executors.workloads.types import (  # type: ignore[attr-defined] # mypy sees 3.3
    TaskInstanceUuid,
)


def drain(executor: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """The events as the scheduler takes them, and the names of their tasks."""
    events, names = executor._drain_events_with_task_ids()
    return events, names


def test_two_tries_with_the_same_names_are_two(scheduler: Scheduler) -> None:
    """Each has its slot and its end; the scheduler finds both by the UUIDs that it knows."""
    first, second = workload("a"), workload("a")
    assert first.ti.key == second.ti.key
    scheduler.queue(first, second)
    assert scheduler.executor.slots_available == 2
    for code, task in enumerate((first, second)):
        scheduler.results.reply(InvocationId(str(task.ti.external_executor_id)), return_code=code)
    executor, keys = scheduler.executor, [TaskInstanceUuid(one.ti.id) for one in (first, second)]
    scheduler.loop_until(lambda: set(keys) <= set(executor.event_buffer))
    events, names = drain(executor)
    assert [events[key][0] for key in keys] == [TaskInstanceState.SUCCESS, TaskInstanceState.FAILED]
    assert [names[key] for key in keys] == [first.ti.key, second.ti.key]
    assert executor.slots_available == 4


def test_the_event_of_an_adopted_task_has_its_identity(scheduler: Scheduler) -> None:
    """Its failure reaches the scheduler, and Airflow's audit log under the task's names."""
    task = workload("a")
    id = InvocationId(str(task.ti.external_executor_id))
    assert scheduler.executor.try_adopt_task_instances([orphan(task, id)]) == []
    assert scheduler.executor.has_task(orphan(task, id))
    scheduler.results.reply(id, return_code=1)
    scheduler.loop_until(scheduler.ends)
    (entry,) = scheduler.executor._task_event_logs
    assert (entry.task_id, entry.task_instance_id) == ("a", task.ti.id)
    events, _ = drain(scheduler.executor)
    assert events[TaskInstanceUuid(task.ti.id)][0] == TaskInstanceState.FAILED
    assert not scheduler.executor.has_task(orphan(task, id))


def test_a_failed_task_is_named_in_the_log(
    scheduler: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """The line and its fields have the names that people know, not the UUID."""
    task = workload("a")
    (id,) = scheduler.queue(task)
    with caplog.at_level(logging.ERROR, logger="lambda_executor"):
        scheduler.results.reply(id, return_code=1)
        scheduler.loop_until(scheduler.ends)
    (record,) = (each for each in caplog.records if "failed" in each.getMessage())
    assert "task_id='a'" in record.getMessage()
    assert {name: getattr(record, name) for name in TASK} == task.ti.key._asdict()
