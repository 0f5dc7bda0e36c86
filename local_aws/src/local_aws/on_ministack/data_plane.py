"""The data plane: replaces the parts of ministack's Lambda service that run container images.

ministack keeps functions, aliases and permissions, authorises requests and invokes functions for
its event sources. Replaced here are synchronous and asynchronous invocations, and what follows a
change or deletion of a function.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from ministack.services import lambda_svc

from local_aws.images.store import ImageStore
from local_aws.lambda_service.async_queue import (
    AsyncQueue,
    AsyncSettings,
    Event,
    EveryNth,
)
from local_aws.lambda_service.destinations import Destinations
from local_aws.lambda_service.execution_environment import ExecutionEnvironment
from local_aws.lambda_service.function_faults import FunctionFaults
from local_aws.lambda_service.model import FunctionVersion, InvokeRequest, InvokeResponse
from local_aws.lambda_service.pool import Limits, Pools, Throttled
from local_aws.lambda_service.snapshots import Snapshots
from local_aws.on_ministack import function_records, image_pinning, snap_start, tenants
from local_aws.on_ministack.environments import Environments, session_of
from local_aws.on_ministack.file_systems import FileSystems
from local_aws.on_ministack.front import exchange
from local_aws.sandbox.sandbox import Confinement


class DataPlane:
    """Runs the functions of container images; `client_variables` point them at this AWS."""

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        images: ImageStore,
        client_variables: Mapping[str, str],
        limits: Limits,
        confinement: Confinement,
        asynchronous: AsyncSettings,
        *,
        file_systems: FileSystems,
        faults: FunctionFaults,
    ) -> None:
        self._images = images
        self._environments = Environments(images, client_variables, confinement, file_systems)
        self._snapshots = Snapshots(
            confinement,
            self._environments.parts,
            snap_start.set_state,
            limits.restore_timeout_s,
        )
        self._destinations = Destinations(client_variables["AWS_ENDPOINT_URL"], session_of)
        self._faults = faults
        self._queue = AsyncQueue(
            function_records,
            self._destinations.settle,
            asynchronous.retry_delay_s,
            (EveryNth(asynchronous.duplicate_every), faults.duplicated),
        )
        self._pools = Pools(
            limits, function_records, start=self._start, on_release=self._queue.dispatch
        )
        self._queue.attach(self._pools)

    def install(self) -> None:
        """Take over the parts of ministack's Lambda service that run functions."""
        image_pinning.install(self._images)
        tenants.install()
        snap_start.install(self._snapshots.publish)
        stock_execute = lambda_svc._execute_function
        stock_invoke_async = lambda_svc.invoke_async_with_retry

        def execute(record: dict[str, Any], event: object) -> dict[str, Any]:
            if not function_records.is_image(record):
                return dict(stock_execute(record, event))
            return self._invoke_and_wait(function_records.configuration_of(record), event)

        def invoke_async(record: dict[str, Any], event: object) -> None:
            if not function_records.is_image(record):
                stock_invoke_async(record, event)
            else:
                self._accept(function_records.configuration_of(record), event)

        lambda_svc._execute_function = execute
        lambda_svc.invoke_async_with_retry = invoke_async
        # ministack calls these two after every change and deletion of a function.
        for name in ("_sweep_extract_cache", "_pool_kill_function"):
            setattr(lambda_svc, name, _then(getattr(lambda_svc, name), self._end_stale))
        for name in ("_put_function_concurrency", "_delete_function_concurrency"):
            setattr(lambda_svc, name, _then(getattr(lambda_svc, name), self._queue.dispatch))
        for name in ("_put_provisioned_concurrency", "_delete_provisioned_concurrency"):
            setattr(lambda_svc, name, _then(getattr(lambda_svc, name), self._pools.provision))

    def close(self) -> None:
        """End every execution environment."""
        self._queue.close()
        self._pools.close()
        self._snapshots.close()

    def _start(
        self, function: FunctionVersion, tenant_id: str, provisioned: bool
    ) -> ExecutionEnvironment:
        environment: ExecutionEnvironment
        if function.snap_start:
            environment = self._snapshots.restore(function)
        else:
            environment = self._environments.start(function, tenant_id, provisioned=provisioned)
        environment.faults = self._faults
        return environment

    def _end_stale(self) -> None:
        self._pools.end_stale()
        self._snapshots.end_stale(function_records.is_current)

    def _invoke_and_wait(self, configuration: Mapping[str, Any], event: object) -> dict[str, Any]:
        """Run a synchronous invocation; return the answer like ministack's own executors."""
        function = FunctionVersion.from_configuration(configuration)
        invocation = _invocation(configuration, event)
        permit = self._pools.try_acquire(function, invocation.tenant_id)
        if isinstance(permit, Throttled):
            return dict(lambda_svc._throttle_response(permit.reason, "Rate Exceeded."))
        return _result(self._pools.run(permit, invocation))

    def _accept(self, configuration: Mapping[str, Any], event: object) -> None:
        function = FunctionVersion.from_configuration(configuration)
        invocation = _invocation(configuration, event)
        config = function_records.event_invoke_config(function.function_key, invocation.invoked_arn)
        self._queue.put(Event(function, invocation, config, accepted_s=time.time()))


def _invocation(configuration: Mapping[str, Any], event: object) -> InvokeRequest:
    request_id, tenant_id = str(uuid.uuid4()), ""
    if (request := exchange.get()) is not None:
        request.request_id, tenant_id = request_id, request.tenant_id
    payload = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
    return InvokeRequest(request_id, payload, configuration["FunctionArn"], tenant_id)


def _result(outcome: InvokeResponse) -> dict[str, Any]:
    try:
        body = json.loads(outcome.payload or b"null")
    except ValueError:
        body = outcome.payload.decode(errors="replace")
    result: dict[str, Any] = {"body": body, "log": outcome.log_tail}
    if outcome.failed:
        result |= {"error": True, "function_error": "Unhandled"}
    return result


def _then(stock: Callable[..., Any], follow_up: Callable[[], None]) -> Callable[..., Any]:
    @wraps(stock)
    def both(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever ministack passes
        result = stock(*args, **kwargs)
        follow_up()
        return result

    return both
