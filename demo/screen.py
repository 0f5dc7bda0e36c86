"""Progress on stdout: phases with their duration, and a live line where a person watches.

A pipe gets lines without ANSI codes; with `CI=true`, only those that begin and end a phase. Colours
are rich's: none in a pipe, and none with `NO_COLOR`.
"""

from __future__ import annotations

import contextlib
import os
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.status import Status

#: Minimum time between the lines that replace the live line in a pipe.
DETAIL_EVERY_S = 5.0
#: A pipe has no width; what is shown in it must be as readable as in the narrowest terminal.
PIPE_WIDTH = 80
#: The width of the elapsed seconds before each line.
_INDENT = len("[   0.0s] ")


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def _is_ci() -> bool:
    """Whether nobody watches, in the way that CI services say it."""
    return os.environ.get("CI", "").lower() in {"true", "1"}


@dataclass
class Screen:
    """Prints lines with the seconds since the start.

    Attributes:
        is_ci: Whether to print nothing but what stays true.
        phases: Each phase that has ended, and how many seconds it took.
    """

    console: Console = field(default_factory=_console)
    is_ci: bool = field(default_factory=_is_ci)
    phases: list[tuple[str, float]] = field(default_factory=list, init=False)
    _started_s: float = field(default_factory=time.monotonic, init=False)

    @property
    def is_live(self) -> bool:
        """Whether a line can be written over."""
        console = self.console
        return console.is_terminal and not console.is_dumb_terminal and not self.is_ci

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started_s

    def say(self, text: str) -> None:
        """Print a text with the elapsed seconds; a terminal gets its lines broken between words."""
        lines = f"[{self.elapsed_s:6.1f}s] {text}".splitlines()
        if self.console.is_terminal:
            lines = [part for line in lines for part in _wrapped(line, self.console.width)]
        self.console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """Print a table or a text without the elapsed seconds."""
        self.console.print(renderable)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Print the start of a step and, at its end, its duration."""
        started_s = self.elapsed_s
        with contextlib.ExitStack() as stack:
            if self.is_live:
                yield Phase(name, self, stack.enter_context(self.console.status(name)))
            else:
                self.say(name)
                yield Phase(name, self, None)
        took_s = self.elapsed_s - started_s
        self.phases.append((name, took_s))
        self.say(f"{name}: done in {took_s:.1f} s")


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
        if not text or text == self._shown or self._screen.is_ci:
            return
        if self._status:
            # A live line that wraps would leave remains on the screen.
            width = max(self._screen.console.width - len(self._name) - 8, 10)
            escaped = text[:width].replace("[", r"\[")
            self._status.update(f"{self._name}: {escaped}")
        elif self._screen.elapsed_s - self._shown_at_s < DETAIL_EVERY_S:
            return
        else:
            self._screen.say(f"  {text[: self._screen.console.width - _INDENT - 2]}")
        self._shown, self._shown_at_s = text, self._screen.elapsed_s


def _wrapped(line: str, width: int) -> list[str]:
    """The parts of a line; a path or a command stays whole, and so does a line of a log."""
    if line.startswith("  | "):
        return [line]
    return textwrap.wrap(
        line,
        max(width, 2 * _INDENT),
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
