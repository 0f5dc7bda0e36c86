"""The border between ministack's Lambda service and our data plane.

ministack keeps functions, versions, aliases and permissions, routes and authorises every request
and invokes functions for its event sources. Of its Lambda service, the functions that *run*
something are replaced here, for container images only: one synchronous run, one asynchronous
invocation, and what follows a change or deletion of a function. This is the only module of the
data plane that knows ministack.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from ministack.services import cloudwatch_logs, lambda_svc, sts

from local_aws.async_queue import AsyncQueue, Event, EventInvokeConfig
from local_aws.destinations import Destinations
from local_aws.environment import Environment, RuntimeCommand
from local_aws.front import exchange
from local_aws.functions import LATEST, FunctionKey, FunctionVersion, Invocation, Outcome
from local_aws.images import Image, ImageStore, image_name
from local_aws.logs import EnvironmentLog, stream_name
from local_aws.pool import Limits, Pools


class DataPlane:
    """Runs the functions of ministack's Lambda service whose code is a container image.

    Args:
        images: Where images are found.
        client_variables: Make an AWS client in a function's environment talk to this AWS.
        limits: What bounds the pools.
        retry_delay_s: The pause before the first retry of an asynchronous invocation.
    """

    def __init__(
        self,
        images: ImageStore,
        client_variables: Mapping[str, str],
        limits: Limits,
        retry_delay_s: float,
    ) -> None:
        self._images = images
        self._client_variables = client_variables
        self._destinations = Destinations(client_variables["AWS_ENDPOINT_URL"], _role_session)
        self._queue = AsyncQueue(
            exists=lambda function: _record(function) is not None,
            reserved_concurrency=_reserved_concurrency,
            settle=self._destinations.settle,
            retry_delay_s=retry_delay_s,
        )
        self._pools = Pools(
            limits,
            start=self._start,
            reserved_concurrency=_reserved_concurrency,
            is_current=_is_current,
            on_release=self._queue.dispatch,
        )
        self._queue.attach(self._pools)

    def install(self) -> None:
        """Take over the parts of ministack's Lambda service that run functions."""
        stock_execute = lambda_svc._execute_function
        stock_invoke_async = lambda_svc.invoke_async_with_retry

        def execute(record: dict[str, Any], event: object) -> dict[str, Any]:
            if not _is_image(record):
                return dict(stock_execute(record, event))
            return self._invoke_and_wait(_configuration(record), event)

        def invoke_async(record: dict[str, Any], event: object) -> None:
            if not _is_image(record):
                stock_invoke_async(record, event)
            else:
                self._accept(_configuration(record), event)

        lambda_svc._execute_function = execute
        lambda_svc.invoke_async_with_retry = invoke_async
        # Called by ministack after every change and deletion of a function.
        for name in ("_sweep_extract_cache", "_pool_kill_function"):
            setattr(lambda_svc, name, _then(getattr(lambda_svc, name), self._pools.end_stale))
        for name in ("_put_function_concurrency", "_delete_function_concurrency"):
            setattr(lambda_svc, name, _then(getattr(lambda_svc, name), self._queue.dispatch))

    def close(self) -> None:
        """End every execution environment."""
        self._queue.close()
        self._pools.close()

    def _invoke_and_wait(self, configuration: Mapping[str, Any], event: object) -> dict[str, Any]:
        """Run a synchronous invocation; the answer in the shape ministack's executors give."""
        function = FunctionVersion.from_configuration(configuration)
        invocation = _invocation(configuration, event)
        permit = self._pools.try_acquire(function.function_key)
        if permit is None:
            reserved = _reserved_concurrency(function.function_key) is not None
            kind = "ReservedFunction" if reserved else ""
            return dict(
                lambda_svc._throttle_response(
                    f"{kind}ConcurrentInvocationLimitExceeded", "Rate Exceeded."
                )
            )
        try:
            outcome = self._pools.run(function, invocation)
        finally:
            self._pools.release(permit)
        return _result(outcome)

    def _accept(self, configuration: Mapping[str, Any], event: object) -> None:
        function = FunctionVersion.from_configuration(configuration)
        self._queue.put(
            Event(
                function,
                _invocation(configuration, event),
                _event_invoke_config(function.function_key, configuration["FunctionArn"]),
                accepted_s=time.time(),
            )
        )

    def _start(self, function: FunctionVersion) -> Environment:
        """Start an environment with what Lambda gives it, and the address of this AWS."""
        image = Image.read(self._images.find(image_name(function.image_uri)))
        stream = stream_name(function.version)
        argv = [*image.command[:-1], *function.command] if function.command else image.command
        variables = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            # Lambda sets none, and its user has no folder: a shell must not find this user's.
            "HOME": image.variables.get("TMPDIR", tempfile.gettempdir()),
            **image.variables,
            **function.variables,
            **_role_session(function),
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": function.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "AWS_LAMBDA_LOG_FORMAT": function.log_format,
            **({"AWS_LAMBDA_LOG_LEVEL": function.log_level} if function.log_level else {}),
            "_HANDLER": argv[-1],
            "LAMBDA_TASK_ROOT": image.working_directory,
            **self._client_variables,
        }
        return Environment(
            function,
            RuntimeCommand(argv, image.working_directory, variables),
            EnvironmentLog(function, _CloudWatchStream(function, stream)),
        )


