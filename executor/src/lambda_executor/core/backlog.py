"""What waits for one target, and whether AWS has room for it there. No threads, no clock."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection
from dataclasses import dataclass, field

from lambda_executor.contract.errors import AwsError, NoRoomError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.backoff import Backoff, Uniform
from lambda_executor.core.dispatch import Dispatch
from lambda_executor.core.gate import Gate

#: The delay of all sends to a target while AWS has no room there. Room that became free is found
#: within a quarter of a minute, which is short beside the start of most jobs.
NO_ROOM = Backoff(base_s=1, cap_s=15, floor=0.5)


@dataclass(order=True, slots=True)
class Waiting:
    """An invocation in the queue, or being sent.

    Attributes:
        order: What decides who leaves first: the negative priority, and the number of the push.
        dispatch: The invocation.
        since_s: When it was submitted.
        failures: The sends that failed for a reason of its own.
        in_doubt: How many of them may have been taken.
        denied_s: When the role might not send it for the first time; infinite: it always might.
        error: That of the last of them, or why there was no room for it.
        failed_s: When that came.
        popped_s: When its last send began.
    """

    order: tuple[float, int]
    dispatch: Dispatch = field(compare=False)
    since_s: float = field(compare=False)
    failures: int = field(default=0, compare=False)
    in_doubt: int = field(default=0, compare=False)
    denied_s: float = field(default=math.inf, compare=False)
    error: AwsError | None = field(default=None, compare=False)
    failed_s: float = field(default=-math.inf, compare=False)
    popped_s: float = field(default=0.0, compare=False)

    def denied_for_s(self, now_s: float) -> float:
        """Take note that the role may not send it, and return since how many seconds it may not."""
        self.denied_s = min(self.denied_s, now_s)
        return now_s - self.denied_s


class Backlog:
    """The invocations that wait for one target.

    Once AWS has had no room for one, a single send at a time finds out whether it has again, less
    and less often. Every second try is of the most urgent one. In the others all take turns,
    because there may be room for a smaller one. When one is taken, all may leave, in the order that
    they had.

    Args:
        target: The name of the target.
        uniform: Draws the jitter.

    Attributes:
        under_way: The number of its sends that have no result yet.
        full_s: When there was no room last, as AWS or the `Places` had it.
    """

    def __init__(self, target: str, uniform: Uniform) -> None:
        self.target = target
        self.under_way = 0
        self.full_s = -math.inf
        self._gate = Gate(uniform)
        self._ready: list[Waiting] = []
        self._had_turn: list[Waiting] = []
        self._is_turn = False

    def __len__(self) -> int:
        return len(self._ready) + len(self._had_turn)

    @property
    def reason(self) -> str:
        """Why AWS has no room; empty: it had some the last time."""
        return self._gate.reason

    def push(self, waiting: Waiting, *, had_turn: bool = False) -> None:
        """Add one; behind all others, if there was no room for it in its turn."""
        if had_turn:
            heapq.heappush(self._had_turn, waiting)
            self._is_turn = not self._is_turn
        else:
            heapq.heappush(self._ready, waiting)

    def first(self) -> Waiting:
        """Return the one that leaves next; there must be one."""
        if not self._ready:
            self._begin_turns()
        elif self._had_turn and not self._is_turn and self._had_turn[0] < self._ready[0]:
            heapq.heappush(self._ready, heapq.heappop(self._had_turn))
        return self._ready[0]

    def pop(self) -> Waiting:
        """Take out the one that leaves next."""
        first = self.first()
        heapq.heappop(self._ready)
        return first

    def drop(self, ids: Collection[InvocationId]) -> None:
        """Drop those that are not live any more."""
        self._had_turn = [waiting for waiting in self._had_turn if waiting.dispatch.id not in ids]
        heapq.heapify(self._had_turn)
        kept = [waiting for waiting in self._ready if waiting.dispatch.id not in ids]
        if len(kept) < len(self._ready):
            heapq.heapify(kept)
            self._ready = kept

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until one may leave; infinite: not before the end of a send."""
        if not self._gate.reason:
            return 0.0
        return math.inf if self.under_way else self._gate.wait_s(now_s)

    def succeeded(self) -> None:
        """Record that AWS took one."""
        self._gate.succeeded()
        if self._had_turn:
            self._begin_turns()

    def had_no_room(self, error: NoRoomError, began_s: float, now_s: float) -> float | None:
        """Let all wait after a send for which AWS had no room; return for how many seconds.

        None: they wait since the send began.
        """
        self.full_s = now_s
        return self._gate.close(str(error), NO_ROOM, began_s, now_s)

    def _begin_turns(self) -> None:
        self._ready += self._had_turn
        self._had_turn.clear()
        heapq.heapify(self._ready)
