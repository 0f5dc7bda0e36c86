"""The configuration in use, and clients of AWS that ask once and do not wait long.

The page shares the API server's few threads with the Execution API, so a slow or failing read of
the SSM parameter may not hold many of them: one thread reads at once, the others use what was read
before, and a failure is not tried again for a while.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from airflow.configuration import conf

from lambda_executor.aws import Patience
from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.setup.connection import Connected, Gateway, connected

log = logging.getLogger(__name__)

#: A person waits, and may ask again: each call is tried once.
PATIENCE = Patience(connect_s=3, read_s=10, attempts=1)
#: Seconds for which the SSM parameter is not read again.
KEPT_S = 300.0
#: The same after it could not be read.
FAILED_S = 30.0

#: Reads the configuration; gets what was read before, and returns it again if nothing has changed.
Read = Callable[[Connected | None], Connected]


class Reader:
    """Reads the configuration with clients that are made once."""

    def __init__(self) -> None:
        self._gateway: Gateway | None = None

    def __call__(self, known: Connected | None) -> Connected:
        """Read it; make other clients only if it differs from what is known."""
        self._gateway = self._gateway or Gateway(conf, PATIENCE)
        settings = self._gateway.settings()
        same = known is not None and known.config == settings
        return known if known and same else connected(self._gateway, settings)


class Wiring:
    """The configuration, read again once in a while. Safe on any thread.

    Args:
        read: Reads it; None: with a `Reader` of its own.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self, read: Read | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read or Reader()
        self._clock = clock
        self._reading = threading.Lock()
        self._reads = 0
        self._known: Connected | None = None
        self._error: LambdaExecutorError | None = None
        self._until_s = 0.0

    def read(self) -> Connected:
        """Read it now; who asks during another's read gets the outcome of that one.

        Raises:
            AwsError: The SSM parameter cannot be read.
            ConfigError: An option is missing or has an unusable value.
        """
        before = self._reads
        with self._reading:
            if self._reads == before:
                self._read_now()
            return self._outcome(self._error)

    def current(self) -> Connected:
        """Return what was read last; read it again if that was too long ago and nobody else does.

        Raises:
            AwsError: The SSM parameter has never been read, and cannot be.
            ConfigError: The same of an option that is missing or has an unusable value.
        """
        if self._is_due() and self._reading.acquire(blocking=self._known is None):
            try:
                if self._is_due():
                    self._read_now()
            finally:
                self._reading.release()
        return self._outcome(None if self._known else self._error)

    def known(self) -> Connected | None:
        """Return what was read last, without a call of AWS; None: it has not been read yet."""
        return self._known

    def _is_due(self) -> bool:
        return self._reads == 0 or self._clock() >= self._until_s

    def _read_now(self) -> None:
        try:
            self._known, self._error = self._read(self._known), None
        except LambdaExecutorError as e:
            log.warning("The configuration cannot be read: %s", e)
            self._error = e
        self._until_s = self._clock() + (FAILED_S if self._error else KEPT_S)
        self._reads += 1

    def _outcome(self, error: LambdaExecutorError | None) -> Connected:
        if error is not None:
            raise error.with_traceback(None)
        assert self._known is not None  # noqa: S101 - there was a read, and no error
        return self._known


#: That of this process.
WIRING = Wiring()
