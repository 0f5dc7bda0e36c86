"""The scheduler's start-up check: a quick subset of those of `ops.doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from lambda_executor.contract import options
from lambda_executor.contract.errors import AwsError, ConfigError, RejectedError, TransientError
from lambda_executor.contract.option_types import SECTION, Option
from lambda_executor.core.targets import JobTarget
from lambda_executor.setup.connection import Connected


def check(connected: Connected) -> None:
    """Check every function, where every target's jobs run, and every queue.

    A check that AWS cannot answer at the moment passes.

    Raises:
        ConfigError: One of them cannot be used.
    """
    settings, inspection = connected.config, connected.inspection
    for target in settings.routes.targets():
        is_default = target == settings.routes.default
        with _blaming(options.FUNCTION_NAME if is_default else options.FUNCTIONS):
            facts = inspection.function(target)
            if facts.state == "Failed":
                raise RejectedError(f"the function's state is Failed: {facts.state_reason}")
    for job in settings.routes.job_targets():
        with _blaming_target(job):
            connected.job_inspection.look_for_jobs(job)
    for url in settings.queue_urls:
        with _blaming(options.QUEUE_URL):
            inspection.queue(url)
    if settings.dead_letter_queue_url:
        with _blaming(options.DEAD_LETTER_QUEUE_URL):
            inspection.queue(settings.dead_letter_queue_url)


def _blaming(option: Option[str]) -> AbstractContextManager[None]:
    return _blaming_what(f"[{SECTION}] {option.name} cannot be used")


def _blaming_target(target: JobTarget) -> AbstractContextManager[None]:
    if target.is_of_reference:
        return _blaming_what(f"the target of [{target.name}] cannot be used")
    option = options.TARGETS.name
    return _blaming_what(f"[{SECTION}] {option} cannot be used for the queue {target.name!r}")


@contextmanager
def _blaming_what(fault: str) -> Iterator[None]:
    """Turn an error of AWS into one that names what cannot be used."""
    try:
        yield
    except TransientError:
        return
    except AwsError as e:
        raise ConfigError(
            f"{fault}: {e}. Correct the option (or the "
            "SSM parameter), the Region or the permissions of the scheduler's role; "
            "check_health_on_startup=False starts all the same"
        ) from e
