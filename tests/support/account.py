"""An AWS account with what the executor needs, in AWS's own shapes (moto)."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

import boto3
import pytest
from moto import mock_aws

PARAMETER = "/airflow-lambda/test/executor"


@dataclass
class Account:
    """An account with everything that the executor needs."""

    options: dict[str, str]

    def write_parameter(self, value: str | None = None) -> None:
        """Do what the stacks do."""
        boto3.client("ssm").put_parameter(
            Name=PARAMETER,
            Value=json.dumps(self.options) if value is None else value,
            Type="String",
            Overwrite=True,
        )


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """A function, two queues, and Airflow configured by the one line."""
    monkeypatch.setenv("AIRFLOW__LAMBDA_EXECUTOR__CONFIG_PARAMETER", PARAMETER)
    # The Amazon provider is installed here, and its default connection would be looked up.
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    with mock_aws(config={"lambda": {"use_docker": False}}):
        sqs = boto3.client("sqs")
        # A long poll of an executor that ended may still be open: on queues of its own.
        unique = uuid.uuid4()
        role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as z:
            z.writestr("handler.py", "")
        boto3.client("lambda").create_function(
            FunctionName="function",
            Runtime="python3.12",
            Handler="handler.lambda_handler",
            Role=role["Role"]["Arn"],
            Code={"ZipFile": archive.getvalue()},
        )
        yield Account(
            {
                "function_name": "function",
                "queue_url": sqs.create_queue(QueueName=f"results-{unique}")["QueueUrl"],
                "dead_letter_queue_url": sqs.create_queue(QueueName=f"dead-{unique}")["QueueUrl"],
                "region_name": "eu-west-1",
            }
        )
