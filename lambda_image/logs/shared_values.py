"""Values that a process shares with its forks: what one of them adds, all of them see at once."""

from __future__ import annotations

import fcntl
import os

from lambda_image.logs.secrets import as_bytes

#: More is not read: a workload may write anything into the file.
_MAX_BYTES = 256 * 1024


class SharedValues:
    """Texts in a file that is only in memory, which programs that a fork executes do not get."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("shared-values")
        # The kernel then puts every write at the end, whichever process it is from.
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, os.O_APPEND)
        self._file = _identity(self._descriptor)

    def add(self, *values: str) -> None:
        """Add values; does nothing in a process that has closed all that it inherited."""
        if self._is_open():
            os.write(self._descriptor, b"".join(as_bytes(value) + b"\0" for value in values))

    def values(self) -> list[str]:
        """What was added since the last `clear`."""
        if not self._is_open():
            return []
        written = os.pread(self._descriptor, _MAX_BYTES, 0)
        return [value.decode(errors="surrogateescape") for value in written.split(b"\0") if value]

    def size_bytes(self) -> int:
        """How large the file is: it only grows until it is cleared."""
        return os.fstat(self._descriptor).st_size if self._is_open() else 0

    def clear(self) -> None:
        """Remove all values."""
        if self._is_open():
            os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Give the file up in this process."""
        if self._is_open():
            os.close(self._descriptor)

    def _is_open(self) -> bool:
        """Whether the descriptor is still ours: a daemon closes all, and opens others."""
        try:
            return _identity(self._descriptor) == self._file
        except OSError:
            return False


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino
