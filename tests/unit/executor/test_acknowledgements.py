"""How many ends Airflow is notified of in one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ledger import Settlement
from lambda_executor.engine.acknowledgements import MOST_FAILURES, Acknowledgements


def settlement(name: str, *, succeeded: bool) -> Settlement[str]:
    """The end of an invocation."""
    return Settlement(name, InvocationId(name), succeeded)


def test_failures_beyond_the_bound_wait_in_order_and_successes_do_not_wait() -> None:
    """Each end is notified once, also if there are more failures than fit into one step."""
    acknowledgements: Acknowledgements[str] = Acknowledgements()
    failures = [f"failure-{n}" for n in range(2 * MOST_FAILURES + 1)]
    for name in failures:
        acknowledgements.settled(settlement(name, succeeded=False))
    acknowledgements.settled(settlement("success", succeeded=True))
    steps: list[list[str]] = []
    for _ in range(4):
        steps.append([])
        acknowledgements.notify(lambda one: steps[-1].append(one.key))
    assert steps[0] == [*failures[:MOST_FAILURES], "success"]
    assert steps[1] == failures[MOST_FAILURES : 2 * MOST_FAILURES]
    assert steps[2:] == [failures[2 * MOST_FAILURES :], []]


def test_failures_that_cannot_be_notified_hold_back_no_other() -> None:
    """They do not count, so all others are notified in the same step, up to the bound."""
    acknowledgements: Acknowledgements[str] = Acknowledgements()
    for n in range(MOST_FAILURES):
        acknowledgements.settled(settlement(f"broken-{n}", succeeded=False))
    acknowledgements.settled(settlement("sound", succeeded=False))
    notified = []

    def notify(one: Settlement[str]) -> None:
        if one.key.startswith("broken"):
            raise RuntimeError(one.key)
        notified.append(one.key)

    acknowledgements.notify(notify)
    assert notified == ["sound"]


def test_a_failure_that_waits_is_not_notified_once_its_workload_is_revoked() -> None:
    """Revoking drops it, as it drops every settlement that Airflow does not have yet."""
    acknowledgements: Acknowledgements[str] = Acknowledgements()
    for n in range(MOST_FAILURES + 1):
        acknowledgements.settled(settlement(str(n), succeeded=False))
    acknowledgements.notify(lambda _: None)
    acknowledgements.forget(str(MOST_FAILURES))
    notified: list[str] = []
    acknowledgements.notify(lambda one: notified.append(one.key))
    assert notified == []


@dataclass(frozen=True, eq=False)
class Counting:
    """A key that counts how often keys are compared."""

    number: int
    comparisons: ClassVar[list[object]] = []

    def __eq__(self, other: object) -> bool:
        self.comparisons.append(other)
        return isinstance(other, Counting) and self.number == other.number

    def __hash__(self) -> int:
        return self.number


def test_forgetting_does_not_search_what_is_kept() -> None:
    """Each dispatch forgets its key, and thousands of failures may wait meanwhile."""
    acknowledgements: Acknowledgements[Counting] = Acknowledgements()
    for n in range(1000):
        id = InvocationId(str(n))
        acknowledgements.settled(Settlement(Counting(n), id, succeeded=False))
    acknowledgements.forget(Counting(1000))
    assert len(Counting.comparisons) == 0
    acknowledgements.forget(Counting(7))
    assert len(Counting.comparisons) <= 1
