"""The state of every invocation: a pure state machine that settles each of them at most once.

The scheduler's thread makes every transition. Other threads may call only `knows`, `is_live` and
`in_flight`.

`TRANSITIONS` is the whole machine; `docs/reference/invocation-states.md` shows it as a table. A
pending invocation can be settled, because its result may arrive before the answer to its own
invoke. A workload has at most one live invocation: a newer one for the same key supersedes the
older, whose late result then settles nothing (a deferred task's first half, W2).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from lambda_executor.contract.wire import InvocationId

Key = TypeVar("Key", bound=Hashable)

#: Settled ids to remember, so that a late duplicate is acknowledged and not handed back. At 10
#: results a second this is more than two hours, beyond any queue's redelivery.
SETTLED_MEMORY = 100_000


class State(StrEnum):
    """The state of an invocation."""

    PENDING = "pending"  # Accepted from the scheduler, not yet taken by Lambda.
    IN_FLIGHT = "in flight"  # Taken by Lambda, or in doubt; a report or Airflow ends it.
    SETTLED = "settled"  # Ended, with or without a settlement. Final.


class Event(StrEnum):
    """An event in the life of an invocation."""

    ADD = "add"  # The scheduler hands over a workload, under a fresh id.
    ADOPT = "adopt"  # The invocation is taken over from a scheduler that died.
    SENT = "sent"  # Lambda took it, or may have taken it.
    SETTLE = "settle"  # It ended, or the executor gave it up. Only this can notify Airflow.
    REVOKE = "revoke"  # The scheduler takes its workload back.
    SUPERSEDE = "supersede"  # Its workload is handed over again, under another id.


_ENDS: Mapping[Event, State] = dict.fromkeys(
    (Event.SETTLE, Event.REVOKE, Event.SUPERSEDE), State.SETTLED
)

#: By the state before (None: the id is unknown) and the event: the state after. An event that is
#: not listed changes nothing, except that `ADD` and `ADOPT` are refused.
TRANSITIONS: Mapping[State | None, Mapping[Event, State]] = {
    None: {Event.ADD: State.PENDING, Event.ADOPT: State.IN_FLIGHT},
    State.PENDING: {Event.SENT: State.IN_FLIGHT, **_ENDS},
    State.IN_FLIGHT: _ENDS,
    State.SETTLED: {},
}


@dataclass(frozen=True, slots=True)
class Settlement(Generic[Key]):
    """The end of an invocation. Airflow is notified of it once, unless the task continues.

    Attributes:
        key: Airflow's key of the workload.
        id: The invocation that ended.
        succeeded: Whether the invocation did its work.
        reason: The reason of a failure, for the user; empty after a success.
    """

    key: Key
    id: InvocationId
    succeeded: bool
    reason: str = ""


@dataclass(slots=True)
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
        self._ended: list[InvocationId] = []

    def add(self, id: InvocationId, key: Key) -> None:
        """Enter a new invocation as pending.

        Raises:
            ValueError: The id was used before.
        """
        self._enter(id, key, Event.ADD)

    def adopt(self, id: InvocationId, key: Key) -> None:
        """Take over an in-flight invocation from a scheduler that died.

        Adopting an invocation that is live under the same key changes nothing.

        Raises:
            ValueError: The id is known with another key, or settled.
        """
        known = self._live.get(id)
        if known is None or known.key != key:
            self._enter(id, key, Event.ADOPT)

    def sent(self, id: InvocationId) -> None:
        """Note that Lambda took a pending invocation."""
        self._apply(Event.SENT, id)

    def settle(
        self, id: InvocationId, *, succeeded: bool, reason: str = ""
    ) -> Settlement[Key] | None:
        """End a live invocation; return None, and change nothing, if it is not live."""
        settled = self._apply(Event.SETTLE, id)
        return Settlement(settled.key, id, succeeded, reason) if settled is not None else None

    def revoke(self, key: Key) -> InvocationId | None:
        """Forget a workload's live invocation: a report about it settles nothing."""
        live = self._id_by_key.get(key)
        if live is not None:
            self._apply(Event.REVOKE, live)
        return live

    def ended(self) -> list[InvocationId]:
        """Return the invocations that stopped being live since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def state(self, id: InvocationId) -> State | None:
        """The state of an invocation; None if it is not ours, or was settled too long ago."""
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

    def is_in_flight(self, id: InvocationId) -> bool:
        """Whether an invocation is in flight. Safe on any thread."""
        known = self._live.get(id)
        return known is not None and known.state is State.IN_FLIGHT

    def key(self, id: InvocationId) -> Key | None:
        """The workload of a live invocation."""
        known = self._live.get(id)
        return known.key if known is not None else None

    def in_flight(self) -> dict[InvocationId, Key]:
        """A snapshot of the in-flight invocations. Safe on any thread."""
        # list() of a dictionary's items is atomic under the GIL.
        live = list(self._live.items())
        return {id: known.key for id, known in live if known.state is State.IN_FLIGHT}

    def pending(self) -> dict[InvocationId, Key]:
        """A snapshot of the pending invocations."""
        live = self._live.items()
        return {id: known.key for id, known in live if known.state is State.PENDING}

    def live(self, key: Key) -> InvocationId | None:
        """The live invocation of a workload."""
        return self._id_by_key.get(key)

    def count(self, state: State) -> int:
        """The number of invocations in a state; only remembered ones count as settled."""
        if state is State.SETTLED:
            return len(self._settled)
        return self._pending if state is State.PENDING else len(self._live) - self._pending

    def __len__(self) -> int:
        """The number of live invocations."""
        return len(self._live)

    def _enter(self, id: InvocationId, key: Key, event: Event) -> None:
        state = TRANSITIONS[self.state(id)].get(event)
        if state is None:
            raise ValueError(f"invocation id {id} was used before: every dispatch needs a fresh id")
        superseded = self._id_by_key.get(key)
        if superseded is not None:
            self._apply(Event.SUPERSEDE, superseded)
        self._live[id] = _Live(key, state)
        self._pending += state is State.PENDING
        self._id_by_key[key] = id

    def _apply(self, event: Event, id: InvocationId) -> _Live[Key] | None:
        """Apply an event; return the invocation as it was before, if its state changed."""
        before = self._live.get(id)
        if before is None:
            return None
        state = TRANSITIONS[before.state].get(event)
        if state is None:
            return None
        self._pending -= before.state is State.PENDING
        if state is not State.SETTLED:
            self._live[id] = _Live(before.key, state)
            return before
        # Enter it as settled before it stops being live: `knows` must not see a gap.
        self._settled[id] = None
        del self._live[id]
        self._ended.append(id)
        if self._id_by_key.get(before.key) == id:
            del self._id_by_key[before.key]
        if len(self._settled) > self._settled_memory:
            self._settled.popitem(last=False)
        return before


def as_markdown() -> str:
    """The reference page `docs/reference/invocation-states.md`."""
    rows = "\n".join(
        f"| {state or 'not known'} | {' | '.join(_cell(state, event) for event in Event)} |"
        for state in TRANSITIONS
    )
    return f"""# The states of an invocation

