"""Settlements of which Airflow is to be notified, and deliveries that are not yet deleted.

The ledger yields a settlement only once, so it is kept here until Airflow could be notified. A
delivery is acknowledged only after the scheduler has taken the event that followed from it, which
shows on a later `sync`; otherwise it is handed back. All of this runs on the scheduler's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lambda_executor.contract.log_lines import about
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.ledger import Settlement
from lambda_executor.engine.poller import Poller

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

#: Most failures of which Airflow is notified in one step. For each one the scheduler makes four
#: queries in its next loop, while it does nothing else; the executor adds a log line and a row.
MOST_FAILURES = 32


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that the engine has handled and that is still in its queue.

    Attributes:
        poller: The poller that received it.
        receipt: Deletes the message.
        id: The invocation that it is about.
        at_s: When it was handled, in seconds since the epoch.
    """

    poller: Poller
    receipt: str = field(repr=False)
    id: InvocationId
    at_s: float


class Acknowledgements(Generic[Key]):
    """The settlements and deliveries that one engine has not finished with."""

    def __init__(self) -> None:
        # One for each workload, as Airflow keeps one event for each.
        self._settlements: dict[Key, Settlement[Key]] = {}
        self._not_taken: dict[InvocationId, Key] = {}
        self._deliveries: list[Delivery] = []

    def __len__(self) -> int:
        """The number of deliveries that are not acknowledged."""
        return len(self._deliveries)

    def settled(self, settlement: Settlement[Key] | None) -> None:
        """Keep a settlement, if there is one, until Airflow is notified of it."""
        if settlement is not None:
            self._settlements[settlement.key] = settlement
            self._not_taken[settlement.id] = settlement.key

    def forget(self, key: Key) -> None:
        """Drop the settlements of a workload that was revoked, or handed over again."""
        self._settlements.pop(key, None)

    def delivered(self, delivery: Delivery) -> None:
        """Keep a delivery until the event of its invocation, if there is one, is taken."""
        self._deliveries.append(delivery)

    def notify(self, notify: Callable[[Settlement[Key]], None]) -> None:
        """Notify Airflow of all successes, and of up to `MOST_FAILURES` failures.

        The next call gets the other failures, and what Airflow could not be notified of.
        """
        failures = 0
        for key, settlement in list(self._settlements.items()):
            if not settlement.succeeded and failures == MOST_FAILURES:
                continue
            try:
                notify(settlement)
            except Exception:
                log.exception(
                    "Airflow could not be notified of the end of %s yet",
                    key,
                    extra=about(settlement.id, key),
                )
            else:
                del self._settlements[key]
                failures += not settlement.succeeded

    def acknowledge(self, has_taken: Callable[[Key], bool]) -> None:
        """Acknowledge the deliveries whose event the scheduler has taken.

        A queue may deliver a message twice, and deleting either delivery deletes the message. So
        the second, which settles nothing, waits for the same event as the first.

        Args:
            has_taken: Whether the scheduler has taken the event of a workload.
        """
        kept_ids = {settlement.id for settlement in self._settlements.values()}
        self._not_taken = {
            id: key for id, key in self._not_taken.items() if id in kept_ids or not has_taken(key)
        }
        kept = []
        for delivery in self._deliveries:
            if delivery.id in self._not_taken:
                kept.append(delivery)
            else:
                delivery.poller.acknowledge([delivery.receipt])
        self._deliveries = kept

    def hand_back(self) -> None:
        """Make unacknowledged messages visible at once, for the next scheduler."""
        by_poller: dict[Poller, list[str]] = {}
        for delivery in self._deliveries:
            by_poller.setdefault(delivery.poller, []).append(delivery.receipt)
        for poller, receipts in by_poller.items():
            poller.hand_back(receipts)
        self._deliveries = []

    def uses(self, pollers: Iterable[Poller]) -> bool:
        """Whether a delivery of one of these pollers is not acknowledged yet."""
        return not {delivery.poller for delivery in self._deliveries}.isdisjoint(pollers)

    def oldest_at_s(self, default_s: float) -> float:
        """When the oldest unacknowledged delivery was handled."""
        return min((delivery.at_s for delivery in self._deliveries), default=default_s)
