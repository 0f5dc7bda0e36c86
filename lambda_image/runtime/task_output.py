"""Reads what a workload's process writes, line by line, however much and whatever that is.

In the place of the supervisor's own reader, which keeps a line until it ends: a process that writes
100 MB without a line's end makes it look through all of that again for every 4 KiB.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Generator, Iterator

#: A line is cut here. Lambda's log streams cut at 256 KiB, with what is written around it.
MAX_LINE_BYTES = 64 * 1024

#: Lines of one read that become lines of the log; of more, several share one.
MAX_LINES = 1024

_READ_BYTES = 64 * 1024

#: The supervisor's generator for a stream of text; others are documents, a line each.
_TEXT = "forward_to_log"


def reader(
    gen: Generator[None, bytes | bytearray, None],
    on_close: Callable[[socket.socket], None],
    data: bytes = b"",
    **_: object,
) -> tuple[Callable[[socket.socket], bool], Callable[[socket.socket], None]]:
    """Make what the supervisor calls when there is something to read, and when it is over."""
    next(gen)
    most = MAX_LINES if getattr(gen, "__name__", "") == _TEXT else _READ_BYTES
    rest = b""

    def take(chunk: bytes) -> bool:
        """Hand the whole lines on; returns whether they are still wanted."""
        nonlocal rest
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) >= MAX_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        try:
            for line in _joined(lines, most):
                gen.send(line + b"\n")
        except StopIteration:
            return False
        return True

    def read(from_: socket.socket) -> bool:
        if chunk := from_.recv(_READ_BYTES):
            return take(chunk)
        if rest:
            take(b"\n")
        return False

    take(data)
    return read, on_close


def _joined(lines: list[bytes], most: int) -> Iterator[bytes]:
    size = max(1, math.ceil(len(lines) / most))
    for at in range(0, len(lines), size):
        yield b"\n".join(lines[at : at + size])
