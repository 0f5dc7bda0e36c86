"""The output of the commands: stdout, columns for a person, and the exit code."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Protocol

from lambda_executor.contract.errors import LambdaExecutorError


class Say(Protocol):
    """Writes lines of the answer; what a terminal would obey is made visible."""

    def __call__(self, *lines: str) -> None:
        """Write each text as one line."""


def command(
    run: Callable[[argparse.Namespace, Say], bool],
) -> Callable[[argparse.Namespace], None]:
    """Turn a function into a command with exit code 0 when it returns True, otherwise 1."""

    @wraps(run)
    def command(args: argparse.Namespace) -> None:
        with _stdout() as say, _warnings_only():
            try:
                is_ok = run(args, say)
            except LambdaExecutorError as e:
                sys.stderr.write(f"{visible(str(e))}\n")
                is_ok = False
            except BrokenPipeError:  # The reader, such as `head`, has seen enough.
                is_ok = False
        sys.exit(0 if is_ok else 1)

    return command


def visible(text: str) -> str:
    r"""Write out every character that is not printable, such as ESC as `\x1b`.

    Texts come from AWS and from messages that a function's role may send: they must not move the
    cursor, add lines or reverse the rest of a line.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def columns(first: str, second: str, rest: str) -> list[str]:
    """Format a row of two narrow columns and a wide one, as lines for the terminal's width."""
    head = f"{first:8} {second:18} "
    width = max(shutil.get_terminal_size((110, 24)).columns, 60)
    lines = textwrap.wrap(
        visible(" ".join(rest.split())),
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [head.rstrip()]


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

        def say(*lines: str) -> None:
            try:
                for line in lines:
                    print(visible(line), file=answers, flush=True)
            except BrokenPipeError:
                # What is left in the buffer goes nowhere, or closing the file would fail too.
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, answers.fileno())
                os.close(nowhere)
                raise

        os.dup2(2, 1)
        try:
            yield say
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
