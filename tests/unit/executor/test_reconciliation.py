"""No slot is lost for ever, and none is freed because a result is still on its way."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping

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

A, B = InvocationId("a"), InvocationId("b")
SUBSETS = st.frozensets(st.sampled_from("abc"))


class Airflow:
    """A database that waits for what it is told to."""

    def __init__(self, *waiting: InvocationId) -> None:
        self.waiting = set(waiting)
        self.callbacks: dict[InvocationId, str] = {}

    def waits_for(self, in_flight: Mapping[InvocationId, str]) -> set[InvocationId]:
        """The intersection."""
        return self.waiting & set(in_flight)

    def unowned(self) -> Mapping[InvocationId, str]:
        """What it is told to."""
        return self.callbacks

    def longest_wait_s(self) -> float:
        """Two periods."""
        return 120.0


def reconciler_of(
    in_flight: dict[InvocationId, str], airflow: Airflow, *, period_s: float = 60
) -> Reconciler[str]:
    """A reconciler of a scheduler that knows what it has in flight."""
    return Reconciler(lambda: in_flight, in_flight.__contains__, airflow, period_s=period_s)


def test_what_airflow_waits_for_is_never_obsolete() -> None:
    """However often it is looked at."""
    reconciler = reconciler_of({A: "task"}, Airflow(A))
    for _ in range(5):
        reconciler.check()
    assert reconciler.obsolete() == []


def test_one_look_proves_nothing() -> None:
    """A result may be on its way; the second look in a row decides, once."""
    reconciler = reconciler_of({A: "task", B: "other"}, Airflow(B))
    reconciler.check()
    assert reconciler.obsolete() == []
    reconciler.check()
    assert reconciler.obsolete() == [A]


def test_what_is_waited_for_again_starts_anew() -> None:
    """Two looks that are not in a row prove nothing either."""
    airflow = Airflow()
    reconciler = reconciler_of({A: "task"}, airflow)
    reconciler.check()
    airflow.waiting = {A}
    reconciler.check()
    airflow.waiting = set()
    reconciler.check()
    assert reconciler.obsolete() == []


def test_a_database_that_is_away_frees_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The thread says so and goes on."""

    class Away(Airflow):
        looks = 0
        third_has_ended = threading.Event()

        def waits_for(self, in_flight: Mapping[InvocationId, str]) -> set[InvocationId]:
            self.looks += 1
            if self.looks == 1:
                raise ConnectionError("no database")
            if self.looks > 3:
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


def test_what_no_scheduler_looks_after_is_offered_once_and_given_up_in_time() -> None:
    """Not before nothing can run it any more, by this scheduler's own looks."""
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
    reconciler.adopted(A)
    for _ in range(CHECKS_FOR_RESULT - 1):
        reconciler.check()
    assert reconciler.lost() == []
    reconciler.check()
    assert reconciler.lost() == [A]
    reconciler.check()
    assert reconciler.lost() == []


def test_a_result_that_was_handed_back_can_be_seen_before_its_workload_is_given_up() -> None:
    """However often it was: a scheduler looks for it longer than its result is hidden."""
    reconciler = reconciler_of({A: "callback"}, Airflow(A))
    reconciler.adopted(A)
    looks_meanwhile = math.ceil(hand_back_delay_s(100_000) / PERIOD_S) + 1
    for _ in range(looks_meanwhile):
        reconciler.check()
    assert reconciler.lost() == []


def test_what_is_ours_is_neither_left_behind_nor_lost() -> None:
    """However long a callback of our own waits or runs, and before it is in flight too."""
    airflow = Airflow(A, B)
    airflow.callbacks = {A: "sent", B: "not sent yet"}
    reconciler = Reconciler(lambda: {A: "sent"}, {A, B}.__contains__, airflow)
    for _ in range(2 * CHECKS_FOR_RESULT):
        reconciler.check()
    assert (reconciler.left_behind(), reconciler.lost()) == ([], [])


def test_a_callback_that_ends_in_time_is_nobodys_to_adopt() -> None:
    """Each that another scheduler settles is gone before its time."""
    airflow = Airflow()
    reconciler = reconciler_of({}, airflow)
    for _ in range(10):
        airflow.callbacks = {A: "callback"}
        reconciler.check()
        reconciler.check()
        airflow.callbacks = {}
        reconciler.check()
    assert reconciler.left_behind() == []


def test_what_was_adopted_and_is_settled_is_not_lost() -> None:
    """A result that lay in a queue ends the count."""
    in_flight = {A: "callback"}
    reconciler = reconciler_of(in_flight, Airflow(A))
    reconciler.adopted(A)
    reconciler.check()
    in_flight.clear()
    for _ in range(2 * CHECKS_FOR_RESULT):
        reconciler.check()
    assert reconciler.lost() == []


@given(st.lists(st.tuples(SUBSETS, SUBSETS)))
def test_only_what_was_idle_in_two_looks_in_a_row_is_obsolete(
    looks: list[tuple[frozenset[str], frozenset[str]]],
) -> None:
    """Whatever is in flight and waited for in whatever order."""
    comparison = Comparison()
    before: frozenset[str] = frozenset()
    for in_flight, waited_for in looks:
        found = comparison.check(map(InvocationId, in_flight), set(map(InvocationId, waited_for)))
        idle = in_flight - waited_for
        assert found <= (idle & before)
        before = idle
