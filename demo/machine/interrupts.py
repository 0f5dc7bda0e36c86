"""Signal handling: Ctrl-C and termination signals let the clean-up run to its end."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

_Handler = Callable[[int, FrameType | None], None] | signal.Handlers


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack like Ctrl-C, so that the clean-up runs."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    # Signals that are already ignored (nohup) stay ignored.
    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    with _handled_by(leave, numbers):
        yield


@contextlib.contextmanager
def interrupts_held_off() -> Iterator[None]:
    """Ignore signals during the clean-up: a second Ctrl-C would leave processes behind."""
    with _handled_by(signal.SIG_IGN, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        yield


@contextlib.contextmanager
def _handled_by(handler: _Handler, numbers: Iterable[signal.Signals]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
