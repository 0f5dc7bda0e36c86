"""Every lost slot is freed, and none while a result is still on its way."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.contract.wire import InvocationId
from lambda_executor.engine.poller import hand_back_delay_s
from lambda_executor.engine.reconciliation import (
    CHECKS_FOR_RESULT,
    PERIOD_S,
    Comparison,
    Reconciler,
)
from lambda_executor.engine.unclaimed import CHECKS, NOTED_FROM, Unclaimed

A, B = InvocationId("a"), InvocationId("b")
SUBSETS = st.frozensets(st.sampled_from("abc"))


class Airflow:
    """A database that waits for given invocations."""

    def __init__(self, *waiting: InvocationId) -> None:
        self.waiting = set(waiting)
        self.callbacks: dict[InvocationId, str] = {}

    def waits_for(self, in_flight: Mapping[InvocationId, str]) -> set[InvocationId]:
        """Return the given invocations that are in flight."""
        return self.waiting & set(in_flight)

    def awaited(self, ids: Collection[InvocationId]) -> set[InvocationId]:
        """Return the given invocations among some."""
        return self.waiting & set(ids)

    def unowned(self) -> Mapping[InvocationId, str]:
        """Return the given callbacks."""
        return self.callbacks

    def ends(self, key: str) -> bool:
        """Whether it is a task."""
        return key == "task"

    def longest_wait_s(self) -> float:
        """Return two periods."""
        return 120.0


def reconciler_of(
    in_flight: dict[InvocationId, str], airflow: Airflow, *, period_s: float = 60
) -> Reconciler[str]:
    """The reconciler of a scheduler that knows its in-flight invocations."""
    return Reconciler(lambda: in_flight, in_flight.__contains__, airflow, period_s=period_s)


def test_what_airflow_waits_for_is_never_obsolete() -> None:
    """More checks do not change that."""
    reconciler = reconciler_of({A: "task"}, Airflow(A))
    for _ in range(5):
        reconciler.check()
    assert reconciler.obsolete() == []


def test_a_check_asks_about_messages_that_no_scheduler_claims() -> None:
    """What Airflow waits for stays; a question that fails changes nothing."""
    unclaimed, airflow = Unclaimed(), Airflow(A)
    reconciler = Reconciler(dict[InvocationId, str], {}.__contains__, airflow, unclaimed=unclaimed)
    for id in (A, B):
        assert not unclaimed.is_unclaimed(id, NOTED_FROM)
    for _ in range(CHECKS):
        reconciler.check()
    assert [unclaimed.is_unclaimed(id, NOTED_FROM) for id in (A, B)] == [False, True]


def test_one_check_proves_nothing() -> None:
    """Only the second check in a row makes an invocation obsolete, and only once."""
    reconciler = reconciler_of({A: "task", B: "other"}, Airflow(B))
    reconciler.check()
    assert reconciler.obsolete() == []
    reconciler.check()
    assert reconciler.obsolete() == [A]


def test_an_invocation_that_airflow_waits_for_again_starts_anew() -> None:
    """Two checks that are not in a row prove nothing either."""
    airflow = Airflow()
    reconciler = reconciler_of({A: "task"}, airflow)
    reconciler.check()
    airflow.waiting = {A}
    reconciler.check()
    airflow.waiting = set()
    reconciler.check()
    assert reconciler.obsolete() == []


def test_a_database_that_is_down_frees_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The thread logs the error and continues."""

    class Away(Airflow):
        checks = 0
        third_has_ended = threading.Event()

        def waits_for(self, in_flight: Mapping[InvocationId, str]) -> set[InvocationId]:
            self.checks += 1
            if self.checks == 1:
                raise ConnectionError("no database")
            if self.checks > 3:
                self.third_has_ended.set()
                self.waiting = {A}
            return super().waits_for(in_flight)

    airflow = Away()
    reconciler = reconciler_of({A: "task"}, airflow, period_s=0.001)
    reconciler.start()
    assert airflow.third_has_ended.wait(10)
    reconciler.close(10)
    assert reconciler.obsolete() == [A]
    assert "Could not compare" in caplog.text


