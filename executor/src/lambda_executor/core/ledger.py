"""The state of every invocation: a pure state machine that settles each of them exactly once.

Everything that affects a transition is in this file; nothing here knows AWS, Airflow, threads or
time. The scheduler's thread owns the ledger and makes every transition. Other threads may ask
`knows`, `is_live` and `in_flight` only.

======== ======== =========== ============ ========= ===========
state    add      sent        settle       revoke    (superseded)
======== ======== =========== ============ ========= ===========
(none)   PENDING  --          --           --        --
PENDING  error    IN_FLIGHT   SETTLED (!)  SETTLED   SETTLED
IN_FLIGHT error   IN_FLIGHT   SETTLED (!)  SETTLED   SETTLED
SETTLED  error    SETTLED     SETTLED      SETTLED   SETTLED
======== ======== =========== ============ ========= ===========

`(!)` is the only transition that yields a settlement. A PENDING invocation can be settled: its
result may overtake the answer to its own invoke. `adopt` enters at IN_FLIGHT. A workload has one
live invocation at most: a newer one for the same key supersedes the older, whose late result then
settles nothing (a deferred task's first half, W2).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from lambda_executor.contract.wire import InvocationId

Key = TypeVar("Key", bound=Hashable)

#: Settled ids that are remembered, so that a late duplicate is acknowledged and not handed back.
#: At 10 results a second this is more than two hours, beyond any queue's redelivery.
SETTLED_MEMORY = 100_000


class State(Enum):
    """Where an invocation is."""

    PENDING = "pending"  # Accepted from the scheduler, not yet taken by Lambda.
    IN_FLIGHT = "in flight"  # Taken by Lambda; a result or a dead letter will come.
    SETTLED = "settled"  # Told to Airflow, or nobody's business any more. Final.


@dataclass(frozen=True, slots=True)
class Settlement(Generic[Key]):
    """What to tell Airflow about a workload, once.

    Attributes:
        key: Airflow's key of the workload.
        id: The invocation that ended.
        succeeded: Whether the invocation did its work.
        reason: A sentence for the user; empty when there is nothing to say.
    """

    key: Key
    id: InvocationId
    succeeded: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Live(Generic[Key]):
    key: Key
    state: State


class Ledger(Generic[Key]):
    """All invocations of one executor, by id."""

    def __init__(self, *, settled_memory: int = SETTLED_MEMORY) -> None:
        self._live: dict[InvocationId, _Live[Key]] = {}
        self._id_by_key: dict[Key, InvocationId] = {}
        self._settled: OrderedDict[InvocationId, None] = OrderedDict()
        self._settled_memory = settled_memory
        self._pending = 0

    def add(self, id: InvocationId, key: Key) -> None:
        """Take an invocation over from the scheduler; it is pending.

        Raises:
            ValueError: The id was used before: every dispatch needs a fresh one.
        """
        self._enter(id, key, State.PENDING)

    def adopt(self, id: InvocationId, key: Key) -> None:
        """Take an in-flight invocation over from a scheduler that died.

        Adopting what is live under the same key changes nothing.

        Raises:
            ValueError: The id is known with another key, or settled.
        """
        known = self._live.get(id)
        if known is None or known.key != key:
            self._enter(id, key, State.IN_FLIGHT)

    def sent(self, id: InvocationId) -> None:
        """Note that Lambda took a pending invocation."""
        known = self._live.get(id)
        if known is not None and known.state is State.PENDING:
            self._live[id] = _Live(known.key, State.IN_FLIGHT)
            self._pending -= 1

    def settle(
        self,
        id: InvocationId,
        *,
        succeeded: bool,
        reason: str = "",
    ) -> Settlement[Key] | None:
        """End a live invocation; None when it is not live, and then nothing changes."""
        known = self._live.get(id)
        if known is None:
            return None
        self._close(id)
        return Settlement(known.key, id, succeeded, reason)

    def revoke(self, key: Key) -> InvocationId | None:
        """Forget a workload's live invocation: whatever comes for it settles nothing."""
        live = self._id_by_key.get(key)
        if live is not None:
            self._close(live)
        return live

    def state(self, id: InvocationId) -> State | None:
        """Where an invocation is; None when it is not ours, or settled too long ago."""
        known = self._live.get(id)
        if known is not None:
            return known.state
        return State.SETTLED if id in self._settled else None

    def knows(self, id: InvocationId) -> bool:
        """Whether an id is ours, live or settled. Safe on any thread."""
        return id in self._live or id in self._settled

    def is_live(self, id: InvocationId) -> bool:
        """Whether an invocation is pending or in flight. Safe on any thread."""
        return id in self._live

    def key(self, id: InvocationId) -> Key | None:
        """The workload of a live invocation."""
        known = self._live.get(id)
        return known.key if known is not None else None

    def in_flight(self) -> dict[InvocationId, Key]:
        """A snapshot of what is in flight. Safe on any thread."""
        # list() of a dictionary's items is one step of the interpreter.
        live = list(self._live.items())
        return {id: known.key for id, known in live if known.state is State.IN_FLIGHT}

    def live(self, key: Key) -> InvocationId | None:
        """The live invocation of a workload."""
        return self._id_by_key.get(key)

    def count(self, state: State) -> int:
        """How many invocations are in a state; of the settled, those that are remembered."""
        if state is State.SETTLED:
            return len(self._settled)
        return self._pending if state is State.PENDING else len(self._live) - self._pending

    def __len__(self) -> int:
        """How many invocations are live."""
        return len(self._live)

    def _enter(self, id: InvocationId, key: Key, state: State) -> None:
        if self.knows(id):
            raise ValueError(f"invocation id {id} was used before: every dispatch needs a fresh id")
        superseded = self._id_by_key.get(key)
        if superseded is not None:
            self._close(superseded)
        self._live[id] = _Live(key, state)
        self._pending += state is State.PENDING
        self._id_by_key[key] = id

    def _close(self, id: InvocationId) -> None:
        # Settled before it leaves the living: `knows` must never see a gap.
        self._settled[id] = None
        ended = self._live.pop(id)
        self._pending -= ended.state is State.PENDING
        if self._id_by_key.get(ended.key) == id:
            del self._id_by_key[ended.key]
        while len(self._settled) > self._settled_memory:
            self._settled.popitem(last=False)
