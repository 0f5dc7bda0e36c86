"""The output of the commands: stdout, columns for a person, and the exit code."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TextIO

from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.contract.help import help_link
from lambda_executor.contract.visible import one_line, visible

#: 128 and the number of SIGINT.
_INTERRUPTED = 130


class Say:
    """Writes lines of the answer; what a terminal would obey is made visible.

    Args:
        answers: Where they are written to.
    """

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._has_drawn = False

    def __call__(self, *lines: str) -> None:
        """Write each text as one line."""
        for line in lines:
            self._write(f"{visible(line)}\n")

    def fileno(self) -> int:
        """The descriptor of the answer, for a program that writes to it, too."""
        return self._answers.fileno()

    def redraw(self, *lines: str) -> None:
        """Show lines in place of the last ones; where stdout is no terminal, below them.

        Lines that the terminal has no room for are only counted. Nothing of the terminal is
        changed that would have to be restored.
        """
        if not self._answers.isatty():
            self(*([""] if self._has_drawn else []), *lines)
        else:
            width, height = self._size()
            rows = [row for line in lines for row in _pieces(visible(line), width)]
            if len(rows) >= height:
                left_out = len(rows) - (height - 2)
                rows[height - 2 :] = [f"... {left_out} more lines"[:width]]
            clear = "" if self._has_drawn else "\x1b[2J"
            drawn = "".join(f"\x1b[K{row}\n" for row in rows)
            self._write(f"{clear}\x1b[H{drawn}\x1b[J")
        self._has_drawn = True

    def stop_drawing(self) -> None:
        """Leave the last lines as they are, without the `^C` that the terminal has written."""
        if self._answers.isatty():
            self._write("\r\x1b[K")

    def _size(self) -> tuple[int, int]:
        size = os.get_terminal_size(self._answers.fileno())
        return size.columns or 80, max(size.lines or 24, 3)

    def _write(self, text: str) -> None:
        try:
            self._answers.write(text)
            self._answers.flush()
        except BrokenPipeError:
            # What is left in the buffer goes nowhere, or closing the file would fail too.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._answers.fileno())
            os.close(nowhere)
            raise


def command(
    run: Callable[[argparse.Namespace, Say], bool],
) -> Callable[[argparse.Namespace], None]:
    """Turn a function into a command with exit code 0 when it returns True, otherwise 1.

    After Ctrl-C it is 130, as a shell has it.
    """

    @wraps(run)
    def command(args: argparse.Namespace) -> None:
        with _stdout() as say, _warnings_only():
            try:
                is_ok = run(args, say)
            except KeyboardInterrupt:
                sys.stderr.write("interrupted\n")
                sys.exit(_INTERRUPTED)
            except LambdaExecutorError as e:
                sys.stderr.write("".join(f"{visible(line)}\n" for line in _with_help(str(e))))
                is_ok = False
            except BrokenPipeError:  # The reader, such as `head`, has seen enough.
                is_ok = False
        sys.exit(0 if is_ok else 1)

    return command


def watch(
    say: Say,
    draw: Callable[[Callable[..., None]], object],
    period_s: float,
    *,
    append: bool,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Show something again and again, until Ctrl-C.

    Args:
        say: Where it is shown.
        draw: Says it. If that fails, the reason is shown, and the next one may succeed.
        period_s: Seconds between two times.
        append: Whether each is written below the last one, on a terminal too, and without a time;
            then a failure is raised.
        wait: Waits for so many seconds.
    """
    with suppress(KeyboardInterrupt):
        while True:
            lines: list[str] = []
            try:
                draw(lambda *more, into=lines: into.extend(more))
            except LambdaExecutorError as e:
                if append:
                    raise
                lines += complaint(str(e))
            if append:
                say(*lines)
            else:
                say.redraw(f"{datetime.now(UTC):%H:%M:%S} UTC, every {period_s:g} s", *lines)
            wait(period_s)
    say.stop_drawing()


def columns(first: str, second: str, rest: str) -> list[str]:
    """Format a row of two narrow columns and a wide one, as lines for the terminal's width."""
    head = f"{first:8} {second:18} "
    width = max(shutil.get_terminal_size((110, 24)).columns, 60)
    lines = textwrap.wrap(
        one_line(rest),
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [head.rstrip()]


def complaint(reason: str) -> list[str]:
    """Format a row about what could not be read, and the address of the section about it."""
    first, *links = _with_help(reason)
    return [*columns("PROBLEM", "", first), *(f"{' ' * 28}{link}" for link in links)]


def _with_help(text: str) -> list[str]:
    """Return a text, and the address of the section about it if there is one."""
    link = help_link(text)
    return [text, link] if link else [text]


def _pieces(line: str, width: int) -> list[str]:
    """Cut a line into the rows that it takes on a terminal."""
    return [line[first : first + width] for first in range(0, len(line), width)] or [""]


def since(at: datetime) -> str:
    """Format how long ago a time was, to the second."""
    return span((datetime.now(UTC) - at).total_seconds())


def span(seconds: float) -> str:
    """Format a duration, to the second."""
    return str(timedelta(seconds=int(seconds)))


@contextmanager
def _stdout() -> Iterator[Say]:
    """Keep stdout for the answer: Airflow's log lines to it go to stderr.

    The file descriptor is redirected, because Airflow's loggers hold the original stream.
    """
    sys.stdout.flush()
    with open(os.dup(1), "w", encoding="utf-8") as answers:  # noqa: PTH123 - a descriptor
        os.dup2(2, 1)
        try:
            yield Say(answers)
        finally:
            sys.stdout.flush()
            os.dup2(answers.fileno(), 1)


@contextmanager
def _warnings_only() -> Iterator[None]:
    """Leave out what libraries log below a warning, such as botocore's line about every client."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.INFO))
    try:
        yield
    finally:
        logging.disable(before)
