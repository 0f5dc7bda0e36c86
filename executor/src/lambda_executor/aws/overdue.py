"""Ends what takes too long."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

log = logging.getLogger(__name__)

#: Seconds between two looks for what takes too long.
TICK_S = 0.1


class Timed(Protocol):
    """What has to end in time."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""

    def give_up(self) -> None:
        """End it if its time is over; called again and again until it has ended."""


class Overdue:
    """Gives up what takes too long, on a thread of its own. One serves the whole process."""

    def __init__(self) -> None:
        self._watched: dict[int, Timed] = {}
        self._lock = threading.Lock()
        self._is_needed = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, timed: Timed) -> None:
        """Watch something from now on until it has ended.

        Raises:
            RuntimeError: The machine allows no more threads; it is not watched.
        """
        self._start()
        self._watched[id(timed)] = timed
        if not self._is_needed.is_set():
            self._is_needed.set()

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    name = "lambda-time-outs"
                    thread = threading.Thread(target=self._run, name=name, daemon=True)
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        while True:
            self._is_needed.clear()
            if not self._watched:
                self._is_needed.wait()
            time.sleep(TICK_S)
            self._look()

    def _look(self) -> None:
        # list() of a dictionary's items is atomic under the GIL.
        for key, timed in list(self._watched.items()):
            try:
                timed.give_up()
            except Exception:
                # It would end all other time-outs of the process.
                log.exception("A call that took too long could not be ended")
            if timed.is_over:
                del self._watched[key]
