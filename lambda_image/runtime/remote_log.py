"""Uploads a task's whole log to S3 or CloudWatch before the result is sent.

Airflow finds it by `[logging] logging_config_class`. The provider's uploader for CloudWatch sends
from a thread once a minute: an execution environment, frozen between invocations, would keep the
lines, and each task would leave a thread behind. A failed upload is logged and fails no task.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from airflow.config_templates.airflow_local_settings import (
    DEFAULT_LOGGING_CONFIG as LOGGING_CONFIG,
)
from airflow.configuration import conf
from airflow.providers.amazon.aws.hooks.logs import AwsLogsHook
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.log.cloudwatch_task_handler import CloudWatchRemoteLogIO
from airflow.providers.amazon.aws.log.s3_task_handler import S3RemoteLogIO
from botocore.exceptions import BotoCoreError, ClientError

from lambda_image.aws_calls import PATIENCE
from lambda_image.logs import log_events
from lambda_image.machine.environment import CLOUDWATCH, S3

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_logs.type_defs import InputLogEventTypeDef

__all__ = ["LOGGING_CONFIG", "REMOTE_TASK_LOG"]

log = structlog.get_logger(__name__)


class S3TaskLog(S3RemoteLogIO):
    """The provider's uploader with shorter time-outs."""

    @cached_property
    def hook(self) -> S3Hook:
        """The hook that the uploader calls S3 with."""
        return S3Hook(
            aws_conn_id=conf.get("logging", "remote_log_conn_id", fallback=None),
            config=PATIENCE,
            transfer_config_args={"use_threads": False, "preferred_transfer_client": "classic"},
        )


class CloudWatchTaskLog(CloudWatchRemoteLogIO):
    """Sends a task's log to one log stream, where the provider's reader finds it."""

    processors = ()  # Nothing is sent line by line.

    @cached_property
    def hook(self) -> AwsLogsHook:
        """The hook that the uploader calls CloudWatch with."""
        return AwsLogsHook(
            aws_conn_id=conf.get("logging", "remote_log_conn_id", fallback=None),
            region_name=self.region_name,
            config=PATIENCE,
        )

    def upload(self, path: Any, ti: Any = None) -> None:  # noqa: ANN401, ARG002 - the provider's
        """Send a log file and empty it; later lines of the same try are appended to it."""
        file = self.base_log_folder / path
        stream = (
            Path(path).as_posix().replace(":", "_")
        )  # The name that the provider's reader uses.
        try:
            client = self.hook.get_conn()
            with file.open("rb") as lines:
                for batch in log_events.batches(log_events.events(lines)):
                    self._put(client, stream, batch)
        except (BotoCoreError, ClientError, OSError) as e:
            log.error("Task log not uploaded", group=self.log_group, stream=stream, reason=str(e))
        else:
            file.unlink() if self.delete_local_copy else file.write_bytes(b"")

    def _put(
        self, client: CloudWatchLogsClient, stream: str, batch: list[InputLogEventTypeDef]
    ) -> None:
        def put() -> None:
            answer = client.put_log_events(
                logGroupName=self.log_group, logStreamName=stream, logEvents=batch
            )
            if rejected := answer.get("rejectedLogEventsInfo"):
                log.error("Part of a task log refused", stream=stream, reason=str(rejected))

        try:
            put()
        except client.exceptions.ResourceNotFoundException:  # Usually the stream is missing.
            client.create_log_stream(logGroupName=self.log_group, logStreamName=stream)
            put()


def _remote_task_log() -> S3RemoteLogIO | CloudWatchRemoteLogIO:
    folder = conf.get_mandatory_value("logging", "remote_base_log_folder")
    local: dict[str, Any] = {
        "base_log_folder": Path(
            conf.get_mandatory_value("logging", "base_log_folder")
        ).expanduser(),
        "delete_local_copy": conf.getboolean("logging", "delete_local_logs"),
    }
    if folder.startswith(S3):
        return S3TaskLog(remote_base=folder, **local)
    return CloudWatchTaskLog(log_group_arn=folder.removeprefix(CLOUDWATCH).strip("/"), **local)


#: Airflow looks up the uploader by this name.
REMOTE_TASK_LOG = _remote_task_log()
