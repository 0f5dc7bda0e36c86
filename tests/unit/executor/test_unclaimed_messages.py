"""Messages that no scheduler claims, in a world of two schedulers."""

from __future__ import annotations

import pytest

from lambda_executor.contract.wire import InvocationId
from lambda_executor.engine.poller import HAND_BACK_CAP_S
from lambda_executor.engine.unclaimed import NOTED_FROM
from tests.support.jobs import Aws, JobScheduler
from tests.support.world.airflow import Row
from tests.support.world.scheduler import Scheduler, SteppedPoller
from tests.support.world.world import ROUND_S, World


@pytest.fixture
def world() -> World:
    """Two schedulers."""
    return World()


def taken(world: World, scheduler: Scheduler, name: str) -> Row:
    """A workload of a scheduler whose event Lambda has taken."""
    row = world.airflow.rows[name]
    world.queue(scheduler, row)
    world.send(scheduler, None, is_taken=True)
    scheduler.answer()
    return row


@pytest.mark.parametrize("name", ["task-1", "callback"])
def test_a_dead_letter_waits_for_its_scheduler(world: World, name: str) -> None:
    """The other scheduler receives it for hours and leaves it, while Airflow waits."""
    owner, other = world.schedulers
    row = taken(world, owner, name)
    world.function.expire(0, "EventAgeExceeded")
    for _ in range(20):
        world.now_s += ROUND_S
        other.engine.unclaimed.check(world.airflow.awaited)
        world.loop(other)
    assert len(world.dead_letters) == 1
    world.now_s += ROUND_S
    world.loop(owner)
    assert row.state == "failed"
    assert world.broken == []


def test_what_a_dead_scheduler_left_about_settled_invocations_leaves(world: World) -> None:
    """Its successor does not know them: a second start, a second delivery, a dead letter."""
    owner, _ = world.schedulers
    row = taken(world, owner, "task-1")
    first, second = (world.function.events[0] for _ in range(2))
    world.function.events += [second]
    world.function.start(0)
    world.function.finish(row.id, "success", 0, is_named=True)
    world.loop(owner)
    world.replace(owner)
    world.function.start(0)
    world.function.events += [first]
    world.function.expire(0, "EventAgeExceeded")
    world.results[0].reply(row.id)
    assert (len(world.results[0]), len(world.dead_letters)) == (3, 1)
    world.empty()
    assert row.state == "success"
    assert world.broken == []


def test_a_forged_message_does_not_stay_in_any_queue(world: World) -> None:
    """It is about nobody's invocation."""
    for queue in world.queues:
        world.send_foreign(queue)
    world.empty()
    assert world.broken == []


def test_nothing_is_deleted_while_the_database_is_down(world: World) -> None:
    """Nobody can say whether Airflow waits for it."""
    world.send_foreign(world.results[0])
    world.airflow.is_away = True
    for _ in range(20):
        world.wait(ROUND_S)
        for scheduler in world.schedulers:
            scheduler.check()
            world.airflow.is_away = True
            world.step(scheduler, is_away=True)
            world.airflow.is_away = True
    assert len(world.results[0]) == 1
    world.airflow.is_away = False
    world.empty()


def test_a_message_that_nobody_claims_is_counted() -> None:
    """Once, beside the times that it was handed back."""
    aws = Aws()
    scheduler, id = JobScheduler(aws), InvocationId("nobody's")
    scheduler.idle.add(id)
    aws.results[0].reply(id)
    for _ in range(NOTED_FROM + 5):
        scheduler.loop()
        for poller in scheduler.engine.listeners:
            assert isinstance(poller, SteppedPoller)
            poller.delete()
        scheduler.check(2)
        aws.now_s += HAND_BACK_CAP_S
    counts = scheduler.counters.counts
    assert counts["lambda_executor.messages_unclaimed"] == 1
    assert counts["lambda_executor.messages_handed_back"] == NOTED_FROM
    assert len(aws.results[0]) == 0
