"""Whether what the options name can be used at all: the check of the scheduler's start.

It asks the doctor's first questions and no more, so that a start is quick; `doctor.py` looks
closer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lambda_executor.contract.errors import AwsError, ConfigError, RejectedError, TransientError
from lambda_executor.contract.options import (
    DEAD_LETTER_QUEUE_URL,
    FUNCTION_NAME,
    FUNCTIONS,
    QUEUE_URL,
    SECTION,
    Option,
)
from lambda_executor.setup.connection import Connected


def check(connected: Connected) -> None:
    """Ask AWS about every function and every queue.

    What AWS cannot answer at the moment is taken to be good.

    Raises:
        ConfigError: One of them cannot be used.
    """
    settings, ask = connected.config, connected.inspection
    for target in settings.routes.targets():
        option = FUNCTION_NAME if target == settings.routes.default else FUNCTIONS
        with _blaming(option):
            facts = ask.function(target)
            if facts.state == "Failed":
                raise RejectedError(f"the function's state is Failed: {facts.state_reason}")
    for url in settings.queue_urls:
        with _blaming(QUEUE_URL):
            ask.queue(url)
    with _blaming(DEAD_LETTER_QUEUE_URL):
        ask.queue(settings.dead_letter_queue_url)


@contextmanager
def _blaming(option: Option[str]) -> Iterator[None]:
    """Say of an error of AWS which option names what cannot be used."""
    try:
        yield
    except TransientError:
        return
    except AwsError as e:
        raise ConfigError(
            f"[{SECTION}] {option.name} cannot be used: {e}. Correct the option (or the "
            "SSM parameter), the Region or the permissions of the scheduler's role; "
            "check_health_on_startup=False starts all the same"
        ) from e
