"""How the commands answer: on stdout, in columns for a person, with an exit code.

It must not know what is answered, nor Airflow or AWS.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps

from lambda_executor.contract.errors import LambdaExecutorError

#: Writes one line of the answer.
Say = Callable[[str], None]


def command(
    run: Callable[[argparse.Namespace, Say], bool],
) -> Callable[[argparse.Namespace], None]:
    """Make a command of something that says whether all is well; that is its exit code."""

    @wraps(run)
    def command(args: argparse.Namespace) -> None:
        with _stdout() as say:
            try:
                is_well = run(args, say)
            except LambdaExecutorError as e:
                sys.stderr.write(f"{e}\n")
                is_well = False
        sys.exit(0 if is_well else 1)

    return command


def columns(first: str, second: str, rest: str) -> str:
    """One row: two narrow columns, and the rest of the line for the third."""
    head = f"{first:8} {second:18} "
    width = max(shutil.get_terminal_size((110, 24)).columns, 60)
    return textwrap.fill(
        rest,
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def since(at: datetime) -> str:
    """How long ago something was, to the second."""
    return span((datetime.now(UTC) - at).total_seconds())


def span(seconds: float) -> str:
    """A length of time, to the second."""
    return str(timedelta(seconds=int(seconds)))


@contextmanager
def _stdout() -> Iterator[Say]:
    """Keep stdout for the answer: what Airflow logs there meanwhile goes to stderr.

    The file descriptor is what counts: Airflow's loggers hold the stream that was there first.
    """
    sys.stdout.flush()
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        yield lambda text: _write(answers, f"{text}\n")
    finally:
        sys.stdout.flush()
        os.dup2(answers, 1)
        os.close(answers)


def _write(descriptor: int, text: str) -> None:
    rest = text.encode()
    while rest:
        rest = rest[os.write(descriptor, rest) :]
