"""Examples of the engine's promises; `test_engine_machine.py` tries random histories."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import pytest

from lambda_executor.contract import log_lines
from lambda_executor.contract.errors import (
    ExpiredError,
    InDoubtError,
    RejectedError,
    TransientError,
    UnreachableError,
)
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ledger import State
from lambda_executor.engine.reconciliation import CHECKS_FOR_RESULT, PERIOD_S
from tests.support.world.airflow import LONGEST_WAIT_S, Key, Row
from tests.support.world.scheduler import Scheduler
from tests.support.world.world import VISIBILITY_TIMEOUT_S, World


@pytest.fixture
def world() -> World:
    """A world of two schedulers."""
    return World()


@pytest.fixture
def scheduler(world: World) -> Scheduler:
    """The first scheduler."""
    return world.schedulers[0]


def running(world: World, scheduler: Scheduler) -> Row:
    """A task that the function runs, with a second copy of its event waiting."""
    row = world.airflow.rows["task-1"]
    world.queue(scheduler, row)
    world.send(scheduler, None, is_taken=True)
    scheduler.answer()
    world.function.events.append(world.function.events[0])
    world.function.start(0)
    return row


def lose_answers(world: World, scheduler: Scheduler, *, are_taken: bool) -> None:
    """Lose the answers to all attempts of an invoke."""
    for _ in range(2):
        world.send(scheduler, InDoubtError("the connection was reset"), is_taken=are_taken)
        scheduler.answer()


def test_a_message_that_is_delivered_twice_is_not_deleted_before_its_event_is_taken(
    world: World, scheduler: Scheduler
) -> None:
    """Deleting the second delivery, which settles nothing, would delete the message."""
    row = running(world, scheduler)
    world.function.finish(row.id, "success", 0)
    world.step(scheduler)
    world.results[0].deliver_again()
    for _ in range(3):
        world.step(scheduler)
    assert len(world.results[0]) == 1
    scheduler.take_events()
    world.step(scheduler)
    assert len(world.results[0]) == 0
    assert world.broken == []


def test_the_end_of_a_run_counts_beside_a_start_that_did_not_happen(
    world: World, scheduler: Scheduler
) -> None:
    """One of two dead letters received together is about the invocation's end."""
    row = running(world, scheduler)
    world.function.expire(0, "EventAgeExceeded")
    world.function.kill(row.id, "signal: killed")
    world.step(scheduler)
    assert scheduler.untaken == {row.id}
    assert world.broken == []


def test_airflow_is_not_notified_of_a_workload_that_was_revoked_meanwhile(
    world: World, scheduler: Scheduler
) -> None:
    """Revoking a workload drops the settlement of which Airflow could not be notified."""
    row = world.airflow.rows["task-1"]
    world.queue(scheduler, row)
    world.send(scheduler, RejectedError("404"), is_taken=False)
    scheduler.answer()
    world.step(scheduler, hears=False)
    scheduler.revoke(row)
    world.step(scheduler)
    assert world.broken == []


def test_airflow_is_not_notified_of_the_first_half_of_a_deferred_task_that_continues(
    world: World, scheduler: Scheduler
) -> None:
    """Queueing the second half drops the settlement of the first."""
    row = running(world, scheduler)
    world.function.finish(row.id, "deferred", 0)
    world.step(scheduler, hears=False)
    world.queue(scheduler, row)
    world.step(scheduler)
    assert scheduler.untaken == set()
    assert world.broken == []


@pytest.mark.parametrize("return_code", [0, -9])
@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("state", ["deferred", "scheduled"])
def test_a_task_that_continues_gets_no_event_of_the_invocation_that_ended(
    world: World, scheduler: Scheduler, state: str, is_named: bool, return_code: int
) -> None:
    """The slot is freed, however the invocation ended, and the message is deleted."""
    row = running(world, scheduler)
    world.function.finish(row.id, "deferred", return_code, is_named=is_named)
    row.state = state
    world.step(scheduler)
    assert scheduler.untaken == set()
    assert not scheduler.has_slot(row.key)
    world.loop(scheduler)
    assert (len(world.results[0]), row.state, world.broken) == (0, state, [])


