"""No slot is lost for ever, and none is freed because a result is still on its way."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.reconciliation import Comparison, Reconciler
from lambda_executor.wire import InvocationId

A, B = InvocationId("a"), InvocationId("b")


class Airflow:
    """A database that waits for what it is told to."""

    def __init__(self, *waiting: InvocationId) -> None:
        self.waiting = set(waiting)
        self.forgotten: dict[InvocationId, str] = {}

    def waits_for(self, in_flight: Mapping[InvocationId, str]) -> set[InvocationId]:
        """The intersection."""
        return self.waiting & set(in_flight)

    def left_behind(self) -> Mapping[InvocationId, str]:
        """What it is told to."""
        return self.forgotten


def test_what_airflow_waits_for_is_never_obsolete() -> None:
    """However often it is looked at."""
    reconciler = Reconciler(lambda: {A: "task"}, Airflow(A))
    for _ in range(5):
        reconciler.look()
    assert reconciler.obsolete() == []


def test_one_look_proves_nothing() -> None:
    """A result may be on its way; the second look in a row decides, once."""
    reconciler = Reconciler(lambda: {A: "task", B: "other"}, Airflow(B))
    reconciler.look()
    assert reconciler.obsolete() == []
    reconciler.look()
    assert reconciler.obsolete() == [A]


def test_what_is_waited_for_again_starts_anew() -> None:
    """Two looks that are not in a row prove nothing either."""
    airflow = Airflow()
    reconciler = Reconciler(lambda: {A: "task"}, airflow)
    reconciler.look()
    airflow.waiting = {A}
    reconciler.look()
    airflow.waiting = set()
    reconciler.look()
    assert reconciler.obsolete() == []


def test_a_database_that_is_away_frees_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The thread says so and goes on."""

    class Away(Airflow):
        looks = 0

        def waits_for(self, in_flight: Mapping[InvocationId, str]) -> set[InvocationId]:
            self.looks += 1
            if self.looks == 1:
                raise ConnectionError("no database")
            return super().waits_for(in_flight)

    airflow = Away()
    reconciler = Reconciler(lambda: {A: "task"}, airflow, period_s=0.001)
    reconciler.start()
    while not (obsolete := reconciler.obsolete()):
        pass
    reconciler.close(10)
    assert obsolete == [A]
    assert airflow.looks >= 3
    assert "Could not compare" in caplog.text


@given(
    st.lists(
        st.tuples(st.frozensets(st.sampled_from("abc")), st.frozensets(st.sampled_from("abc")))
    )
)
def test_only_what_was_idle_in_two_looks_in_a_row_is_obsolete(
    looks: list[tuple[frozenset[str], frozenset[str]]],
) -> None:
    """Whatever is in flight and waited for in whatever order."""
    comparison = Comparison()
    before: frozenset[str] = frozenset()
    for in_flight, waited_for in looks:
        found = comparison.look(map(InvocationId, in_flight), set(map(InvocationId, waited_for)))
        idle = in_flight - waited_for
        assert found <= (idle & before)
        before = idle
