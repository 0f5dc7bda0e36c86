"""Sends results to the results queue, or raises with the reason."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lambda_executor.contract.errors import AwsError, ConfigError
from lambda_executor.contract.options import QUEUE_URL, REFERENCE_SECTION
from lambda_image import host
from lambda_image.aws_calls import PATIENCE, Idleness
from lambda_image.machine import time_limit

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from lambda_executor.contract.wire import Result

#: The variables that name the results queue of an invocation without `reply_to`; the first that is
#: set wins. The second and third are the reference handler's.
QUEUE_URL_VARIABLES = (
    QUEUE_URL.environment_variable,
    f"AIRFLOW__{REFERENCE_SECTION.upper()}__{QUEUE_URL.name.upper()}",
    "QUEUE_URL",
)

#: botocore's standard mode retries throttling, server and network errors with exponential backoff
#: and jitter (at most 20 s each), so six attempts survive a short outage. It also replaces
#: connections that died while the execution environment was frozen.
#: https://docs.aws.amazon.com/boto3/latest/guide/retries.html
_CLIENT_CONFIG = PATIENCE.merge(Config(retries={"mode": "standard", "total_max_attempts": 6}))

#: How long sending may take, in seconds, even if the function has more time left: it is paid for.
_MAX_SEND_S = 60.0


class ReportError(AwsError):
    """The result could not be sent: the invocation fails and becomes a dead letter."""


class Reporter:
    """Sends the results of one execution environment, over a connection that is kept.

    The client is made with the first result, so that no credentials and no connection are part of
    a snapshot of the init phase.
    """

    def __init__(
        self,
        make_client: Callable[[], SQSClient],
        default_queue_url: str | None = None,
        idleness: Idleness | None = None,
    ) -> None:
        self._make_client = make_client
        self._client: SQSClient | None = None
        self._idleness = idleness or Idleness()
        self._default_queue_url = default_queue_url

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Reporter:
        """Prepare the client and look up the default queue.

        Raises:
            BotoCoreError: No client can be made, for want of a region for example.
        """
        session = boto3.session.Session()
        # Fills the session's caches, which takes 0.2 s, and looks for no credentials.
        session.client("sqs", aws_access_key_id="none", aws_secret_access_key="none")  # noqa: S106
        given = (environ.get(name) for name in QUEUE_URL_VARIABLES)
        return cls(
            lambda: session.client("sqs", config=_CLIENT_CONFIG),
            default_queue_url=next((url for url in given if url), None),
        )

    def queue_url(self, reply_to: str | None) -> str:
        """The results queue of an invocation.

        Raises:
            ConfigError: Neither the invocation nor the function's variables name a queue.
        """
        if url := reply_to or self._default_queue_url:
            return url
        raise ConfigError(
            "no results queue is known, so nothing was started: the invocation has no reply_to "
            f"and none of {', '.join(QUEUE_URL_VARIABLES)} is set. Set {QUEUE_URL_VARIABLES[0]} "
            f"in the {host.name()}'s environment"
        )

    def send(self, queue_url: str, result: Result, by_s: float) -> None:
        """Send one result until `by_s` on the monotonic clock, before the process is killed.

        Raises:
            ReportError: The queue did not take the result within the retries or the time.
        """
        reason: object
        try:
            with time_limit.until(min(by_s, time.monotonic() + _MAX_SEND_S)):
                self._connected().send_message(QueueUrl=queue_url, MessageBody=result.encode())
                self._idleness.begin()
        except (BotoCoreError, ClientError) as e:
            reason = e
        except time_limit.OutOfTime:
            reason = "the queue did not answer in time"
        else:
            return
        raise ReportError(
            f"the result ({result.outcome.value}, return code {result.return_code}) could not be "
            f"sent to {queue_url}: {reason}"
        )

    def _connected(self) -> SQSClient:
        """The client, without the connection if that has been idle for too long."""
        if self._client is None:
            self._client = self._make_client()
        elif self._idleness.is_too_long():
            self._client.close()
        return self._client
