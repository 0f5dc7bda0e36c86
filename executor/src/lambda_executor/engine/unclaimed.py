"""Which messages nobody will ever claim: no scheduler handles them, and Airflow waits for no end.

Such a message is the second result of an invocation whose scheduler is gone, its dead letter, or a
forgery. Its queue would keep it for days, and every scheduler would hand it back again and again.

The pollers note the invocations of messages that were handed back often enough for their own
scheduler to have found them. The reconciler asks Airflow about all of these at once. A message is
unclaimed if Airflow did not wait for its invocation in two checks in a row, which is also how the
scheduler that sent the invocation would find it obsolete. The message is deleted at its next
delivery.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from lambda_executor.contract.wire import InvocationId

#: From this delivery on a message is noted. It was handed back eight times, for more than two
#: minutes in all.
NOTED_FROM = 9
#: The checks in a row in which Airflow must not have waited for the invocation.
CHECKS = 2
#: The checks, one a minute, after which an id is forgotten of which no more messages come. A
#: message is hidden for 15 minutes at most, and comes to one of the schedulers each time.
FORGOTTEN_AFTER = 60
#: The most ids. When there are as many, others are noted as these messages are deleted.
MOST_NOTED = 4096


@dataclass(slots=True)
class _Noted:
    idle_checks: int = 0
    unseen_checks: int = 0


class Unclaimed:
    """The invocations of messages that nobody may ever claim. Safe on any thread."""

    def __init__(self) -> None:
        self._noted: dict[InvocationId, _Noted] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """The number of noted invocations."""
        return len(self._noted)

    def is_unclaimed(self, id: InvocationId, receive_count: int) -> bool:
        """Whether to delete a message about an invocation that is not ours; if not, note it.

        Args:
            id: The invocation.
            receive_count: How often the message was delivered.
        """
        if receive_count < NOTED_FROM:
            return False
        with self._lock:
            noted = self._noted.get(id)
            if noted is None:
                if len(self._noted) < MOST_NOTED:
                    self._noted[id] = _Noted()
                return False
            noted.unseen_checks = 0
            return noted.idle_checks >= CHECKS

    def check(
        self, awaited: Callable[[Collection[InvocationId]], Collection[InvocationId]]
    ) -> None:
        """Ask Airflow about what is noted, unless nothing is.

        Args:
            awaited: Returns those of some invocations for whose end Airflow waits. If it raises,
                nothing changes.
        """
        with self._lock:
            ids = frozenset(self._noted)
        waited_for = awaited(ids) if ids else ()
        with self._lock:
            for id in ids:
                noted = self._noted[id]
                noted.idle_checks = 0 if id in waited_for else noted.idle_checks + 1
                noted.unseen_checks += 1
                if noted.unseen_checks > FORGOTTEN_AFTER:
                    del self._noted[id]
