"""The boto3 clients of one executor: made once, shared by its threads, made again when needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions as botocore_errors
from botocore.config import Config

from lambda_executor.aws.translation import translate
from lambda_executor.errors import CredentialsError
from lambda_executor.poller import LONG_POLL_S

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

Session = boto3.Session
SessionFactory = Callable[[], Session]


class Clients:
    """The boto3 clients of one executor, made again after credentials failed.

    Args:
        session_factory: Makes a session with freshly resolved credentials.
        region_name: AWS Region; None leaves it to the session.
        connections: How many calls to one service may be under way at once.
    """

    def __init__(
        self, session_factory: SessionFactory, *, region_name: str | None, connections: int
    ) -> None:
        self._session_factory = session_factory
        self._region_name = region_name
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        # Sending is retried by the dispatcher, which knows what waits behind it.
        self._invoke_config = Config(
            connect_timeout=5,
            read_timeout=20,
            max_pool_connections=connections,
            retries={"total_max_attempts": 1},
            tcp_keepalive=True,
        )
        self._config = Config(
            connect_timeout=5,
            read_timeout=LONG_POLL_S + 10,
            max_pool_connections=connections,
            retries={"total_max_attempts": 3, "mode": "standard"},
            tcp_keepalive=True,
        )

    @property
    def function(self) -> LambdaClient:
        """The client that invokes."""
        client: LambdaClient = self._client("lambda", self._invoke_config)
        return client

    @property
    def s3(self) -> S3Client:
        """The client that puts payloads; the dispatcher retries for it too."""
        client: S3Client = self._client("s3", self._invoke_config)
        return client

    @property
    def sqs(self) -> SQSClient:
        """The client of both queues."""
        client: SQSClient = self._client("sqs", self._config)
        return client

    @property
    def ssm(self) -> SSMClient:
        """The client that reads the config parameter."""
        client: SSMClient = self._client("ssm", self._config)
        return client

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Put errors of botocore into ours; forget the clients when credentials failed.

        The next call then makes them again, with credentials that may have come back.
        """
        try:
            yield
        except (botocore_errors.BotoCoreError, botocore_errors.ClientError) as e:
            error = translate(e)
            if isinstance(error, CredentialsError):
                with self._lock:
                    self._clients.clear()
            raise error from e

    def _client(self, service: Any, config: Config) -> Any:  # noqa: ANN401 - typed by the properties
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session().client(
                    service, region_name=self._region_name, config=config
                )
            return self._clients[service]

    def _session(self) -> Session:
        try:
            return self._session_factory()
        except botocore_errors.BotoCoreError:
            raise
        except Exception as e:
            # Reading an Airflow connection can fail in any way, and nothing can be sent then.
            raise CredentialsError(f"no AWS session: {e!r}") from e
