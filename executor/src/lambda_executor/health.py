"""Whether what the options name can be used at all: the check of the scheduler's start.

One call for each name, so that a start is quick; `doctor.py` looks closer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lambda_executor.aws import LambdaFunctions, SqsQueue
from lambda_executor.connection import Connected
from lambda_executor.errors import AwsError, TransientError
from lambda_executor.findings import Finding, ok, problem, unknown
from lambda_executor.options import (
    DEAD_LETTER_QUEUE_URL,
    FUNCTION_NAME,
    FUNCTIONS,
    QUEUE_URL,
    SECTION,
    Option,
)
from lambda_executor.routing import Target


def check(connected: Connected) -> Iterator[Finding]:
    """Ask AWS about every function and both queues, one finding each."""
    routes = connected.config.routes
    yield _function(FUNCTION_NAME, connected.functions, routes.default)
    for target in routes.targets()[1:]:
        yield _function(FUNCTIONS, connected.functions, target)
    for results in connected.results:
        yield _queue(QUEUE_URL, results)
    yield _queue(DEAD_LETTER_QUEUE_URL, connected.dead_letters)


def _function(option: Option[str], functions: LambdaFunctions, target: Target) -> Finding:
    return _finding(option, lambda: f"{target}: {functions.check(target)}")


def _queue(option: Option[str], queue: SqsQueue) -> Finding:
    return _finding(option, lambda: f"{queue.name}: about {queue.check()} messages")


def _finding(option: Option[str], ask: Callable[[], str]) -> Finding:
    try:
        return ok(option.name, ask())
    except TransientError as e:
        return unknown(option.name, str(e), "ask again later")
    except AwsError as e:
        fix = (
            f"correct [{SECTION}] {option.name} (or the SSM parameter), the Region or the "
            "permissions of the scheduler's role"
        )
        return problem(option.name, str(e), fix)
