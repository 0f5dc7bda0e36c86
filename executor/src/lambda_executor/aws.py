"""The only module that knows boto3: clients, calls, and botocore's errors put into our words.

It must not know Airflow: where a session comes from is given.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypedDict

import boto3
import botocore.exceptions as botocore_errors
from botocore.config import Config

from lambda_executor.errors import (
    AwsError,
    ConfigError,
    CredentialsError,
    RejectedError,
    ThrottledError,
    TransientError,
)
from lambda_executor.poller import LONG_POLL_S
from lambda_executor.ports import Message
from lambda_executor.routing import Target

if TYPE_CHECKING:
    from typing import NotRequired

    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef
    from mypy_boto3_ssm import SSMClient

log = logging.getLogger(__name__)

Session = boto3.Session
SessionFactory = Callable[[], Session]

#: Error codes by what they mean; what is in none of them is judged by its HTTP status.
#: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors
#: https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
_THROTTLED: Final = frozenset(
    {
        "EC2ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_CREDENTIALS: Final = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
#: 4xx by status, but they pass: the function is being updated, or SQS asks for patience.
_TRANSIENT: Final = frozenset({"ResourceConflictException", "RequestTimeout", "KmsThrottled"})

_CREDENTIALS_EXCEPTIONS: Final = (
    botocore_errors.CredentialRetrievalError,
    botocore_errors.NoCredentialsError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.SSOError,
    botocore_errors.TokenRetrievalError,
)
_NETWORK_EXCEPTIONS: Final = (
    botocore_errors.ConnectionError,
    botocore_errors.HTTPClientError,
)
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500


def translate(error: Exception) -> AwsError:
    """Put an error of botocore into ours; the words stay AWS's own."""
    kind: type[AwsError] = RejectedError
    if isinstance(error, botocore_errors.ClientError):
        kind = _kind_of_answer(
            error.response.get("Error", {}).get("Code", ""),
            error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
        )
    elif isinstance(error, _CREDENTIALS_EXCEPTIONS):
        kind = CredentialsError
    elif isinstance(error, _NETWORK_EXCEPTIONS):
        kind = TransientError
    return kind(str(error))


def _kind_of_answer(code: str, status: int) -> type[AwsError]:
    if code in _THROTTLED or status == _TOO_MANY_REQUESTS:
        return ThrottledError
    if code in _CREDENTIALS:
        return CredentialsError
    if code in _TRANSIENT or status >= _SERVER_ERROR:
        return TransientError
    return RejectedError


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


class LambdaFunctions:
    """Sends invocations to functions; a `ports.FunctionInvoker`."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def invoke(self, target: Target, payload: bytes) -> None:
        """Hand one payload to Lambda, asynchronously."""
        with self._clients.errors():
            self._clients.function.invoke(**_named(target), InvocationType="Event", Payload=payload)

    def check(self, target: Target) -> str:
        """Make sure that a function can be invoked; returns its state in AWS's words.

        Raises:
            AwsError: It cannot be described.
        """
        with self._clients.errors():
            answer = self._clients.function.get_function_configuration(**_named(target))
        return str(answer.get("State", "Active"))


class _Named(TypedDict):
    FunctionName: str
    Qualifier: NotRequired[str]


def _named(target: Target) -> _Named:
    if target.qualifier is None:
        return {"FunctionName": target.function}
    return {"FunctionName": target.function, "Qualifier": target.qualifier}


class SqsQueue:
    """One SQS queue; a `ports.Queue`."""

    def __init__(self, clients: Clients, url: str) -> None:
        self._clients = clients
        self._url = url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self._url.rsplit("/", 1)[-1]

    def receive(self, wait_s: int) -> Sequence[Message]:
        """Up to ten messages; waits up to `wait_s` seconds for the first."""
        with self._clients.errors():
            answer = self._clients.sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=wait_s,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
                MessageAttributeNames=["All"],
            )
        return [_message(message) for message in answer.get("Messages", [])]

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete up to ten deliveries; returns how many AWS refused."""
        with self._clients.errors():
            answer = self._clients.sqs.delete_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(n), "ReceiptHandle": receipt} for n, receipt in enumerate(receipts)
                ],
            )
        return self._refused("delete", answer.get("Failed", []))

    def hand_back(self, receipts: Sequence[str], delay_s: int) -> None:
        """Make up to ten deliveries visible again for others after `delay_s` seconds."""
        with self._clients.errors():
            answer = self._clients.sqs.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(n), "ReceiptHandle": receipt, "VisibilityTimeout": delay_s}
                    for n, receipt in enumerate(receipts)
                ],
            )
        self._refused("hand back", answer.get("Failed", []))

    def check(self) -> int:
        """Make sure that the queue can be read; returns about how many messages wait in it.

        Raises:
            AwsError: It cannot be described.
        """
        with self._clients.errors():
            answer = self._clients.sqs.get_queue_attributes(
                QueueUrl=self._url, AttributeNames=["ApproximateNumberOfMessages"]
            )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def _refused(self, verb: str, failed: Sequence[Any]) -> int:
        for entry in failed:
            log.warning("%s: could not %s a message: %s", self.name, verb, entry.get("Message"))
        return len(failed)


def _message(message: MessageTypeDef) -> Message:
    return Message(
        body=message["Body"],
        receipt=message["ReceiptHandle"],
        receive_count=int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1")),
        attributes={
            name: value.get("StringValue", "")
            for name, value in message.get("MessageAttributes", {}).items()
        },
    )


def read_parameter(clients: Clients, name: str) -> dict[str, str]:
    """Read the options that the stacks wrote.

    Args:
        clients: Where the client comes from.
        name: Name of the SSM parameter.

    Raises:
        ConfigError: It does not exist, may not be read, or does not hold options.
    """
    try:
        with clients.errors():
            answer = clients.ssm.get_parameter(Name=name, WithDecryption=True)
    except AwsError as e:
        raise ConfigError(
            f"config_parameter: SSM parameter {name!r} cannot be read ({e}). The stacks write "
            "/airflow-lambda/<stage>/executor: check the stage, the Region and the credentials"
        ) from e
    try:
        options = json.loads(answer["Parameter"]["Value"])
    except ValueError:
        options = None
    if not isinstance(options, dict) or not all(isinstance(v, str) for v in options.values()):
        raise ConfigError(
            f"config_parameter: SSM parameter {name!r} does not hold a JSON object of option "
            "names and strings; deploy the execution stack again to write it"
        )
    return options
