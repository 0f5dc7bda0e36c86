"""What is between the queues and the scheduler: settlements untold, deliveries not deleted.

Two promises are kept here. A settlement is told until telling it succeeds, because the ledger
yields it only once. A delivery is acknowledged only after the scheduler took the event that came
of it, which shows on a later `sync`; one that was never taken goes back to the queue. It belongs
to the scheduler's thread and must not know Airflow or AWS.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lambda_executor.contract.log_lines import about
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ledger import Settlement
from lambda_executor.engine.poller import Poller

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that was dealt with and is still in its queue.

    Attributes:
        poller: Who brought it.
        receipt: What deletes it.
        id: The invocation that it is about.
        at_s: When it was dealt with, in seconds since the epoch.
    """

    poller: Poller
    receipt: str = field(repr=False)
    id: InvocationId
    at_s: float


class Acknowledgements(Generic[Key]):
    """The settlements and deliveries of one engine that are on their way."""

    def __init__(self) -> None:
        self._untold: deque[Settlement[Key]] = deque()
        self._untaken: dict[InvocationId, Key] = {}
        self._deliveries: list[Delivery] = []

    def __len__(self) -> int:
        """How many deliveries are not acknowledged."""
        return len(self._deliveries)

    def settled(self, settlement: Settlement[Key] | None) -> None:
        """Keep a settlement until it is told; None is nothing to tell."""
        if settlement is not None:
            self._untold.append(settlement)
            self._untaken[settlement.id] = settlement.key

    def forget(self, key: Key) -> None:
        """Tell nothing more of a workload that was taken back, or handed over again."""
        if self._untold:
            self._untold = deque(one for one in self._untold if one.key != key)

    def delivered(self, delivery: Delivery) -> None:
        """Keep a delivery until the event of its invocation, if there is one, is taken."""
        self._deliveries.append(delivery)

    def tell(self, tell: Callable[[Settlement[Key]], None]) -> None:
        """Tell everything untold, each by itself: one that fails is told again the next time."""
        for _ in range(len(self._untold)):
            settlement = self._untold.popleft()
            try:
                tell(settlement)
            except Exception:
                log.exception(
                    "Airflow could not be told of the end of %s yet",
                    settlement.key,
                    extra=about(settlement.id, settlement.key),
                )
                self._untold.append(settlement)

    def acknowledge(self, has_taken: Callable[[Key], bool]) -> None:
        """Acknowledge the deliveries whose event the scheduler has taken.

        A queue may deliver one message twice. To delete either delivery is to delete the message,
        so that the second, which settles nothing, waits for the same event as the first.

        Args:
            has_taken: Whether the event of a workload is taken that the scheduler was told of.
        """
        untold = {settlement.id for settlement in self._untold}
        self._untaken = {
            id: key for id, key in self._untaken.items() if id in untold or not has_taken(key)
        }
        kept = []
        for delivery in self._deliveries:
            if delivery.id in self._untaken:
                kept.append(delivery)
            else:
                delivery.poller.acknowledge([delivery.receipt])
        self._deliveries = kept

    def give_back(self) -> None:
        """Put what is not acknowledged back into its queue, at once, for the next scheduler."""
        by_poller: dict[Poller, list[str]] = {}
        for delivery in self._deliveries:
            by_poller.setdefault(delivery.poller, []).append(delivery.receipt)
        for poller, receipts in by_poller.items():
            poller.give_back(receipts)
        self._deliveries = []

    def uses(self, pollers: Iterable[Poller]) -> bool:
        """Whether a delivery of one of these pollers is not acknowledged yet."""
        some = set(pollers)
        return any(delivery.poller in some for delivery in self._deliveries)

    def oldest_at_s(self, default_s: float) -> float:
        """When the oldest of the deliveries was dealt with."""
        return min((delivery.at_s for delivery in self._deliveries), default=default_s)
