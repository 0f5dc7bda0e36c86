"""How many invocations the functions may run at once, read again and again on a separate thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from lambda_executor.contract.errors import AwsError
from lambda_executor.core.places import Limits
from lambda_executor.core.ports import LimitReader

log = logging.getLogger(__name__)

#: Seconds between two reads: so soon a changed reservation is noticed.
PERIOD_S = 60.0


class LimitWatcher:
    """A thread that reads the limits when it starts, and once per period.

    Args:
        reader: Finds out the limits; None: there is nothing to do.
        changed: Called with the limits when they differ from the last ones; on this thread.
        period_s: Seconds between two reads.
    """

    def __init__(
        self,
        reader: LimitReader | None,
        changed: Callable[[Limits], None],
        *,
        period_s: float = PERIOD_S,
    ) -> None:
        self._reader = reader
        self._changed = changed
        self._period_s = period_s
        self._limits: Limits = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lambda-limits", daemon=True)

    def start(self) -> None:
        """Start the thread, if there is something to read."""
        if self._reader is not None:
            self._thread.start()

    def close(self) -> None:
        """End the thread; a read under way is not waited for."""
        self._closed.set()

    def read(self) -> None:
        """Read once."""
        limits = self._reader.read() if self._reader else {}
        if limits == self._limits:
            return
        self._limits = limits
        for limit in dict.fromkeys(filter(None, limits.values())):
            log.info("%s may run %d invocations at once", limit.name, limit.most)
        self._changed(limits)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self.read()
            except AwsError as error:
                # What is known stays in force. If Lambda is away, the dispatcher says so.
                log.debug("Could not read how many invocations the functions may run: %s", error)
            except Exception:
                log.exception("Could not read how many invocations the functions may run at once")
            self._closed.wait(self._period_s)
