"""CloudFormation waits for the snapshot of a version, and refuses what SnapStart does not go with.

ministack reports an `AWS::Lambda::Version` as created while its snapshot is still being made, so a
deployment succeeds with a version that fails. It creates functions that Lambda would refuse.
"""

from __future__ import annotations

import time
from typing import Any

from ministack.services import lambda_svc
from ministack.services.cloudformation import stacks

from local_aws.fixes.cloudformation._cloudformation import Created, Properties, handler
from local_aws.lambda_service.model import snap_start_refusal
from local_aws.lambda_service.restored_environment import init_limit_s

_VERSION = "AWS::Lambda::Version"
_POLL_S = 0.05
#: Seconds that a version's state may take besides the init phase, on a busy machine.
_MARGIN_S = 60.0


def apply() -> None:
    """Wait on a thread of the version's own, as its init phase may call this AWS."""
    stock_is_slow = stacks._runs_on_worker_thread
    stacks._runs_on_worker_thread = lambda kind: kind == _VERSION or stock_is_slow(kind)
    version, function = handler(_VERSION), handler("AWS::Lambda::Function")
    stock_publish, stock_delete = version["create"], version["delete"]
    stock_create = function["create"]

    def publish(logical_id: str, properties: Properties, stack: str) -> Created:
        arn, attributes = stock_publish(logical_id, properties, stack)
        if reason := _failure(arn):
            # CloudFormation deletes what it has created in vain.
            delete(arn, properties)
            raise ValueError(
                f"Resource of type '{_VERSION}' with identifier '{arn}' did not stabilize: {reason}"
            )
        return arn, attributes

    def delete(arn: str, properties: Properties) -> None:
        stock_delete(arn, properties)
        # As DeleteFunction does it: the data plane then ends what runs of the version.
        lambda_svc._sweep_extract_cache()

    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        if reason := snap_start_refusal(properties):
            raise ValueError(f"{reason} (Service: Lambda, Status Code: 400)")
        physical_id, attributes = stock_create(logical_id, properties, stack)
        return physical_id, attributes

    version.update(create=publish, delete=delete)
    function.update(create=create)


def _failure(arn: str) -> str | None:
    """Wait while a version is pending; return why it failed, or None."""
    name, number = arn.rsplit(":", 2)[1:]
    began_s = time.monotonic()
    while True:
        record: dict[str, Any] = lambda_svc._functions.get(name) or {"versions": {}}
        configuration = record["versions"].get(number, {}).get("config", {})
        if configuration.get("State") == "Failed":
            return str(configuration["StateReason"])
        if configuration.get("State") != "Pending":
            return None
        limit_s = init_limit_s(float(configuration.get("Timeout", 0))) + _MARGIN_S
        if time.monotonic() > began_s + limit_s:
            return f"it is still pending after {limit_s:g} seconds: look into local-aws.log"
        time.sleep(_POLL_S)
