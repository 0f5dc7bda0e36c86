"""Runs in the image, on an embedded AWS: what Airflow itself uses of AWS, each once there and back.

Prints a JSON object; `test_uses_of_aws.py` says what has to be in it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import boto3
from airflow.providers.amazon.aws.bundles.s3 import S3DagBundle
from airflow.providers.amazon.aws.log.cloudwatch_task_handler import CloudWatchRemoteLogIO
from airflow.providers.amazon.aws.log.s3_task_handler import S3RemoteLogIO
from airflow.providers.amazon.aws.operators import batch, ecs, glue, lambda_function, s3, sqs
from airflow.providers.amazon.aws.secrets.secrets_manager import SecretsManagerBackend
from airflow.providers.amazon.aws.secrets.systems_manager import SystemsManagerParameterStoreBackend

BUCKET = "uses"
LOG_GROUP = "arn:aws:logs:us-east-1:000000000000:log-group:uses"


def s3_log() -> object:
    """A task's log, uploaded and read."""
    folder = Path("/tmp/logs")
    folder.mkdir()
    (folder / "attempt=1.log").write_text("a line\n")
    remote = S3RemoteLogIO(
        remote_base=f"s3://{BUCKET}/logs", base_log_folder=folder, delete_local_copy=False
    )
    ti: Any = None
    remote.upload("attempt=1.log", ti)
    return remote.read("attempt=1.log", ti)[1]


def cloudwatch_log() -> object:
    """A line of a log stream, sent by the handler that Airflow logs with."""
    boto3.client("logs").create_log_group(logGroupName="uses")
    remote = CloudWatchRemoteLogIO(
        remote_base="cloudwatch://",
        base_log_folder="/tmp/logs",
        delete_local_copy=False,
        log_group_arn=LOG_GROUP,
    )
    handler = remote.handler
    handler.log_stream_name = "stream"
    handler.handle(logging.makeLogRecord({"name": "uses", "msg": "a line"}))
    remote.close()  # type: ignore[no-untyped-call]
    events = boto3.client("logs").get_log_events(logGroupName="uses", logStreamName="stream")
    return [event["message"] for event in events["events"]]


def dag_bundle() -> object:
    """A DAG file of a bundle in S3."""
    boto3.client("s3").put_object(Bucket=BUCKET, Key="dags/team/file.py", Body=b"")
    bundle = S3DagBundle(name="uses", bucket_name=BUCKET, prefix="dags")
    bundle.initialize()
    return [str(path.relative_to(bundle.path)) for path in bundle.path.rglob("*.py")]


def secrets() -> object:
    """A variable from each of the two secrets backends."""
    boto3.client("secretsmanager").create_secret(Name="airflow/variables/v", SecretString="one")
    boto3.client("ssm").put_parameter(Name="/airflow/variables/v", Value="two", Type="SecureString")
    return [
        SecretsManagerBackend().get_variable("v"),
        SystemsManagerParameterStoreBackend().get_variable("v"),
    ]


def main() -> int:
    """All of them."""
    os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = "aws://"
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    operators = [module.__name__.rpartition(".")[2] for module in (batch, ecs, glue, s3, sqs)]
    found = {
        "operators": [*operators, lambda_function.LambdaInvokeFunctionOperator.__name__],
        "s3_log": s3_log(),
        "cloudwatch_log": cloudwatch_log(),
        "dag_bundle": dag_bundle(),
        "secrets": secrets(),
    }
    print(json.dumps(found, default=list))  # noqa: T201 - the answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
