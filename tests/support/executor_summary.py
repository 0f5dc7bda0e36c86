"""What an executor says of itself in its scheduler's log when the scheduler gets SIGUSR2."""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

#: How long a scheduler that never sleeps is waited for, and how often it is looked at, in seconds.
ASLEEP_WITHIN_S, LOOK_EVERY_S = 5.0, 0.005

_SUMMARY = re.compile(
    r"lambda executor: (\d+) pending \((\d+) held\), (\d+) in flight, "
    r"(\d+) deliveries not acknowledged"
)


@dataclass(frozen=True, slots=True)
class ExecutorCounts:
    """How many invocations the executor holds, by what they wait for; held ones are pending."""

    pending: int
    held: int
    in_flight: int
    not_acknowledged: int

    @classmethod
    def found_in(cls, text: str) -> Self | None:
        """The first summary in a log; None: there is none."""
        found = _SUMMARY.search(text)
        return cls(*map(int, found.groups())) if found else None

    def __bool__(self) -> bool:
        """Whether it holds anything."""
        return bool(self.pending or self.in_flight or self.not_acknowledged)

    def __str__(self) -> str:
        return (
            f"{self.pending} pending ({self.held} held), {self.in_flight} in flight, "
            f"{self.not_acknowledged} deliveries not acknowledged"
        )


def ask(scheduler: int, within_s: float = ASLEEP_WITHIN_S) -> bool:
    """Have a scheduler log its executor's summary; return whether it was asked.

    It is asked while its main thread sleeps between two loops. Airflow 3.3 logs in the handler of
    the signal, and structlog's lock around the file cannot be taken twice: a signal in the middle
    of a log line would stop the scheduler for ever.

    Args:
        scheduler: The id of its process.
        within_s: How long to wait until it sleeps, in seconds.
    """
    wchan = Path(f"/proc/{scheduler}/wchan")
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        if "nanosleep" in wchan.read_text():
            os.kill(scheduler, signal.SIGUSR2)
            return True
        time.sleep(LOOK_EVERY_S)
    return False
