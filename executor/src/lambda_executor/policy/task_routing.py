"""Chooses the queue of one task by what it needs and what the targets offer."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from airflow.configuration import conf
from airflow.exceptions import AirflowClusterPolicyViolation

from lambda_executor.contract.errors import RouteError
from lambda_executor.contract.options import SECTION
from lambda_executor.core.apis import JOBS
from lambda_executor.core.offers import Need, Offer, of_queue, smallest
from lambda_executor.core.targets import Service
from lambda_executor.core.task_settings import TaskSettings, with_routed
from lambda_executor.policy.known_offers import known_offers

log = logging.getLogger(__name__)

#: The shortest `retry_delay` of a task that moves to another target, in seconds. The scheduler
#: queues the retry for the next target only if it has received the result of the try before.
LEAST_RETRY_DELAY_S = 10


def route(task: Any) -> None:  # noqa: ANN401 - an operator, mapped or not
    """Set the queue of a task, and why, if it goes elsewhere than to the default queue.

    Raises:
        AirflowClusterPolicyViolation: No target fits the task, or it asks for something unknown.
    """
    try:
        if _is_ours(task.executor):
            _route(task)
    except RouteError as e:
        raise AirflowClusterPolicyViolation(f"task {task.task_id!r}: {e}") from e
    except Exception:
        # Airflow would refuse every DAG file with such a task.
        log.exception("Task %r stays on the target of its queue", task.task_id)


def _route(task: Any) -> None:  # noqa: ANN401 - as above
    config = task.executor_config
    settings = TaskSettings.read(config)
    if settings.routed:  # The policy has seen this task.
        return
    if settings.moves_on_deadline:
        _check_next_target(task, settings)
    timeout_s = (task.execution_timeout or timedelta()).total_seconds()
    need = replace(settings.need, timeout_s=timeout_s)
    if not need:
        return
    default = conf.get("operators", "default_queue")
    chosen = settings.target or settings.function
    is_chosen = bool(chosen) or task.queue != default
    if not (offers := known_offers()):
        if settings.need and not is_chosen:
            raise RouteError(_unknown_offers(settings.need))
        return
    offer = of_queue(offers, chosen or task.queue)
    if offer is not None and offer.fits(need):
        return
    if not is_chosen:
        best = _best(offers, need, config)
        instead = f"{offer} offers less" if offer else f"nothing says what {default} offers"
        reason = f"sent to the queue {best}, because the task needs {need}, and {instead}"
        _set(task, best.queue, with_routed(config, reason))
    elif offer is not None:
        raise RouteError(
            f"it needs {need}, and the target of its queue offers less: {offer}. "
            f"{_elsewhere(offers, need)}"
        )


def _best(offers: Sequence[Offer], need: Need, executor_config: Mapping[str, Any]) -> Offer:
    """Return the smallest offer that fits a task whose author chose none.

    Raises:
        RouteError: None fits, or the task may fit one service alone.
    """
    best = smallest(offers, need)
    if best is None:
        raise RouteError(f"it needs {need}. {_elsewhere(offers, need)}")
    if service := _service_of_overrides(executor_config):
        raise RouteError(
            f"it needs {need}, which the target of the default queue does not offer, and has "
            f"overrides for {JOBS[service].name} in executor_config, which fit a target of "
            f"{JOBS[service].name} alone: set the task's queue"
        )
    return best


def _unknown_offers(need: Need) -> str:
    return (
        f"it needs {need}, and what the targets offer is not known here: set [{SECTION}] offers "
        "for the DAG processor, or allow it to read the SSM parameter of config_parameter "
        "(ssm:GetParameter); its log says what failed"
    )


def _set(task: Any, queue: str, executor_config: dict[str, Any]) -> None:  # noqa: ANN401 - as above
    if (kwargs := getattr(task, "partial_kwargs", None)) is not None:  # It is mapped.
        kwargs.update(queue=queue, executor_config=executor_config)
    else:
        task.queue, task.executor_config = queue, executor_config


def _elsewhere(offers: Sequence[Offer], need: Need) -> str:
    """What else the author could write."""
    offered = "; ".join(map(str, offers))
    if (best := smallest(offers, need)) is not None:
        return f"Remove its queue, or set it to {best.queue!r}. Offered: {offered}"
    return (
        f"No target offers that. Offered: {offered}. Lower the need, or add a target and its entry "
        f"in [{SECTION}] offers"
    )


def _service_of_overrides(executor_config: Mapping[str, Any]) -> Service | None:
    """Return the service whose request a task adds parameters to."""
    return next((service for service in JOBS if service.value in executor_config), None)


def _check_next_target(task: Any, settings: TaskSettings) -> None:  # noqa: ANN401 - as above
    """Require that a task which moves to another target can do so.

    Raises:
        RouteError: It has no retry, its retry may be too early, or it is bound to its target.
    """
    if settings.target or settings.function:
        raise RouteError(
            "it has on_deadline in executor_config, and a target or a function beside it, which "
            "its retry cannot leave: set the task's queue instead"
        )
    if service := _service_of_overrides(task.executor_config):
        raise RouteError(
            f"it has on_deadline in executor_config, and overrides for {JOBS[service].name} beside "
            "it, which may not fit the target of its retry: set the task's queue instead"
        )
    if not task.retries:
        raise RouteError("it has on_deadline in executor_config, and no retry: set retries")
    if (delay_s := task.retry_delay.total_seconds()) < LEAST_RETRY_DELAY_S:
        raise RouteError(
            f"it has on_deadline in executor_config, and its retry_delay is {delay_s:g} s, in "
            "which the scheduler may not have heard of the deadline yet: set it to at least "
            f"{LEAST_RETRY_DELAY_S} s"
        )


@functools.cache
def _is_ours(executor: str | None) -> bool:
    """Whether an executor of this package gets a task that names an executor, or none."""
    from lambda_executor.setup import naming  # noqa: PLC0415 - imports all of Airflow's loader

    return executor in naming.ours()
