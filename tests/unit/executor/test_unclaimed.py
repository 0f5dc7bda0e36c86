"""What nobody claims is deleted; what somebody may wait for never is."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from lambda_executor.contract.wire import InvocationId
from lambda_executor.engine.poller import HAND_BACK_CAP_S, hand_back_delay_s
from lambda_executor.engine.reconciliation import PERIOD_S
from lambda_executor.engine.unclaimed import (
    CHECKS,
    FORGOTTEN_AFTER,
    MOST_NOTED,
    NOTED_FROM,
    Unclaimed,
)

A, B = InvocationId("a"), InvocationId("b")


class Airflow:
    """A database that waits for given invocations, and counts the questions."""

    def __init__(self, *waiting: InvocationId) -> None:
        self.waiting = set(waiting)
        self.asked: list[frozenset[InvocationId]] = []

    def awaited(self, ids: Collection[InvocationId]) -> set[InvocationId]:
        """Return those of them that it waits for."""
        self.asked.append(frozenset(ids))
        return self.waiting & set(ids)


def noted(*ids: InvocationId) -> Unclaimed:
    """Messages about these were delivered often."""
    unclaimed = Unclaimed()
    assert not any(unclaimed.is_unclaimed(id, NOTED_FROM) for id in ids)
    return unclaimed


def check(unclaimed: Unclaimed, airflow: Airflow, times: int = CHECKS) -> None:
    """Make some checks."""
    for _ in range(times):
        unclaimed.check(airflow.awaited)


def test_a_message_of_nobody_is_unclaimed_after_two_checks() -> None:
    """One check is not enough: its scheduler may be about to take it."""
    unclaimed, airflow = noted(A), Airflow()
    check(unclaimed, airflow, times=1)
    assert not unclaimed.is_unclaimed(A, NOTED_FROM + 1)
    check(unclaimed, airflow, times=1)
    assert unclaimed.is_unclaimed(A, NOTED_FROM + 2)


def test_what_airflow_waits_for_is_never_unclaimed() -> None:
    """However often it was delivered."""
    unclaimed = noted(A, B)
    check(unclaimed, Airflow(A), times=50)
    assert not unclaimed.is_unclaimed(A, 1000)
    assert unclaimed.is_unclaimed(B, 1000)


def test_what_airflow_waits_for_again_starts_anew() -> None:
    """Before Airflow 3.3 the database may get the id of an invocation after its start."""
    unclaimed, airflow = noted(A), Airflow()
    check(unclaimed, airflow)
    airflow.waiting = {A}
    check(unclaimed, airflow, times=1)
    assert not unclaimed.is_unclaimed(A, NOTED_FROM + 1)
    airflow.waiting = set()
    check(unclaimed, airflow, times=1)
    assert not unclaimed.is_unclaimed(A, NOTED_FROM + 2)


def test_a_message_is_only_noted_when_its_scheduler_has_had_time_for_it() -> None:
    """That is more than two minutes, longer than the reconciler needs for two checks."""
    unclaimed = Unclaimed()
    for receive_count in range(1, NOTED_FROM):
        assert not unclaimed.is_unclaimed(A, receive_count)
    assert len(unclaimed) == 0
    assert sum(map(hand_back_delay_s, range(1, NOTED_FROM))) > max(120, CHECKS * PERIOD_S)
    check(noted(B), airflow := Airflow())
    check(unclaimed, airflow)
    assert airflow.asked == [{B}, {B}]


def test_a_first_delivery_is_handed_back_even_if_another_was_unclaimed() -> None:
    """The ids of `AwsLambdaExecutor` are not fresh: the next part of a task has the same one."""
    unclaimed = noted(A)
    check(unclaimed, Airflow())
    assert not unclaimed.is_unclaimed(A, 1)


def test_a_database_that_is_down_makes_nothing_unclaimed() -> None:
    """The next answer counts as if there had been no question."""

    def away(ids: Collection[InvocationId]) -> set[InvocationId]:
        raise ConnectionError(f"nobody answers about {len(ids)}")

    unclaimed, airflow = noted(A), Airflow()
    check(unclaimed, airflow, times=1)
    for _ in range(5):
        with pytest.raises(ConnectionError):
            unclaimed.check(away)
    assert not unclaimed.is_unclaimed(A, NOTED_FROM + 1)
    check(unclaimed, airflow, times=1)
    assert unclaimed.is_unclaimed(A, NOTED_FROM + 2)


def test_ids_that_come_no_more_are_forgotten() -> None:
    """Those that still come are kept, however rarely: none is hidden for more than 15 minutes."""
    unclaimed, airflow = noted(A, B), Airflow()
    rarely = 3 * int(HAND_BACK_CAP_S / PERIOD_S)
    assert rarely < FORGOTTEN_AFTER
    for _ in range(FORGOTTEN_AFTER // rarely + 1):
        check(unclaimed, airflow, times=rarely)
        assert unclaimed.is_unclaimed(A, 1000)
    assert len(unclaimed) == 1
    assert airflow.asked[-1] == {A}


def test_a_flood_of_forged_messages_takes_bounded_memory_and_leaves() -> None:
    """Those that found no place are noted when others are gone; none displaces another."""
    unclaimed, airflow = Unclaimed(), Airflow()
    first, second = ([InvocationId(f"{part}-{n}") for n in range(MOST_NOTED)] for part in "ab")
    assert unclaimed_of(unclaimed, first + second) == []
    assert len(unclaimed) == MOST_NOTED
    check(unclaimed, airflow)
    assert unclaimed_of(unclaimed, first + second) == first
    check(unclaimed, airflow, times=FORGOTTEN_AFTER + 1)
    assert unclaimed_of(unclaimed, second) == []
    check(unclaimed, airflow)
    assert unclaimed_of(unclaimed, second) == second


def unclaimed_of(unclaimed: Unclaimed, ids: Sequence[InvocationId]) -> list[InvocationId]:
    """Receive a message about each of them; return those that nobody claims."""
    return [id for id in ids if unclaimed.is_unclaimed(id, NOTED_FROM)]
