"""Whether what the options name can be used: the checks of the scheduler's start and of the CLI.

It asks AWS through `aws.py` and must not know Airflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lambda_executor.aws import LambdaFunction, SqsQueue
from lambda_executor.errors import AwsError
from lambda_executor.options import DEAD_LETTER_QUEUE_URL, FUNCTION_NAME, QUEUE_URL, SECTION, Option


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        option: The option whose value was checked.
        ok: Whether it can be used.
        said: What was found, in AWS's words where it gives any.
        fix: What to do; empty when there is nothing to do.
    """

    option: str
    ok: bool
    said: str
    fix: str = ""


def check(function: LambdaFunction, results: SqsQueue, dead_letters: SqsQueue) -> Iterator[Finding]:
    """Ask AWS about the function and both queues, one finding each."""
    yield _finding(FUNCTION_NAME, lambda: f"state {function.check()}")
    yield _finding(QUEUE_URL, lambda: f"about {results.check()} messages")
    yield _finding(DEAD_LETTER_QUEUE_URL, lambda: f"about {dead_letters.check()} messages")


def _finding(option: Option, ask: Callable[[], str]) -> Finding:
    try:
        return Finding(option.name, True, ask())
    except AwsError as e:
        fix = (
            f"correct [{SECTION}] {option.name} (or the SSM parameter), the Region or the "
            "permissions of the scheduler's role"
        )
        return Finding(option.name, False, str(e), fix)
