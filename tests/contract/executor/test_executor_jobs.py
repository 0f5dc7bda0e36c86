"""The executor with Batch and ECS beside the function: the threads, and Airflow's own calls."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.utils.state import TaskInstanceState

from lambda_executor import LambdaExecutor
from lambda_executor.contract.errors import ThrottledError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ledger import State
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.testing import MemoryJobs, MemoryPayloads, MemoryQueue
from tests.support.scheduler import SETTINGS, Scheduler, orphan, workload

LONG = JobTarget("long", Service.BATCH, "{}")
SETTINGS_WITH_JOBS = dataclasses.replace(
    SETTINGS, routes=dataclasses.replace(SETTINGS.routes, jobs={"long": LONG})
)


class Site:
    """Schedulers one after the other, with the same Batch and the same queue of results."""

    def __init__(self) -> None:
        self.batch = MemoryJobs()
        self.payloads = MemoryPayloads()
        self.results = MemoryQueue("results")
        self.schedulers: list[Scheduler] = []

    def start(self) -> Scheduler:
        """Start a scheduler."""
        scheduler = Scheduler(LambdaExecutor(parallelism=4), results=self.results)
        jobs = {Service.BATCH: self.batch}
        scheduler.start_on(SETTINGS_WITH_JOBS, [self.results], self.payloads, jobs)
        self.schedulers.append(scheduler)
        return scheduler

    def launch(self, scheduler: Scheduler, task: Any) -> InvocationId:
        """Queue a task, and wait until its job is in flight."""
        before = len(self.batch.launches)
        scheduler.executor.queue_workload(task, session=None)  # type: ignore[arg-type]
        scheduler.executor.heartbeat()
        assert self.batch.wait_for(before + 1)
        id = self.batch.launches[-1].id
        scheduler.loop_until(lambda: scheduler.engine.ledger.state(id) is State.IN_FLIGHT)
        return id


@pytest.fixture
def site() -> Iterator[Site]:
    """Batch and the results queue."""
    site = Site()
    yield site
    for scheduler in site.schedulers:
        scheduler.executor.terminate()


def test_a_task_runs_as_a_job_of_its_queue(site: Site) -> None:
    """Its result comes home as a function's does, and its slot is freed."""
    scheduler = site.start()
    task = workload("a", queue="long", executor_config={"batch": {"parameters": {"x": "y"}}})
    id = site.launch(scheduler, task)
    (launch,) = site.batch.launches
    assert (launch.target, launch.event.reply_to) == (LONG, "https://sqs/results")
    # Before Airflow 3.2, the executor draws the id.
    assert id == getattr(task.ti, "external_executor_id", launch.id)
    site.results.reply(id)
    assert scheduler.event(task.ti.key) == (TaskInstanceState.SUCCESS, None)
    assert scheduler.executor.slots_available == 4


def test_a_job_that_dies_fails_its_task_with_the_reason_of_its_service(site: Site) -> None:
    """It is the event's info, which Airflow shows."""
    scheduler = site.start()
    task = workload("a", queue="long")
    site.batch.ends[site.launch(scheduler, task)] = "Host EC2 (instance i-1) terminated."
    watch = scheduler.engine.jobs.watches[Service.BATCH]
    watch.look()
    watch.look()
    state, info = scheduler.event(task.ti.key)
    assert state == TaskInstanceState.FAILED
    assert info == "the job ended without a result: Host EC2 (instance i-1) terminated."


def test_revoking_a_task_stops_its_job(site: Site) -> None:
    """Airflow revokes what has been queued for too long; also if Batch throttles at first."""
    scheduler = site.start()
    task = workload("a", queue="long")
    id = site.launch(scheduler, task)
    site.batch.stop_failures.append(ThrottledError("Too Many Requests"))
    scheduler.executor.revoke_task(ti=orphan(task, id))
    assert site.batch.wait_for_stops(1)
    assert site.batch.stops == [(id, "Airflow has revoked its task")]
    assert scheduler.executor.slots_available == 4


@pytest.mark.parametrize("state", ["queued", "running"])
def test_the_heir_of_a_scheduler_looks_after_its_jobs(site: Site, state: str) -> None:
    """Those that wait in Batch's queue, too; none is started again."""
    first = site.start()
    task = workload("a", queue="long")
    id = site.launch(first, task)
    first.executor.terminate()
    heir = site.start()
    assert heir.executor.try_adopt_task_instances([orphan(task, id, state)]) == []
    assert site.batch.stops == []
    site.batch.ends[id] = "Task failed to start"
    watch = heir.engine.jobs.watches[Service.BATCH]
    watch.look()
    watch.look()
    assert heir.event(task.ti.key)[0] == TaskInstanceState.FAILED
    assert len(site.batch.launches) == 1


def test_an_orphan_whose_target_is_gone_is_adopted_all_the_same(site: Site) -> None:
    """Its result still comes; nobody knows whom to ask for the job."""
    heir = site.start()
    task = workload("a", queue="a target that was removed")
    id = str(uuid.uuid4())
    assert heir.executor.try_adopt_task_instances([orphan(task, id)]) == []
    site.results.reply(InvocationId(id))
    assert heir.event(task.ti.key) == (TaskInstanceState.SUCCESS, None)


def test_ending_launches_what_was_accepted_and_stops_nothing(site: Site) -> None:
    """Another scheduler adopts the jobs."""
    scheduler = site.start()
    for number in range(4):
        task = workload(str(number), queue="long")
        scheduler.executor.queue_workload(task, session=None)  # type: ignore[arg-type]
    scheduler.executor.end()
    assert len(site.batch.launches) == 4
    assert site.batch.stops == []