def test_a_callback_that_no_scheduler_holds_is_offered_once_and_given_up_in_time() -> None:
    """It is offered once no function can run it any more, counted in this scheduler's checks."""
    in_flight: dict[InvocationId, str] = {}
    airflow = Airflow(A)
    airflow.callbacks = {A: "callback"}
    reconciler = reconciler_of(in_flight, airflow)
    for _ in range(2):
        reconciler.check()
        assert reconciler.left_behind() == []
    expected: list[tuple[InvocationId, str]]
    for expected in ([(A, "callback")], []):
        reconciler.check()
        assert reconciler.left_behind() == expected
    in_flight[A] = "callback"
    for _ in range(CHECKS_FOR_RESULT - 2):
        reconciler.check()
    assert reconciler.lost() == []
    reconciler.check()
    assert reconciler.lost() == [A]
    reconciler.check()
    assert reconciler.lost() == []


def test_a_result_that_was_handed_back_is_visible_before_its_workload_is_given_up() -> None:
    """The checks last longer than the longest time for which a result is hidden."""
    checks_meanwhile = math.ceil(hand_back_delay_s(100_000) / PERIOD_S) + 1
    assert checks_meanwhile < CHECKS_FOR_RESULT


def test_our_own_callback_is_lost_when_no_function_can_run_it_and_no_result_came() -> None:
    """It is found once; the time before it was sent does not count."""
    airflow = Airflow(A, B)
    airflow.callbacks = {A: "callback", B: "callback"}
    in_flight: dict[InvocationId, str] = {}
    reconciler = Reconciler(lambda: in_flight, {A, B}.__contains__, airflow)
    for _ in range(2 * CHECKS_FOR_RESULT):
        reconciler.check()
    in_flight[A] = "callback"
    for _ in range(3 + CHECKS_FOR_RESULT - 1):
        reconciler.check()
    assert reconciler.lost() == []
    reconciler.check()
    assert reconciler.lost() == [A]
    for _ in range(2 * CHECKS_FOR_RESULT):
        reconciler.check()
    assert (reconciler.left_behind(), reconciler.lost()) == ([], [])


def test_a_task_is_left_to_airflow() -> None:
    """However long it is in flight: Airflow ends what is queued or silent for too long."""
    reconciler = reconciler_of({A: "task"}, Airflow(A))
    for _ in range(3 * CHECKS_FOR_RESULT):
        reconciler.check()
    assert (reconciler.obsolete(), reconciler.lost()) == ([], [])


def test_a_callback_that_ends_in_time_is_not_offered() -> None:
    """A callback that another scheduler settles is gone before it would be offered."""
    airflow = Airflow()
    reconciler = reconciler_of({}, airflow)
    for _ in range(10):
        airflow.callbacks = {A: "callback"}
        reconciler.check()
        reconciler.check()
        airflow.callbacks = {}
        reconciler.check()
    assert reconciler.left_behind() == []


def test_an_adopted_callback_that_settles_is_not_lost() -> None:
    """A result from a queue ends the count of checks."""
    in_flight = {A: "callback"}
    reconciler = reconciler_of(in_flight, Airflow(A))
    reconciler.check()
    in_flight.clear()
    for _ in range(2 * CHECKS_FOR_RESULT):
        reconciler.check()
    assert reconciler.lost() == []


@given(st.lists(st.tuples(SUBSETS, SUBSETS)))
def test_only_an_invocation_idle_in_two_checks_in_a_row_is_obsolete(
    checks: list[tuple[frozenset[str], frozenset[str]]],
) -> None:
    """This holds for random checks."""
    comparison = Comparison()
    before: frozenset[str] = frozenset()
    for in_flight, waited_for in checks:
        found = comparison.check(map(InvocationId, in_flight), set(map(InvocationId, waited_for)))
        idle = in_flight - waited_for
        assert found <= (idle & before)
        before = idle
