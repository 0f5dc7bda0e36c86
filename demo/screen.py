"""What a person sees while it runs: phases with their seconds, one live line, no ANSI in a pipe.

It must not know what the phases do.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.status import Status

#: Without a terminal a detail is a line of its own: not more often than this.
DETAIL_EVERY_S = 5.0
#: A piped table must not be folded to 80 columns.
PIPE_WIDTH = 160


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


@dataclass
class Screen:
    """Prints to stdout, with the seconds since it was made."""

    console: Console = field(default_factory=_console)

    def __post_init__(self) -> None:
        self._started_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started_s

    def say(self, text: str) -> None:
        """One line with the elapsed seconds."""
        self.console.print(
            f"[{self.elapsed_s:6.1f}s] {text}", markup=False, highlight=False, soft_wrap=True
        )

    def show(self, renderable: RenderableType) -> None:
        """A table or a text without the elapsed seconds."""
        self.console.print(renderable)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Print when a step starts, and how long it took when it is done."""
        started_s = self.elapsed_s
        with contextlib.ExitStack() as stack:
            if self.console.is_terminal:
                yield Phase(name, self, stack.enter_context(self.console.status(name)))
            else:
                self.say(name)
                yield Phase(name, self, None)
        self.say(f"{name}: done in {self.elapsed_s - started_s:.1f} s")


class Phase:
    """The live line of one step."""

    def __init__(self, name: str, screen: Screen, status: Status | None) -> None:
        self._name = name
        self._screen = screen
        self._status = status
        self._said = ""
        self._said_at_s = screen.elapsed_s

    def detail(self, text: str) -> None:
        """Show what the step is doing now."""
        if not text or text == self._said:
            return
        if self._status:
            # The live line is one line: what does not fit would leave remains on the screen.
            room = max(self._screen.console.width - len(self._name) - 8, 10)
            shown = text[:room].replace("[", r"\[")
            self._status.update(f"{self._name}: {shown}")
        elif self._screen.elapsed_s - self._said_at_s < DETAIL_EVERY_S:
            return
        else:
            self._screen.say(f"  {text}")
        self._said, self._said_at_s = text, self._screen.elapsed_s
