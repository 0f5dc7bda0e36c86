"""SnapStart on ministack: publishing makes the snapshot, and invokes depend on the version's state.

ministack validates the setting and keeps a version Pending; replaced here is how it then makes the
version Active. Added are the combinations that Lambda refuses:
https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html#snapstart-runtimes
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import lambda_svc

from local_aws.lambda_service.model import FunctionVersion, snap_start_refusal
from local_aws.lambda_service.restored_environment import SnapStartError
from local_aws.on_ministack import function_records

#: As in the API's model.
_STATUS = {
    "SnapStartException": 400,
    "SnapStartTimeoutException": 408,
    "SnapStartNotReadyException": 409,
}


def install(publish: Callable[[FunctionVersion], None]) -> None:
    """Make versions by `publish`, which ends with a call of `set_state`."""
    _publish_by(publish)
    _refuse_invokes()
    _refuse_combinations()


def set_state(function: FunctionVersion, state: str, reason: str, code: str) -> None:
    """Set a version's state, if it is still there."""
    record = function_records.find(function.function_key)
    version = record and record["versions"].get(function.version)
    if version and version["config"].get("RevisionId") == function.revision:
        version["config"] |= {
            "State": state,
            "StateReason": reason,
            "StateReasonCode": code,
            "LastUpdateStatus": "Failed" if state == "Failed" else "Successful",
        }


def _publish_by(publish: Callable[[FunctionVersion], None]) -> None:
    stock = lambda_svc._snapstart_provision_version_async

    def provision(name: str, record: dict[str, Any]) -> None:
        if not function_records.is_image(record):
            stock(name, record)
            return
        function = FunctionVersion.from_configuration(record["config"])
        threading.Thread(target=publish, args=(function,), name="publish", daemon=True).start()

    lambda_svc._snapstart_provision_version_async = provision


def _refuse_invokes() -> None:
    stock = lambda_svc._invoke

    @wraps(stock)
    async def invoke(
        name: str,
        event: Any,  # noqa: ANN401 - any JSON
        headers: dict[str, str],
        path_qualifier: str | None = None,
        query_params: dict[str, list[str]] | None = None,
    ) -> Any:  # noqa: ANN401 - ministack's answer
        qualifier = lambda_svc._qualifier_from_path_or_query(path_qualifier, query_params) or ""
        version = function_records.version_of(lambda_svc._functions.get(name), qualifier)
        if version.get("State") == "Failed":
            # ministack refuses pending versions only.
            return error_response_json(
                "ResourceConflictException",
                "The operation cannot be performed at this time. The function is currently in the "
                f"following state: Failed ({version['StateReason']})",
                409,
            )
        try:
            return await stock(name, event, headers, path_qualifier, query_params)
        except SnapStartError as e:
            return error_response_json(e.code, str(e), _STATUS[e.code])

    lambda_svc._invoke = invoke


def _refuse_combinations() -> None:
    stock_create, stock_update = lambda_svc._create_function, lambda_svc._update_config
    stock_provision = lambda_svc._put_provisioned_concurrency

    @wraps(stock_create)
    def create(request: dict[str, Any]) -> Any:  # noqa: ANN401 - ministack's answer
        return _error(snap_start_refusal(request)) or stock_create(request)

    @wraps(stock_update)
    def update(name: str, request: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
        record = lambda_svc._functions.get(name) or {"config": {}}
        return _error(snap_start_refusal({**record["config"], **request})) or stock_update(
            name, request
        )

    @wraps(stock_provision)
    def provision(name: str, qualifier: str, request: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
        version = function_records.version_of(lambda_svc._functions.get(name), qualifier)
        if (version.get("SnapStart") or {}).get("OptimizationStatus") == "On":
            return _error(
                "Provisioned Concurrency is not supported for function versions with SnapStart."
            )
        return stock_provision(name, qualifier, request)

    lambda_svc._create_function, lambda_svc._update_config = create, update
    lambda_svc._put_provisioned_concurrency = provision


def _error(reason: str | None) -> Any:  # noqa: ANN401 - ministack's answer
    return reason and error_response_json("InvalidParameterValueException", reason, 400)
