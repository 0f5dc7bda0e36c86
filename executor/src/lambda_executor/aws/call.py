"""One HTTP request under way, and what is known about it when it ends.

awscrt reads a body on its native thread, and the answer comes there; a call that takes too long is
ended on another thread. What is said of a call must stay true: one that ended before its body was
read to the end cannot have reached AWS as a whole, and nothing of it is read after that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple


class NotSentError(Exception):
    """The request did not leave as a whole."""


class NoAnswerError(Exception):
    """The request left, and no answer came."""


class Answer(NamedTuple):
    """An answer of AWS, or of a proxy before it."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


Outcome = Answer | NotSentError | NoAnswerError
#: Called once, on any thread: with the answer, or with one of the errors above.
Done = Callable[[Outcome], None]


class Body(BytesIO):
    """A body, as awscrt reads it; once its call is over it cannot be read.

    Args:
        content: All of it.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.size = len(content)
        self.lock = threading.Lock()
        self.is_over = False

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any buffer
        """Read the next bytes.

        Raises:
            ValueError: The call is over; awscrt then breaks the connection off.
        """
        with self.lock:
            if self.is_over:
                msg = "the call is over"
                raise ValueError(msg)
            return super().readinto(buffer)

    #: The one of both that awscrt prefers.
    readinto1 = readinto


@dataclass(eq=False, slots=True)
class Call:
    """One request under way. The lock of its body guards all that changes.

    Attributes:
        url: The endpoint, for the errors.
        method: GET or POST.
        path: With the query.
        headers: All of them, signed.
        body: The body.
        read_s: Seconds to wait for the answer.
        done: Called once.
        ends_s: When it takes too long, in seconds of the monotonic clock.
        is_kept: Whether its connection has served another request before.
        connection: The connection that sends it; None: it waits for one.
    """

    url: str
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: Body
    read_s: float
    done: Done
    ends_s: float
    is_kept: bool = False
    connection: Any = None

    @property
    def is_over(self) -> bool:
        """Whether it has its outcome."""
        return self.body.is_over

    def claim(self, connection: Any, *, is_kept: bool) -> bool:  # noqa: ANN401 - awscrt has no types
        """Take the connection that sends it; return whether it has not ended before."""
        with self.body.lock:
            if self.body.is_over:
                return False
            self.connection, self.is_kept = connection, is_kept
            self.ends_s = time.monotonic() + self.read_s
            return True

    def claim_another(self, connect_s: float) -> bool:
        """Return whether it may be sent again, by a new connection.

        It may if nothing was read: the server had closed the kept one before.

        Args:
            connect_s: Seconds to wait for the new one.
        """
        with self.body.lock:
            if self.body.is_over or not self.is_kept or self.body.tell() or not self.body.size:
                return False
            self.connection, self.is_kept = None, False
            self.ends_s = time.monotonic() + connect_s
            return True

    def answer(self, answer: Answer) -> None:
        """End it with an answer, unless it has ended before."""
        if self._end():
            self.done(answer)

    def fail(self, why: str) -> None:
        """End it with the error that says whether it left, unless it has ended before."""
        if self._end():
            self.done(self._error(why))

    def give_up(self) -> None:
        """End it if its time is over."""
        if time.monotonic() < self.ends_s or not self._end(time.monotonic()):
            return
        connection = self.connection
        if connection is None:
            self.done(self._error(f"no connection to {self.url} within the time-out"))
            return
        try:
            connection.close()
        finally:
            self.done(self._error(f"{self.url} gave no answer within {self.read_s:g} s"))

    def _end(self, now_s: float = float("inf")) -> bool:
        """Return whether this ends it, at a time at which it takes too long.

        After it no connection is claimed, and nothing of the body is read.
        """
        with self.body.lock:
            if self.body.is_over or now_s < self.ends_s:
                return False
            self.body.is_over = True
            return True

    def _error(self, why: str) -> NotSentError | NoAnswerError:
        left = self.connection is not None and self.body.tell() == self.body.size
        return NoAnswerError(why) if left else NotSentError(why)
