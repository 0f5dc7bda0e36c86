"""What launchers remember, and what they forget."""

from __future__ import annotations

from lambda_executor.aws.remembered import Remembered
from lambda_executor.contract.wire import InvocationId

A, B, C = (InvocationId(name) for name in "abc")


def test_what_was_not_used_for_longest_is_forgotten() -> None:
    """A watch uses all that are in flight; those that have ended go first."""
    remembered: Remembered[int] = Remembered(most=2)
    remembered.put(A, 1)
    remembered.put(B, 2)
    assert remembered.get(A, 0) == 1
    remembered.put(C, 3)
    assert [remembered.get(id, 0) for id in (A, B, C)] == [1, 0, 3]


def test_a_value_is_kept_or_replaced() -> None:
    """A start in doubt stays in doubt, whatever is found later."""
    remembered: Remembered[int | None] = Remembered()
    remembered.put(A, 1)
    remembered.put(A, None)
    remembered.add(A, 2)
    remembered.add(B, 3)
    assert [remembered.get(id, 0) for id in (A, B)] == [None, 3]
