"""How often a program of `make local` is started again."""

from __future__ import annotations

from demo.machine.keeper import STEADY_S, Restarts


def test_the_waits_grow_and_end() -> None:
    """Each wait is used once; then the program is not started again."""
    restarts = Restarts((1, 5, 25))
    assert [restarts.next_wait_s(ran_s=1) for _ in range(5)] == [1, 5, 25, None, None]


def test_a_steady_run_makes_the_first_wait_apply_again() -> None:
    """A program that dies once in a while is started again each time."""
    restarts = Restarts((1, 5))
    waits = [restarts.next_wait_s(ran_s) for ran_s in (0, STEADY_S - 1, STEADY_S, 0, 0)]
    assert waits == [1, 5, 1, 5, None]


def test_without_waits_nothing_is_started_again() -> None:
    """However long the program ran."""
    assert Restarts(()).next_wait_s(STEADY_S) is None
