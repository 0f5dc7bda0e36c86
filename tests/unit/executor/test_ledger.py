"""Every invocation settles at most once, even if events are duplicated, reordered or late."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ledger import Ledger, State

A, B = InvocationId("a"), InvocationId("b")


def test_a_result_settles_once() -> None:
    """The second delivery of a result yields nothing."""
    ledger: Ledger[str] = Ledger()
    ledger.add(A, "task")
    ledger.sent(A)
    first = ledger.settle(A, succeeded=True)
    assert first is not None
    assert (first.key, first.succeeded) == ("task", True)
    assert ledger.settle(A, succeeded=False, reason="late") is None
    assert ledger.state(A) is State.SETTLED


def test_a_result_may_arrive_before_the_answer_to_its_own_invoke() -> None:
    """A pending invocation settles, and `sent` afterwards does not revive it."""
    ledger: Ledger[str] = Ledger()
    ledger.add(A, "task")
    assert ledger.settle(A, succeeded=True) is not None
    ledger.sent(A)
    assert ledger.state(A) is State.SETTLED
    assert len(ledger) == 0


@pytest.mark.reference_fault("W2")
def test_the_first_half_of_a_deferred_task_does_not_settle_its_second() -> None:
    """A newer invocation of the same workload supersedes the older one."""
    ledger: Ledger[str] = Ledger()
    ledger.add(A, "task")
    ledger.add(B, "task")
    assert ledger.settle(A, succeeded=True) is None
    assert ledger.settle(B, succeeded=True) is not None


def test_an_unknown_id_settles_nothing() -> None:
    """A guessed or foreign id changes nothing."""
    ledger: Ledger[str] = Ledger()
    ledger.add(A, "task")
    assert ledger.settle(B, succeeded=False) is None
    assert ledger.state(A) is State.PENDING
    assert not ledger.knows(B)


def test_an_id_is_used_once() -> None:
    """A used id is refused, live or settled."""
    ledger: Ledger[str] = Ledger()
    ledger.add(A, "task")
    with pytest.raises(ValueError, match="fresh id"):
        ledger.add(A, "other")
    ledger.settle(A, succeeded=True)
    with pytest.raises(ValueError, match="fresh id"):
        ledger.adopt(A, "task")


def test_a_revoked_invocation_settles_nothing() -> None:
    """After revoke the workload has no live invocation, and its id stays known."""
    ledger: Ledger[str] = Ledger()
    ledger.add(A, "task")
    assert ledger.revoke("task") == A
    assert ledger.revoke("task") is None
    assert ledger.settle(A, succeeded=True) is None
    assert ledger.knows(A)


def test_adopting_twice_changes_nothing() -> None:
    """Adopting an invocation that is live under the same key is not an error."""
    ledger: Ledger[str] = Ledger()
    ledger.adopt(A, "task")
    ledger.adopt(A, "task")
    assert ledger.count(State.IN_FLIGHT) == 1


def test_the_memory_of_settled_ids_is_bounded() -> None:
    """The oldest settled ids are forgotten first."""
    ledger: Ledger[int] = Ledger(settled_memory=2)
    for n in range(3):
        ledger.add(InvocationId(str(n)), n)
        ledger.settle(InvocationId(str(n)), succeeded=True)
    assert [ledger.knows(InvocationId(str(n))) for n in range(3)] == [False, True, True]


class LedgerMachine(RuleBasedStateMachine):
    """Dispatches, answers, results, duplicates and revocations in any order.

    The model is the plainest there is: the live id of each key, and how often each id settled.
    """

    ids = Bundle("ids")

    @initialize()
    def start(self) -> None:
        """Begin empty."""
        self.ledger: Ledger[int] = Ledger()
        self.live: dict[int, InvocationId] = {}
        self.key_of: dict[InvocationId, int] = {}
        self.settlements: dict[InvocationId, int] = {}
        self.count = 0

    def _fresh(self, key: int) -> InvocationId:
        self.count += 1
        id = InvocationId(f"id-{self.count}")
        self.key_of[id] = key
        self.live[key] = id
        return id

    @rule(target=ids, key=st.integers(0, 3))
    def dispatch(self, key: int) -> InvocationId:
        """The scheduler queues a workload, maybe again."""
        id = self._fresh(key)
        self.ledger.add(id, key)
        return id

    @rule(target=ids, key=st.integers(0, 3))
    def adopt(self, key: int) -> InvocationId:
        """Another scheduler's invocation is adopted."""
        id = self._fresh(key)
        self.ledger.adopt(id, key)
        return id

    @rule(id=ids)
    def answer(self, id: InvocationId) -> None:
        """Lambda took an invocation; the answer may be late."""
        self.ledger.sent(id)

    @rule(id=ids, succeeded=st.booleans())
    def result(self, id: InvocationId, succeeded: bool) -> None:
        """A result or a dead letter arrives, maybe again."""
        settlement = self.ledger.settle(id, succeeded=succeeded)
        key = self.key_of[id]
        assert (settlement is not None) == (self.live.get(key) == id)
        if settlement is not None:
            assert (settlement.key, settlement.succeeded) == (key, succeeded)
            self.settlements[id] = self.settlements.get(id, 0) + 1
            del self.live[key]

    @rule(key=st.integers(0, 3))
    def revoke(self, key: int) -> None:
        """The scheduler revokes a workload."""
        assert self.ledger.revoke(key) == self.live.pop(key, None)

    @rule()
    def foreign(self) -> None:
        """A report with a guessed id arrives."""
        assert self.ledger.settle(InvocationId("foreign"), succeeded=True) is None

    @invariant()
    def each_settles_at_most_once(self) -> None:
        """No id has two settlements."""
        assert all(count == 1 for count in self.settlements.values())

    @invariant()
    def exactly_the_live_are_live(self) -> None:
        """The ledger's live invocations are the model's, and all ids stay known."""
        assert len(self.ledger) == len(self.live)
        states = [self.ledger.state(id) for id in self.live.values()]
        for state in (State.PENDING, State.IN_FLIGHT):
            assert self.ledger.count(state) == states.count(state)
        assert all(self.ledger.live(key) == id for key, id in self.live.items())
        assert all(self.ledger.knows(id) for id in self.key_of)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)


def test_what_stopped_being_live_is_told_once() -> None:
    """Settled, revoked and superseded invocations are; what is only sent is not."""
    ledger: Ledger[str] = Ledger()
    first, second, third, fourth = map(InvocationId, "1234")
    for id, key in ((first, "a"), (second, "b"), (third, "c"), (fourth, "c")):
        ledger.add(id, key)
    ledger.sent(first)
    assert ledger.ended() == [third]
    ledger.settle(first, succeeded=True)
    ledger.settle(first, succeeded=True)
    ledger.revoke("b")
    assert ledger.ended() == [first, second]
    assert ledger.ended() == []