@dataclass(slots=True)
class _CloudWatchStream:
    """A log stream of ministack's CloudWatch Logs; group and stream are made when first needed.

    What an environment says after its function was deleted is dropped: on AWS it would bring a
    deleted log group back, here nothing must be left of a destroyed stack.
    """

    function: FunctionVersion
    name: str

    def append(self, lines: list[tuple[int, str]]) -> None:
        scope = (self.function.account, self.function.region)
        group_name = self.function.log_group
        groups = cloudwatch_logs._log_groups
        now_ms = lines[-1][0]
        group = groups.get_scoped(*scope, group_name)
        if group is None and _record(self.function.function_key) is None:
            return
        if group is None:
            group = {
                "arn": f"arn:aws:logs:{scope[1]}:{scope[0]}:log-group:{group_name}:*",
                "creationTime": now_ms,
                "retentionInDays": None,
                "tags": {},
                "subscriptionFilters": {},
                "streams": {},
            }
            groups.set_scoped(*scope, group_name, group)
        stream = group["streams"].setdefault(
            self.name,
            {
                "events": [],
                "uploadSequenceToken": "1",
                "creationTime": now_ms,
                "firstEventTimestamp": None,
                "lastEventTimestamp": None,
                "lastIngestionTime": None,
            },
        )
        cloudwatch_logs._append_log_events(
            stream,
            [{"timestamp": at, "message": line, "ingestionTime": at} for at, line in lines],
        )


def _is_image(record: Mapping[str, Any]) -> bool:
    configuration = _configuration(record)
    return bool(configuration.get("PackageType") == "Image" and configuration.get("ImageUri"))


def _configuration(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return record.get("config") or record


def _record(function: FunctionKey) -> dict[str, Any] | None:
    record: dict[str, Any] | None = lambda_svc._functions.get_scoped(
        function.account, function.region, function.name
    )
    return record


def _reserved_concurrency(function: FunctionKey) -> int | None:
    record = _record(function) or {}
    reserved = record.get("concurrency")
    return None if reserved is None else int(reserved)


def _is_current(function: FunctionVersion) -> bool:
    record = _record(function.function_key)
    if record is None:
        return False
    if function.version != LATEST:
        record = record["versions"].get(function.version) or {"config": {}}
    return bool(record["config"].get("RevisionId") == function.revision)


def _event_invoke_config(function: FunctionKey, invoked_arn: str) -> EventInvokeConfig:
    """The configuration of the qualifier that was invoked, as Lambda looks it up."""
    configs = (_record(function) or {}).get("event_invoke_configs") or {}
    qualifier = (invoked_arn.split(":")[7:] or [""])[0]
    found = configs.get(qualifier) or (configs.get(LATEST) if not qualifier else None) or {}
    destinations = found.get("DestinationConfig") or {}
    return EventInvokeConfig(
        max_attempts=1 + int(found.get("MaximumRetryAttempts", 2)),
        max_age_s=float(found.get("MaximumEventAgeInSeconds", 21_600)),
        on_failure_arn=(destinations.get("OnFailure") or {}).get("Destination") or "",
        on_success_arn=(destinations.get("OnSuccess") or {}).get("Destination") or "",
    )


def _invocation(configuration: Mapping[str, Any], event: object) -> Invocation:
    request_id = str(uuid.uuid4())
    if (request := exchange.get()) is not None:
        request.request_id = request_id
    payload = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
    return Invocation(request_id, payload, configuration["FunctionArn"])


def _result(outcome: Outcome) -> dict[str, Any]:
    try:
        body = json.loads(outcome.payload or b"null")
    except ValueError:
        body = outcome.payload.decode(errors="replace")
    result: dict[str, Any] = {"body": body, "log": outcome.log_tail}
    if outcome.failed:
        result |= {"error": True, "function_error": "Unhandled"}
    return result


def _role_session(function: FunctionVersion) -> dict[str, str]:
    """Fresh session credentials of the execution role, as environment variables."""
    access_key = "ASIA" + secrets.token_hex(8).upper()
    secret_key, token = secrets.token_urlsafe(30), secrets.token_urlsafe(64)
    role_name = function.role.rpartition("/")[2]
    sts.register_session(
        access_key,
        {
            "Arn": f"arn:aws:sts::{function.account}:assumed-role/{role_name}/{function.name}",
            "UserId": f"AROA{role_name}:{function.name}",
            "SecretAccessKey": secret_key,
            "SessionToken": token,
        },
    )
    return {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_SESSION_TOKEN": token,
    }


def _then(stock: Callable[..., Any], follow_up: Callable[[], None]) -> Callable[..., Any]:
    @wraps(stock)
    def both(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever ministack passes
        result = stock(*args, **kwargs)
        follow_up()
        return result

    return both
