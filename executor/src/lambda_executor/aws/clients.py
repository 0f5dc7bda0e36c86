"""The clients that the threads of one executor share."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import boto3
import botocore.exceptions as botocore_errors
from botocore.config import Config

from lambda_executor.aws.native import Native
from lambda_executor.aws.translation import translate
from lambda_executor.contract.errors import AwsError, CredentialsError, InDoubtError
from lambda_executor.core.ports import LONG_POLL_S

if TYPE_CHECKING:
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

Session = boto3.Session
SessionFactory = Callable[[], Session]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one call may take.

    Attributes:
        connect_s: Seconds to wait for the connection.
        read_s: Seconds to wait for the answer.
        attempts: The most attempts.
    """

    connect_s: float
    read_s: float
    attempts: int


#: For sends. The dispatcher repeats them, because only it knows which sends wait.
INVOKE = Patience(connect_s=5, read_s=20, attempts=1)
#: For all other calls; longer than a long poll.
POLL = Patience(connect_s=5, read_s=LONG_POLL_S + 10, attempts=3)


class Place(NamedTuple):
    """Where calls to one service go."""

    region: str
    endpoint: str  # A URL.

    def __str__(self) -> str:
        return f"{self.region}, {self.endpoint}"


@dataclass(frozen=True, slots=True)
class _Made:
    """What was made since credentials last failed, by the name of the service."""

    clients: dict[str, tuple[Session, Any]] = field(default_factory=dict)
    natives: dict[str, Native] = field(default_factory=dict)


class Clients:
    """The boto3 clients of one executor, made again after credentials failed.

    Safe on any thread. One that needs what exists, or takes in an error, does not wait for one that
    makes a session, which may take seconds (an Airflow connection, STS).

    Args:
        session_factory: Makes a session with freshly resolved credentials.
        region_name: AWS Region; None: the session's.
        connections: The most calls to one service under way at once.
        patience: For every call; None: `INVOKE` for sends, `POLL` for the rest.
    """

    def __init__(
        self,
        session_factory: SessionFactory,
        *,
        region_name: str | None,
        connections: int,
        patience: Patience | None = None,
    ) -> None:
        self._session_factory = session_factory
        self._region_name = region_name
        self._made = _Made()
        self._making = threading.Lock()
        self._invoke_config = _config(patience or INVOKE, connections)
        self._config = _config(patience or POLL, connections)

    @property
    def function(self) -> LambdaClient:
        """The client that invokes."""
        client: LambdaClient = self._client("lambda", self._invoke_config)
        return client

    @property
    def batch(self) -> BatchClient:
        """The client of AWS Batch; the dispatcher and the watcher repeat its calls."""
        client: BatchClient = self._client("batch", self._invoke_config)
        return client

    @property
    def ecs(self) -> ECSClient:
        """The client of Amazon ECS; the dispatcher and the watcher repeat its calls."""
        client: ECSClient = self._client("ecs", self._invoke_config)
        return client

    @property
    def micro_vms(self) -> Any:  # noqa: ANN401 - boto3-stubs has no types of it here
        """The client of Lambda MicroVMs; the dispatcher and the watcher repeat its calls."""
        return self._client("lambda-microvms", self._invoke_config)

    @property
    def s3(self) -> S3Client:
        """The client that stores payloads; the dispatcher repeats its calls too."""
        client: S3Client = self._client("s3", self._invoke_config)
        return client

    @property
    def sqs(self) -> SQSClient:
        """The client of all queues."""
        client: SQSClient = self._client("sqs", self._config)
        return client

    @property
    def ssm(self) -> SSMClient:
        """The client that reads the config parameter."""
        client: SSMClient = self._client("ssm", self._config)
        return client

    @property
    def sts(self) -> STSClient:
        """The client that identifies the credentials."""
        client: STSClient = self._client("sts", self._config)
        return client

    @property
    def logs(self) -> CloudWatchLogsClient:
        """The client that reads the function's log."""
        client: CloudWatchLogsClient = self._client("logs", self._config)
        return client

    @property
    def metrics(self) -> Any:  # noqa: ANN401 - boto3-stubs has no types of it here
        """The client that reads the functions' metrics."""
        return self._client("cloudwatch", self._config)

    def native(self, service: Literal["lambda", "sqs"]) -> Native:
        """The calls of a client that are made often."""
        if native := self._made.natives.get(service):
            return native
        with self._making:
            made = self._made
            if service not in made.natives:
                config = self._invoke_config if service == "lambda" else self._config
                made.natives[service] = Native(*self._client_of(made, service, config))
            return made.natives[service]

    def place(
        self,
        client: Literal["batch", "ecs", "function", "micro_vms", "ssm", "sts"] = "function",
    ) -> Place:
        """Return where the calls of a client go.

        Raises:
            AwsError: Nothing sets a Region.
        """
        with self.errors():
            meta = getattr(self, client).meta
        return Place(meta.region_name, meta.endpoint_url)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate botocore's errors into ours; forget the clients when credentials failed.

        The next call then makes new clients, with credentials that may work again.
        """
        try:
            yield
        except (botocore_errors.BotoCoreError, botocore_errors.ClientError) as e:
            raise self.translated(e) from e
        except Exception as e:
            if not _is_of_an_answer(e):
                raise
            kind = type(e).__name__
            raise InDoubtError(f"the answer is none of AWS's ({kind}: {e})") from e

    def translated(self, error: Exception) -> AwsError:
        """Translate an error of botocore into ours; forget the clients when credentials failed."""
        translated = translate(error)
        if isinstance(translated, CredentialsError):
            self._made = _Made()  # What is being made goes to the old one, which nobody sees again.
        return translated

    def _client(self, service: str, config: Config) -> Any:  # noqa: ANN401 - typed by the properties
        if pair := self._made.clients.get(service):
            return pair[1]
        with self._making:
            return self._client_of(self._made, service, config)[1]

    def _client_of(self, made: _Made, service: Any, config: Config) -> tuple[Session, Any]:  # noqa: ANN401 - the stubs want literals
        """Return a client and its session; make them if need be."""
        if service not in made.clients:
            session = self._session()
            client = session.client(service, region_name=self._region_name, config=config)
            made.clients[service] = session, client
        return made.clients[service]

    def _session(self) -> Session:
        try:
            return self._session_factory()
        except botocore_errors.BotoCoreError:
            raise
        except Exception as e:
            # Reading an Airflow connection can raise any error.
            raise CredentialsError(f"no AWS session: {e!r}") from e


def _is_of_an_answer(error: Exception) -> bool:
    """Whether botocore could not read an answer, such as the page of a proxy.

    Some of that raises what the parser stumbles over, and not an error of botocore's own.
    """
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == "botocore.parsers" for frame, _ in frames)


def _config(patience: Patience, connections: int) -> Config:
    return Config(
        connect_timeout=patience.connect_s,
        read_timeout=patience.read_s,
        max_pool_connections=connections,
        retries={"total_max_attempts": patience.attempts, "mode": "standard"},
        tcp_keepalive=True,
    )
