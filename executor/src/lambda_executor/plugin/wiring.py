"""The configuration in use, and clients of AWS that ask once and do not wait long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from airflow.configuration import conf

from lambda_executor.aws import Patience
from lambda_executor.setup.connection import Connected, connect

#: A person waits, and may ask again: each call is tried once.
PATIENCE = Patience(connect_s=3, read_s=10, attempts=1)
#: Seconds for which the SSM parameter is not read again.
KEPT_S = 300.0


class Wiring:
    """The configuration, read again once in a while. Safe on any thread.

    Args:
        read: Reads it.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        read: Callable[[], Connected] = lambda: connect(conf, PATIENCE),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._clock = clock
        self._reading = threading.Lock()
        self._known: Connected | None = None
        self._until_s = 0.0

    def read(self) -> Connected:
        """Read it now; at most one call of AWS.

        Raises:
            AwsError: The SSM parameter cannot be read.
            ConfigError: An option is missing or has an unusable value.
        """
        with self._reading:
            return self._read_now()

    def current(self) -> Connected:
        """Return what was read last, unless that was too long ago.

        Raises:
            AwsError: The SSM parameter cannot be read.
            ConfigError: An option is missing or has an unusable value.
        """
        with self._reading:
            if self._known is not None and self._clock() < self._until_s:
                return self._known
            return self._read_now()

    def _read_now(self) -> Connected:
        self._known = self._read()
        self._until_s = self._clock() + KEPT_S
        return self._known


#: That of this process.
WIRING = Wiring()
