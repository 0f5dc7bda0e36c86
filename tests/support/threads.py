"""Threads in tests: refuse to start them, wait for their end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest


def refuse(
    monkeypatch: pytest.MonkeyPatch,
    is_refused: Callable[[threading.Thread], bool] = lambda _: True,
) -> None:
    """Refuse to start a thread, like Python when the operating system provides none."""
    start = threading.Thread.start

    def start_or_refuse(thread: threading.Thread) -> None:
        if is_refused(thread):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_refuse)


def have_ended(but: set[threading.Thread], timeout_s: float = 10) -> bool:
    """Whether all threads but these end in time."""
    others = set(threading.enumerate()) - but
    for thread in others:
        thread.join(timeout_s)
    return not any(thread.is_alive() for thread in others)
