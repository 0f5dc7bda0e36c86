"""Our executor works in an environment that was made for `AwsLambdaExecutor`."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

from lambda_executor import LambdaExecutor
from lambda_executor.aws import Clients, Inspection
from lambda_executor.contract.errors import RejectedError
from lambda_executor.core.targets import FunctionTarget
from tests.support.account import Account
from tests.support.command_line import run_json
from tests.support.reference import error

#: What the reference asks of AWS, and so what its role allows, and what every role may ask.
CALLS_OF_THE_REFERENCE = {
    *("GetCallerIdentity", "GetFunction", "Invoke", "GetQueueAttributes", "ReceiveMessage"),
    *("DeleteMessage", "DeleteMessageBatch"),
    *("ChangeMessageVisibility", "ChangeMessageVisibilityBatch"),
}


@pytest.fixture
def configured_for_the_reference(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options of the reference, and a role with only its permissions."""
    monkeypatch.delenv("AIRFLOW__LAMBDA_EXECUTOR__CONFIG_PARAMETER")
    for option, value in account.options.items():
        monkeypatch.setenv(f"AIRFLOW__AWS_LAMBDA_EXECUTOR__{option.upper()}", value)
    real = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        if operation not in CALLS_OF_THE_REFERENCE:
            raise error("AccessDeniedException", 403)
        return real(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)


@pytest.mark.usefixtures("configured_for_the_reference")
def test_the_options_and_the_role_of_the_reference_are_enough_to_start() -> None:
    """The role has the reference's permission to read the function, but not ours."""
    executor = LambdaExecutor(parallelism=1)
    executor.start()
    executor.terminate()


@pytest.mark.usefixtures("database", "configured_for_the_reference")
def test_the_doctor_has_nothing_against_the_role_of_the_reference(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The missing permissions are unknowns, not problems."""
    code, findings = run_json(capfd, "check")
    assert code == 0
    assert [(finding["subject"], finding["verdict"]) for finding in findings] == [
        *(("executor", "ok"), ("scheduler", "unknown"), ("options", "ok"), ("Region", "ok")),
        *(("credentials", "ok"), ("configuration", "ok"), ("concurrency", "unknown")),
        *(("function", "ok"), ("results queue", "ok"), ("dead-letter queue", "ok")),
        *(("reservation", "ok"), ("async invocation", "unknown")),
        *(("log", "unknown"), ("probe", "unknown")),
    ]


@pytest.mark.usefixtures("configured_for_the_reference")
def test_a_role_without_either_permission_gets_the_error_of_the_preferred_call() -> None:
    """When both calls fail, the error is that of the first."""
    inspection = Inspection(Clients(boto3.Session, region_name=None, connections=1))
    with pytest.raises(RejectedError, match="AccessDeniedException"):
        inspection.function(FunctionTarget("missing"))
