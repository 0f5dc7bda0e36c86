"""Finds out which log group the jobs of a target write to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lambda_executor.aws import JobInspection
from lambda_executor.contract.errors import ConfigError, RejectedError
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.setup.targets import KINDS

#: Seconds for which an answer is used: a deploy may change it.
KEPT_S = 300.0


class _Definition(NamedTuple):
    """What decides on the log group."""

    service: Service
    name: str  # A job definition or a task definition.
    container: str | None


class JobLogGroups:
    """The log groups of targets, each asked for once in a while. Safe on any thread.

    Args:
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[_Definition, tuple[float, str]] = {}

    def of(self, inspection: JobInspection, target: JobTarget, overrides: Mapping[str, Any]) -> str:
        """Return the log group of a job with a task's overrides.

        Raises:
            AwsError: It could not be asked for.
            RouteError: The task's overrides are unusable.
            ConfigError: The jobs do not write to CloudWatch Logs.
        """
        request = KINDS[target.service].overridden(target, overrides)
        if target.service is Service.MICROVM:
            return _of_micro_vm(target, request)
        name = "jobDefinition" if target.service is Service.BATCH else "taskDefinition"
        definition = _Definition(target.service, request[name], target.container)
        with self._lock:
            until_s, group = self._known.get(definition, (0.0, ""))
        if self._clock() < until_s:
            return group
        read = _of_batch if target.service is Service.BATCH else _of_ecs
        try:
            group = read(inspection, definition)
        except RejectedError as e:  # AWS's words name the permission, if that is missing.
            raise e.about(f"the log group of {definition.name!r} is not known") from e
        with self._lock:
            self._known[definition] = self._clock() + KEPT_S, group
        return group


def _of_batch(inspection: JobInspection, definition: _Definition) -> str:
    facts = inspection.job_definition(definition.name)
    if not facts.log_group:
        raise _not_in_cloudwatch(f"the job definition {definition.name!r}")
    return facts.log_group


def _of_ecs(inspection: JobInspection, definition: _Definition) -> str:
    facts = inspection.task_definition(definition.name)
    container = definition.container or facts.containers[0]
    if container not in facts.log_groups:
        raise _not_in_cloudwatch(f"container {container!r} of {definition.name!r}")
    return facts.log_groups[container]


def _of_micro_vm(target: JobTarget, request: Mapping[str, Any]) -> str:
    """Return the group that the request names, or the one that Lambda makes for an image.

    https://docs.aws.amazon.com/lambda/latest/dg/microvms-monitoring.html
    """
    logging = request.get("logging", {})
    if "disabled" in logging:
        raise ConfigError(f"the log of target {target.name!r} is disabled in its parameter logging")
    group: str | None = logging.get("cloudWatch", {}).get("logGroup")
    return group or f"/aws/lambda-microvms/{request['imageIdentifier'].rpartition(':')[2]}"


def _not_in_cloudwatch(what: str) -> ConfigError:
    return ConfigError(
        f"{what} does not log to CloudWatch Logs: its log configuration needs the driver awslogs "
        "and a log group"
    )
