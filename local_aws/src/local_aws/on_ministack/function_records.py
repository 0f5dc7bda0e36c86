"""Read access to the functions in ministack's Lambda service, in `lambda_service`'s terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ministack.services import lambda_svc

from local_aws.lambda_service.async_queue import EventInvokeConfig
from local_aws.lambda_service.model import LATEST, FunctionKey, FunctionVersion


def is_image(record: Mapping[str, Any]) -> bool:
    """Whether the function's code is a container image."""
    configuration = configuration_of(record)
    return bool(configuration.get("PackageType") == "Image" and configuration.get("ImageUri"))


def configuration_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration in a function's record."""
    return record.get("config") or record


def find(function: FunctionKey) -> dict[str, Any] | None:
    """A function's record; None: there is no such function."""
    record: dict[str, Any] | None = lambda_svc._functions.get_scoped(
        function.account, function.region, function.name
    )
    return record


def exists(function: FunctionKey) -> bool:
    """Whether there is such a function."""
    return find(function) is not None


def reserved_concurrency(function: FunctionKey) -> int | None:
    """A function's reserved concurrency; None: it has none."""
    record = find(function) or {}
    reserved = record.get("concurrency")
    return None if reserved is None else int(reserved)


def is_current(function: FunctionVersion) -> bool:
    """Whether a function version still exists unchanged."""
    record = find(function.function_key)
    if record is None:
        return False
    if function.version != LATEST:
        record = record["versions"].get(function.version) or {"config": {}}
    return bool(record["config"].get("RevisionId") == function.revision)


def version_of(record: Mapping[str, Any] | None, qualifier: str) -> Mapping[str, Any]:
    """The configuration that a version or alias leads to; empty: there is none."""
    if record is None:
        return {}
    alias = record["aliases"].get(qualifier) or {"FunctionVersion": qualifier}
    version: Mapping[str, Any] = record["versions"].get(alias["FunctionVersion"]) or {"config": {}}
    return configuration_of(version)


def event_invoke_config(function: FunctionKey, invoked_arn: str) -> EventInvokeConfig:
    """The event configuration of the invoked alias or version, as Lambda looks it up."""
    configs = (find(function) or {}).get("event_invoke_configs") or {}
    qualifier = (invoked_arn.split(":")[7:] or [""])[0]
    found = configs.get(qualifier) or (configs.get(LATEST) if not qualifier else None) or {}
    destinations = found.get("DestinationConfig") or {}
    return EventInvokeConfig(
        max_attempts=1 + int(found.get("MaximumRetryAttempts", 2)),
        max_age_s=float(found.get("MaximumEventAgeInSeconds", 21_600)),
        on_failure_arn=(destinations.get("OnFailure") or {}).get("Destination") or "",
        on_success_arn=(destinations.get("OnSuccess") or {}).get("Destination") or "",
    )


def provisioned_concurrency() -> list[tuple[FunctionVersion, int]]:
    """Function versions with provisioned concurrency, and how much, over all functions."""
    found: list[tuple[FunctionVersion, int]] = []
    for record in list(lambda_svc._functions._data.values()):
        if not is_image(record):
            continue
        for qualifier, wanted in list(record["provisioned_concurrency"].items()):
            version = version_of(record, qualifier)
            if version:
                count = int(wanted["RequestedProvisionedConcurrentExecutions"])
                found.append((FunctionVersion.from_configuration(version), count))
    return found
