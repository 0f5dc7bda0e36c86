"""The scheduler's start-up check: a quick subset of those of `ops.doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lambda_executor.contract import options
from lambda_executor.contract.errors import AwsError, ConfigError, RejectedError, TransientError
from lambda_executor.contract.option_types import SECTION, Option
from lambda_executor.setup.connection import Connected


def check(connected: Connected) -> None:
    """Check every function, every job's job queue or cluster, and every queue.

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
    for job in settings.routes.jobs.values():
        with _blaming(options.TARGETS, f" for the queue {job.name!r}"):
            connected.job_inspection.look_for_jobs(job)
    for url in settings.queue_urls:
        with _blaming(options.QUEUE_URL):
            inspection.queue(url)
    with _blaming(options.DEAD_LETTER_QUEUE_URL):
        inspection.queue(settings.dead_letter_queue_url)


@contextmanager
def _blaming(option: Option[str], of: str = "") -> Iterator[None]:
    """Turn an error of AWS into one that names the option, and what of it cannot be used."""
    try:
        yield
    except TransientError:
        return
    except AwsError as e:
        raise ConfigError(
            f"[{SECTION}] {option.name} cannot be used{of}: {e}. Correct the option (or the "
            "SSM parameter), the Region or the permissions of the scheduler's role; "
            "check_health_on_startup=False starts all the same"
        ) from e
