"""Fresh dispatch ids, for one thread."""

from __future__ import annotations

import os
import uuid

from lambda_executor.contract.wire import InvocationId

#: Bytes of one id, and ids of one block.
ID_BYTES = 16
BLOCK = 256


class Ids:
    """Draws random ids in blocks: each draw gives the interpreter lock away, to all senders.

    A process that is forked off starts with an empty block, so that no id is drawn twice.
    """

    def __init__(self) -> None:
        self._block = bytearray()
        os.register_at_fork(after_in_child=self._block.clear)

    def draw(self) -> InvocationId:
        """Return an id that nobody can guess: a UUID of version 4."""
        if not self._block:
            self._block += os.urandom(ID_BYTES * BLOCK)
        drawn = bytes(self._block[-ID_BYTES:])
        del self._block[-ID_BYTES:]
        return InvocationId(str(uuid.UUID(bytes=drawn, version=4)))
