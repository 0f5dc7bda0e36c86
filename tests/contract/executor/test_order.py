"""What waits in Airflow and in the executor while a function is full, and what leaves first."""

from __future__ import annotations

from airflow.executors import workloads

from lambda_executor.core.places import Limit
from tests.support.scheduler import CALLBACK_ID, Scheduler, callback, workload


def urgent(task_id: str) -> workloads.ExecuteTask:
    """A task of a higher `priority_weight`."""
    task = workload(task_id)
    task.ti.priority_weight = 10
    return task


def hand_over(scheduler: Scheduler, *queued: object) -> None:
    """Queue workloads, and let the executor take them over."""
    for one in queued:
        scheduler.executor.queue_workload(one, session=None)  # type: ignore[arg-type]
    scheduler.loop_until(lambda: not any(scheduler.executor.executor_queues.values()))


def test_airflow_queues_no_more_than_can_start_soon(scheduler: Scheduler) -> None:
    """The slots are those of the functions, and each that ends makes room for one."""
    scheduler.engine.dispatcher.limit(
        {"function": Limit("function", 2), "function-large": Limit("function-large", 1)}
    )
    assert scheduler.executor.slots_available == 3
    (first,) = scheduler.queue(workload("a"))
    scheduler.queue(workload("b"))
    assert scheduler.executor.slots_available == 1
    scheduler.queue(workload("c", queue="large"))
    assert scheduler.executor.slots_available == 0
    scheduler.results.reply(first)
    scheduler.loop_until(lambda: scheduler.executor.slots_available >= 1)


def test_without_a_known_limit_parallelism_alone_counts(scheduler: Scheduler) -> None:
    """As with every other executor."""
    scheduler.queue(workload("a"))
    assert scheduler.executor.slots_available == scheduler.executor.parallelism - 1


def test_a_callback_and_an_urgent_task_leave_before_all_that_wait(scheduler: Scheduler) -> None:
    """Although they came last: in the place of the task that ended."""
    scheduler.engine.dispatcher.limit({"function": Limit("function", 1)})
    (running,) = scheduler.queue(workload("running"))
    high = urgent("urgent")
    hand_over(scheduler, workload("low"), high, callback())
    assert len(scheduler.function.invocations) == 1
    assert scheduler.engine.dispatcher.held() == 3
    for count, expected in ((2, CALLBACK_ID), (3, high.ti.external_executor_id)):
        scheduler.engine.dispatcher.limit({"function": Limit("function", count)})
        assert scheduler.function.wait_for(count)
        assert scheduler.function.invocations[-1].id == expected
    scheduler.results.reply(running)
    assert scheduler.function.wait_for(4)
