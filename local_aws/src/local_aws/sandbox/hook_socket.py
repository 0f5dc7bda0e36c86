"""How hooks reach the hook server of a process in a sandbox: by a socket instead of a port.

Sandboxes share the machine's network, so only one of them could listen on a port. The process gets
one end of a pair of sockets, and `snapshot_hook/sitecustomize.py` gives it to the hook server in
place of the socket that would listen. Every packet with a descriptor is a new connection.
"""

from __future__ import annotations

import contextlib
import socket

#: As in `snapshot_hook/sitecustomize.py`: the process shall wait to be restored.
_SNAPSHOT = b"snapshot"
_CONNECTION = b"connection"
#: Seconds in which a process takes a connection out of the queue, which is long: the shortest
#: time-out that a hook can have.
_HAND_OVER_S = 1.0


class HookSocket:
    """Both ends of the pair, until `give_away` closes that of the process.

    Attributes:
        port: The port on which the hook server means to listen.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.settimeout(_HAND_OVER_S)

    @property
    def theirs(self) -> int:
        """The descriptor for the process."""
        return self._theirs.fileno()

    def give_away(self) -> None:
        """Close the end of the process, which has it by now."""
        self._theirs.close()

    def connect(self) -> socket.socket:
        """Make a connection; the hook server may accept it later.

        Raises:
            OSError: The process has closed its hook server, or is gone.
            TimeoutError: It has accepted none for so long that no more can be handed over.
        """
        mine, other = socket.socketpair()
        try:
            with other:
                socket.send_fds(self._ours, [_CONNECTION], [other.fileno()])
        except OSError:
            mine.close()
            raise
        return mine

    def ask_for_snapshot(self) -> None:
        """Have the process wait to be restored as soon as it accepts connections again.

        Raises:
            OSError: As for `connect`.
        """
        self._ours.send(_SNAPSHOT)

    def close(self) -> None:
        """Close both ends. May be repeated."""
        with contextlib.suppress(OSError):
            self._ours.close()
        self._theirs.close()