def test_the_states_of_all_tasks_are_read_with_one_query_in_each_step(
    world: World, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results and all dead letters are asked about together, if they do not name the state."""
    queries: list[set[InvocationId]] = []
    states = world.airflow.states

    def count(invocations: Mapping[InvocationId, Key]) -> dict[InvocationId, str]:
        queries.append(set(invocations))
        return states(invocations)

    monkeypatch.setattr(world.airflow, "states", count)
    rows = list(world.airflow.rows.values())
    for row in rows:
        world.queue(scheduler, row)
        world.send(scheduler, None, is_taken=True)
        scheduler.answer()
        world.function.events.append(world.function.events[0])
        world.function.start(0)
        world.function.expire(0, "EventAgeExceeded")
    world.function.finish(rows[0].id, "success", 0)
    world.function.kill(rows[1].id, "signal: killed")
    world.function.finish(rows[2].id, "success", 0)
    world.step(scheduler)
    assert queries == [{row.id for row in rows}]
    assert scheduler.untaken == {row.id for row in rows}


def test_no_query_is_made_for_results_that_name_the_state(
    world: World, scheduler: Scheduler
) -> None:
    """The database may even be away."""
    row = running(world, scheduler)
    world.function.finish(row.id, "success", 0, is_named=True)
    world.step(scheduler, is_away=True)
    assert scheduler.untaken == {row.id}


def test_a_result_without_a_state_waits_for_the_database(
    world: World, scheduler: Scheduler
) -> None:
    """While the database cannot be asked, the message stays in the queue."""
    row = running(world, scheduler)
    world.function.finish(row.id, "success", 0)
    world.step(scheduler, is_away=True)
    assert (scheduler.untaken, len(world.results[0])) == (set(), 1)
    world.wait(VISIBILITY_TIMEOUT_S)
    world.step(scheduler)
    assert scheduler.untaken == {row.id}


def test_every_log_line_about_an_invocation_names_it_in_fields(
    world: World, scheduler: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """The fields are the dispatch id and a task's five keys; users filter by them."""
    caplog.set_level(logging.INFO, "lambda_executor")
    first, second, callback = world.airflow.rows.values()
    world.queue(scheduler, first)
    world.send(scheduler, TransientError("503"), is_taken=False)
    scheduler.answer()
    world.send(scheduler, None, is_taken=True)
    scheduler.answer()
    world.function.events.append(world.function.events[0])
    world.function.start(0)
    world.function.start(0)
    world.function.finish(first.id, "failed", 1)
    world.step(scheduler, hears=False)
    world.step(scheduler)
    world.queue(scheduler, second)
    scheduler.revoke(second)
    world.queue(scheduler, second)
    world.queue(scheduler, callback)
    for _ in range(2):
        world.send(scheduler, None, is_taken=True)
    scheduler.answer()
    second.state = "none"
    for each in world.schedulers:
        for _ in range(3):
            world.step(each)
            each.check()
        world.step(each)
    lines = {record.getMessage().split()[0]: record.__dict__ for record in caplog.records}
    assert set(lines) == {
        "Invoke",
        first.id,
        "Airflow",
        "Key(dag_id='dag',",
        "Revoked",
        "No",
        "Adopted",
    }
    for name in log_lines.TASK:
        assert all(name in fields for fields in lines.values())
    assert lines["Invoke"]["invocation_id"] == lines[first.id]["invocation_id"] == first.id
    assert lines["Revoked"]["task_id"] == "task-2"
    assert lines["Adopted"]["invocation_id"] == callback.id


def test_a_dead_letter_waits_for_the_database_if_the_task_may_be_running(
    world: World, scheduler: Scheduler
) -> None:
    """While the database cannot be asked, the letter of a second copy does not fail the task."""
    row = running(world, scheduler)
    world.function.expire(0, "EventAgeExceeded")
    world.step(scheduler, is_away=True)
    assert scheduler.untaken == set()
    assert len(world.dead_letters) == 1
    assert world.broken == []
    world.function.finish(row.id, "success", 0)
    world.step(scheduler)
    assert scheduler.untaken == {row.id}


def test_an_invocation_that_lambda_took_does_not_fail_because_the_answer_was_lost(
    world: World, scheduler: Scheduler
) -> None:
    """A refused repetition does not fail an invocation whose first send was taken."""
    row = world.airflow.rows["task-1"]
    world.queue(scheduler, row)
    world.send(scheduler, InDoubtError("the connection was reset"), is_taken=True)
    scheduler.answer()
    world.function.start(0)
    world.function.failures.append(RejectedError("404"))
    world.wait(60)
    scheduler.next_to_send()
    scheduler.send()
    scheduler.answer()
    world.step(scheduler)
    assert world.broken == []


def test_a_task_whose_answers_are_all_lost_runs_once_and_succeeds(
    world: World, scheduler: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in flight after its last attempt, loudly; its result settles it."""
    row = world.airflow.rows["task-1"]
    world.queue(scheduler, row)
    lose_answers(world, scheduler, are_taken=True)
    world.step(scheduler)
    assert scheduler.engine.ledger.state(row.id) is State.IN_FLIGHT
    assert "is in doubt: Lambda may have taken it, so it stays in flight" in caplog.text
    while world.function.events:
        world.function.start(0)
    world.function.finish(row.id, "success", 0)
    world.loop(scheduler)
    world.loop(scheduler)
    assert row.state == "success"
    assert not scheduler.is_busy()
    assert world.broken == []


def test_a_task_in_doubt_that_lambda_never_took_is_freed_when_airflow_revokes_it(
    world: World, scheduler: Scheduler
) -> None:
    """It stays queued in the database, so Airflow's own time-out ends it."""
    row = world.airflow.rows["task-1"]
    world.queue(scheduler, row)
    lose_answers(world, scheduler, are_taken=False)
    world.step(scheduler)
    assert world.airflow.stuck() == [row]
    scheduler.revoke(row)
    assert not scheduler.is_busy()


def test_a_callback_in_doubt_that_lambda_never_took_fails_in_time(
    world: World, scheduler: Scheduler
) -> None:
    """Nothing in Airflow ends a callback; the executor fails it when no function can run it."""
    row = world.airflow.rows["callback"]
    world.queue(scheduler, row)
    lose_answers(world, scheduler, are_taken=False)
    world.step(scheduler)
    for _ in range(math.ceil(LONGEST_WAIT_S / PERIOD_S) + 1 + CHECKS_FOR_RESULT):
        assert row.state == "queued"
        scheduler.check()
        world.loop(scheduler)
    assert row.state == "failed"
    assert not scheduler.is_busy()


def test_a_lambda_that_cannot_be_reached_fails_nothing(world: World, scheduler: Scheduler) -> None:
    """Two minutes without an address or a connection cost no attempt; then everything is sent."""
    rows = list(world.airflow.rows.values())
    for row in rows:
        world.queue(scheduler, row)
    while world.now_s < LONGEST_WAIT_S:
        world.send(scheduler, UnreachableError("connection refused"), is_taken=False)
        scheduler.answer()
        world.step(scheduler)
    assert [row.state for row in rows] == ["queued"] * 3
    while scheduler.can_send():
        world.send(scheduler, None, is_taken=True)
        scheduler.answer()
    assert {event.id for event in world.function.events} >= {row.id for row in rows[:2]}


def expire_held(world: World, scheduler: Scheduler, row: Row) -> None:
    """Let the token of a workload expire while its function runs another one."""
    world.limit(1)
    other = world.airflow.rows["task-2"]
    world.queue(scheduler, other)
    world.send(scheduler, None, is_taken=True)
    scheduler.answer()
    world.queue(scheduler, row)
    assert not scheduler.can_send()
    world.function.start(0)
    world.function.finish(other.id, "success", 0)
    world.loop(scheduler)
    world.send(scheduler, ExpiredError("its token ran out"), is_taken=False)
    scheduler.answer()


def test_a_task_whose_token_expires_while_it_is_held_is_left_to_airflow(
    world: World, scheduler: Scheduler
) -> None:
    """It has not failed: Airflow revokes it and queues it again."""
    row = world.airflow.rows["task-1"]
    expire_held(world, scheduler, row)
    world.step(scheduler)
    assert scheduler.untaken == set()
    assert scheduler.has_slot(row.key)
    scheduler.revoke(row)
    assert not scheduler.has_slot(row.key)


def test_what_another_scheduler_revokes_frees_the_slot_of_a_task_whose_token_has_expired(
    world: World, scheduler: Scheduler
) -> None:
    """Airflow asks the scheduler that finds a task stuck, and not the one that has queued it."""
    row = world.airflow.rows["task-1"]
    expire_held(world, scheduler, row)
    world.step(scheduler)
    for _ in range(3):
        scheduler.check()
        world.step(scheduler)
    assert scheduler.has_slot(row.key)
    world.schedulers[1].revoke(row)
    for _ in range(2):
        scheduler.check()
        world.step(scheduler)
    assert not scheduler.has_slot(row.key)
    assert not scheduler.is_busy()


def test_a_callback_whose_token_expires_while_it_is_held_has_failed(
    world: World, scheduler: Scheduler
) -> None:
    """Nothing else would end it."""
    row = world.airflow.rows["callback"]
    expire_held(world, scheduler, row)
    world.step(scheduler)
    assert scheduler.untaken == {row.id}


def test_the_place_of_an_invocation_is_taken_again_before_the_next_step(
    world: World, scheduler: Scheduler
) -> None:
    """The poller's thread frees it when the result arrives."""
    world.limit(1)
    first, second, _ = world.airflow.rows.values()
    for row in (first, second):
        world.queue(scheduler, row)
    world.send(scheduler, None, is_taken=True)
    scheduler.answer()
    assert not scheduler.can_send()
    world.function.start(0)
    world.function.finish(first.id, "success", 0)
    scheduler.receive()
    assert scheduler.can_send()


def test_a_duplicate_frees_no_place(world: World, scheduler: Scheduler) -> None:
    """The other start of the invocation runs on."""
    world.limit(1)
    row = running(world, scheduler)
    world.queue(scheduler, world.airflow.rows["task-2"])
    world.function.start(0)
    scheduler.receive()
    assert row.state == "running"
    assert not scheduler.can_send()


def test_an_adopted_task_that_runs_takes_a_place(world: World) -> None:
    """The next workload of its function waits for its end."""
    world.limit(1)
    row = running(world, world.schedulers[0])
    world.replace(world.schedulers[0])
    heir = world.schedulers[0]
    heir.adopt([row])
    world.queue(heir, world.airflow.rows["task-2"])
    assert not heir.can_send()


def test_the_log_says_once_a_minute_what_is_full(
    world: World, scheduler: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator sees why tasks stay scheduled."""
    caplog.set_level(logging.INFO, "lambda_executor")
    world.limit(1)
    running(world, scheduler)
    for _ in range(3):
        world.step(scheduler)
    said = [message for message in caplog.messages if "may run at once" in message]
    assert said == [
        (
            "function runs the 1 invocations that it may run at once; other tasks wait in Airflow, "
            "the highest priority_weight first"
        )
    ]
