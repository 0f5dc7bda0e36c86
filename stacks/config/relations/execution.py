"""Relations between Airflow's time-outs, the functions' and the queues'."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig

#: Characters of the parameter that wires an executor: at most, of the advanced tier; of everything
#: but queues; around an Airflow queue and its function; of a results queue's URL.
_LONGEST_PARAMETER = 8192
_FIXED_WIRING = 800
_QUEUE_WIRING = 50
_RESULTS_QUEUE_WIRING = 140
#: Characters of a queue's target and its offer, at most, without names: an ECS target has the ids
#: of three subnets and two security groups.
_TARGET_WIRING = {"batch": 300, "ecs": 750, "microvm": 900}
_OFFER_WIRING = 100


def event_age_is_within_the_queued_timeout(stage: StageConfig) -> Iterator[str]:
    """An event that outlives its workload's token could only start a task that fails.

    https://github.com/apache/airflow/pull/60108
    """
    age, limit = stage.execution.event_age_s, stage.execution.task_queued_timeout_s
    if age > limit:
        yield (
            f"execution.event_age_s is {age}, allowed is at most execution.task_queued_timeout_s, "
            f"{limit}: lower the event age, or raise both task_queued_timeout_s and Airflow's "
            "[scheduler] task_queued_timeout (before Airflow 3.2 also [execution_api] "
            "jwt_expiration_time)"
        )


def results_outlive_the_functions(stage: StageConfig) -> Iterator[str]:
    """A result must not expire before the next try could have ended."""
    retention = stage.execution.results_retention_s
    for function in stage.functions:
        if retention <= function.timeout_s:
            yield (
                f"execution.results_retention_s is {retention}, allowed is more than "
                f"functions[{function.name}].timeout_s, {function.timeout_s}: raise the retention "
                "or lower the time-out"
            )


def results_outlive_their_visibility_timeout(stage: StageConfig) -> Iterator[str]:
    """A result that expires while it is hidden is lost if its scheduler dies."""
    retention = stage.execution.results_retention_s
    visibility = stage.execution.results_visibility_s
    if visibility >= retention:
        yield (
            f"execution.results_visibility_s is {visibility}, allowed is less than "
            f"execution.results_retention_s, {retention}: lower the visibility time-out"
        )


def reservation_is_within_the_parallelism(stage: StageConfig) -> Iterator[str]:
    """The account's other functions would lack the concurrency, and Airflow never uses it."""
    for function in stage.functions:
        yield from _within_the_parallelism(
            stage,
            f"functions[{function.name}].reserved_concurrency is {function.reserved_concurrency}",
            function.reserved_concurrency or 0,
        )


def warm_environments_are_within_the_parallelism(stage: StageConfig) -> Iterator[str]:
    """Airflow never uses more warm execution environments at one time, and they cost all day.

    Reservations of several functions may add up to more, because they are free.
    """
    warm = {
        function.name: function.provisioned_concurrency
        for function in stage.functions
        if function.provisioned_concurrency
    }
    total = sum(warm.values())
    yield from _within_the_parallelism(
        stage,
        f"provisioned_concurrency of the functions {' and '.join(warm)} is {total} together",
        total,
    )


def _within_the_parallelism(stage: StageConfig, found: str, asked: int) -> Iterator[str]:
    """Yield a message if it is more than all schedulers together can have in flight."""
    most = stage.execution.parallelism * stage.execution.results_queues
    if asked > most:
        yield (
            f"{found}, allowed is at most execution.parallelism times results_queues (one for each "
            f"scheduler), {most}: lower it, or raise both Airflow's [core] parallelism and "
            "parallelism"
        )


def wiring_fits_into_its_parameter(stage: StageConfig) -> Iterator[str]:
    """The executor reads one SSM parameter, whose length AWS limits.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
    """
    characters = _FIXED_WIRING + stage.execution.results_queues * _RESULTS_QUEUE_WIRING
    for function in stage.functions:
        for queue in function.queues:
            times = 2 if function.tenant_isolation else 1
            characters += times * len(queue) + len(function.name) + _QUEUE_WIRING
            characters += _OFFER_WIRING + len(queue) if stage.targets else 0
    for target in stage.targets:
        for queue in target.queues:
            of_target = _TARGET_WIRING[target.kind] + 2 * len(target.name)
            characters += 2 * len(queue) + of_target + _OFFER_WIRING
    if characters > _LONGEST_PARAMETER:
        yield (
            "functions[].queues, targets[].queues and execution.results_queues make a parameter "
            f"of about {characters} characters, allowed is {_LONGEST_PARAMETER}: remove queues, or "
            "use shorter names"
        )


def tokens_travel_encrypted(stage: StageConfig) -> Iterator[str]:
    """The workload's token goes to this URL: plain HTTP stays on the machine or in the VPC."""
    if stage.execution.execution_api_url is None:
        return
    url = urlsplit(stage.execution.execution_api_url)
    on_this_machine = url.hostname in {"localhost", "127.0.0.1", "::1"}
    if url.scheme == "http" and not on_this_machine and not stage.network.function_in_vpc:
        yield (
            f"execution.execution_api_url is {stage.execution.execution_api_url!r}, allowed is "
            "https, or http on this machine or inside the VPC: use https, or set "
            "network.function_in_vpc to true"
        )


RELATIONS = (
    event_age_is_within_the_queued_timeout,
    results_outlive_the_functions,
    results_outlive_their_visibility_timeout,
    reservation_is_within_the_parallelism,
    warm_environments_are_within_the_parallelism,
    wiring_fits_into_its_parameter,
    tokens_travel_encrypted,
)
