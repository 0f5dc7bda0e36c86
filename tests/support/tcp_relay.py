"""A network that can be cut: relays TCP connections from one port of this machine to another."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TcpRelay:
    """Forwards connections to `to_port` on loopback.

    Attributes:
        port: Where it listens.
        connections: How many were made so far.
    """

    def __init__(self, to_port: int) -> None:
        self.connections = 0
        self._to_port = to_port
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._serve()

    def cut(self) -> None:
        """Close every connection, and let new ones be refused, until `mend`."""
        # Closing does not wake the thread that accepts; shutting down does.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            ends, self._open = self._open, set()
        for each in ends:
            _close(each)

    def mend(self) -> None:
        """Listen again, on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._serve()

    @classmethod
    @contextmanager
    def running(cls, to_port: int) -> Iterator[TcpRelay]:
        """Relay until the block ends."""
        relay = cls(to_port)
        try:
            yield relay
        finally:
            relay.cut()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                self.connections += 1
                try:
                    far = socket.create_connection(("127.0.0.1", self._to_port))
                except OSError:
                    _close(near)
                    continue
                with self._lock:
                    self._open |= {near, far}
                for source, to in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(source, to), daemon=True).start()

    def _copy(self, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
        for each in (source, to):
            _close(each)
        with self._lock:
            self._open -= {source, to}


def _close(end: socket.socket) -> None:
    # The other thread may be reading from it.
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
