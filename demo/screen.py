"""Progress on stdout: phases with their duration and a live line, without ANSI codes in a pipe."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.status import Status

#: Minimum time between the lines that replace the live line in a pipe.
DETAIL_EVERY_S = 5.0
#: In a pipe, tables must not be folded to 80 columns.
PIPE_WIDTH = 160


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


@dataclass
class Screen:
    """Prints lines with the seconds since the start."""

    console: Console = field(default_factory=_console)
    _started_s: float = field(default_factory=time.monotonic, init=False)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started_s

    def say(self, text: str) -> None:
        """Print one line with the elapsed seconds."""
        self.console.print(
            f"[{self.elapsed_s:6.1f}s] {text}", markup=False, highlight=False, soft_wrap=True
        )

    def show(self, renderable: RenderableType) -> None:
        """Print a table or a text without the elapsed seconds."""
        self.console.print(renderable)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Print the start of a step and, at its end, its duration."""
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
        self._shown = ""
        self._shown_at_s = screen.elapsed_s

    def detail(self, text: str) -> None:
        """Show what the step is doing now."""
        if not text or text == self._shown:
            return
        if self._status:
            # A live line that wraps would leave remains on the screen.
            width = max(self._screen.console.width - len(self._name) - 8, 10)
            escaped = text[:width].replace("[", r"\[")
            self._status.update(f"{self._name}: {escaped}")
        elif self._screen.elapsed_s - self._shown_at_s < DETAIL_EVERY_S:
            return
        else:
            self._screen.say(f"  {text}")
        self._shown, self._shown_at_s = text, self._screen.elapsed_s