Generated from `lambda_executor.core.ledger` by `make docs`.

The table shows the state of an invocation after each event. The rows are the states before it.

| | {" | ".join(Event)} |
|---|{"---|" * len(Event)}
{rows}

- **add**: The scheduler hands over a workload, under a fresh id.
- **adopt**: The invocation is taken over from a scheduler that died. Adopting an invocation that is
  live under the same key changes nothing.
- **sent**: Lambda took the invocation, or it is in doubt: Lambda may have taken it, but all answers
  were lost.
- **settle**: A result or a dead letter ends the invocation, or the executor gives it up because
  its send was refused or its result is lost.
- **revoke**: The scheduler takes the workload back.
- **supersede**: The workload is handed over again, under another id. The second half of a deferred
  task is an example.

Only a *settle* that changes the state notifies Airflow, so Airflow is notified at most once. If the
task continues, even that only frees the slot.
*Revoke* and *supersede* end an invocation without notifying Airflow.
"""


def _cell(state: State | None, event: Event) -> str:
    if event in TRANSITIONS[state]:
        return TRANSITIONS[state][event]
    return "refused" if event in TRANSITIONS[None] else "\N{EN DASH}"


if __name__ == "__main__":
    print(as_markdown(), end="")  # noqa: T201 - its output is the page
