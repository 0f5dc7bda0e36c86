"""The output of the commands: stdout, columns for a person, and the exit code."""

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
    """Turn a function into a command with exit code 0 when it returns True, otherwise 1."""

    @wraps(run)
    def command(args: argparse.Namespace) -> None:
        with _stdout() as say:
            try:
                is_ok = run(args, say)
            except LambdaExecutorError as e:
                sys.stderr.write(f"{e}\n")
                is_ok = False
        sys.exit(0 if is_ok else 1)

    return command


def columns(first: str, second: str, rest: str) -> str:
    """Format a row of two narrow columns and a wide one."""
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
            yield lambda text: print(text, file=answers, flush=True)
        finally:
            sys.stdout.flush()
            os.dup2(answers.fileno(), 1)
