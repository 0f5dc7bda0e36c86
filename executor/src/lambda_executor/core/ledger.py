"""The state of every invocation: a pure state machine that settles each of them exactly once.

Everything that affects a transition is in this file; nothing here knows AWS, Airflow, threads or
time. The scheduler's thread owns the ledger and makes every transition. Other threads may ask
`knows`, `is_live` and `in_flight` only.

`TRANSITIONS` is the whole machine; `docs/reference/invocation-states.md` shows it as a table. An
invocation can be settled before it is known as sent: its result may overtake the answer to its own
invoke. A workload has one live invocation at most: a newer one for the same key supersedes the
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

#: Settled ids that are remembered, so that a late duplicate is acknowledged and not handed back.
#: At 10 results a second this is more than two hours, beyond any queue's redelivery.
SETTLED_MEMORY = 100_000


class State(StrEnum):
    """Where an invocation is."""

    PENDING = "pending"  # Accepted from the scheduler, not yet taken by Lambda.
    IN_FLIGHT = "in flight"  # Taken by Lambda; a result or a dead letter will come.
    SETTLED = "settled"  # Told to Airflow, or nobody's business any more. Final.


class Event(StrEnum):
    """What happens to an invocation."""

    ADD = "add"  # The scheduler hands it over, under a fresh id.
    ADOPT = "adopt"  # It is taken over from a scheduler that died.
    SENT = "sent"  # Lambda took it.
    SETTLE = "settle"  # A result or a dead letter says how it ended; this alone is told to Airflow.
    REVOKE = "revoke"  # The scheduler takes its workload back.
    SUPERSEDE = "supersede"  # Its workload is handed over again, under another id.


_ENDS: Mapping[Event, State] = dict.fromkeys(
    (Event.SETTLE, Event.REVOKE, Event.SUPERSEDE), State.SETTLED
)

#: From the state in which an event finds an invocation to the next; None: the id is not known.
#: Where an event is not listed it changes nothing, but `ADD` and `ADOPT` are refused.
TRANSITIONS: Mapping[State | None, Mapping[Event, State]] = {
    None: {Event.ADD: State.PENDING, Event.ADOPT: State.IN_FLIGHT},
    State.PENDING: {Event.SENT: State.IN_FLIGHT, **_ENDS},
    State.IN_FLIGHT: _ENDS,
    State.SETTLED: {},
}


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

    def add(self, id: InvocationId, key: Key) -> None:
        """Take an invocation over from the scheduler; it is pending.

        Raises:
            ValueError: The id was used before: every dispatch needs a fresh one.
        """
        self._enter(id, key, Event.ADD)

    def adopt(self, id: InvocationId, key: Key) -> None:
        """Take an in-flight invocation over from a scheduler that died.

        Adopting what is live under the same key changes nothing.

        Raises:
            ValueError: The id is known with another key, or settled.
        """
        known = self._live.get(id)
        if known is None or known.key != key:
            self._enter(id, key, Event.ADOPT)

    def sent(self, id: InvocationId) -> None:
        """Note that Lambda took a pending invocation."""
        self._on(Event.SENT, id)

    def settle(
        self,
        id: InvocationId,
        *,
        succeeded: bool,
        reason: str = "",
    ) -> Settlement[Key] | None:
        """End a live invocation; None when it is not live, and then nothing changes."""
        settled = self._on(Event.SETTLE, id)
        return Settlement(settled.key, id, succeeded, reason) if settled is not None else None

    def revoke(self, key: Key) -> InvocationId | None:
        """Forget a workload's live invocation: whatever comes for it settles nothing."""
        live = self._id_by_key.get(key)
        if live is not None:
            self._on(Event.REVOKE, live)
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

    def _enter(self, id: InvocationId, key: Key, event: Event) -> None:
        state = TRANSITIONS[self.state(id)].get(event)
        if state is None:
            raise ValueError(f"invocation id {id} was used before: every dispatch needs a fresh id")
        superseded = self._id_by_key.get(key)
        if superseded is not None:
            self._on(Event.SUPERSEDE, superseded)
        self._live[id] = _Live(key, state)
        self._pending += state is State.PENDING
        self._id_by_key[key] = id

    def _on(self, event: Event, id: InvocationId) -> _Live[Key] | None:
        """Apply an event; returns what the invocation was, if that changed its state."""
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
        # Settled before it leaves the living: `knows` must never see a gap.
        self._settled[id] = None
        del self._live[id]
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

What each event makes of an invocation, by the state in which it finds it:

| | {" | ".join(Event)} |
|---|{"---|" * len(Event)}
{rows}

- **add**: the scheduler hands a workload over, under a fresh id. **adopt**: it is taken over from a
  scheduler that died; to adopt what is live under the same key changes nothing.
- **sent**: Lambda took it. **settle**: a result or a dead letter says how it ended.
- **revoke**: the scheduler takes its workload back. **supersede**: its workload is handed over
  again, under another id, as the second half of a deferred task is.

What is told to Airflow is told by a *settle* that changes the state, so once; every other event
ends an invocation in silence.
"""


def _cell(state: State | None, event: Event) -> str:
    if event in TRANSITIONS[state]:
        return TRANSITIONS[state][event]
    return "refused" if event in TRANSITIONS[None] else "\N{EN DASH}"


if __name__ == "__main__":
    print(as_markdown(), end="")  # noqa: T201 - its output is the page
