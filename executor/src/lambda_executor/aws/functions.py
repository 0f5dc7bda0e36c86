"""The asynchronous invoke of a function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, TypedDict

import botocore.exceptions as botocore_errors

from lambda_executor.aws.call import NotSentError
from lambda_executor.aws.clients import Clients
from lambda_executor.contract.errors import AwsError, InDoubtError, UnreachableError
from lambda_executor.core.targets import FunctionTarget

if TYPE_CHECKING:
    from typing import NotRequired

    from mypy_boto3_lambda import LambdaClient


class LambdaFunctions:
    """Sends invocations to functions; implements `ports.FunctionInvoker` and its `begin`."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def begin(
        self, target: FunctionTarget, payload: bytes, ended: Callable[[AwsError | None], None]
    ) -> bool:
        """Send one payload to a function, asynchronously, and do not wait for Lambda's answer.

        Return whether it was begun; if not, `invoke` has to send it.

        Args:
            target: The function.
            payload: The event.
            ended: Called once, on any thread, with the error that `invoke` would have raised.

        Raises:
            AwsError: One of its kinds; nothing was sent.
        """
        with self._clients.errors():
            native = self._clients.native("lambda")
            return native.begin(
                "Invoke",
                target,
                partial(_ask, target, payload),
                payload,
                lambda error: ended(self._translated(error)),
            )

    def invoke(self, target: FunctionTarget, payload: bytes) -> None:
        """Send one payload to a function, asynchronously, by boto3; wait for Lambda's answer.

        The kind of botocore's error does not always say whether the request left: a connection
        that is closed during the TLS handshake raises the same as one that is closed before its
        answer. But Lambda cannot have taken an event of which a part was not even read.
        """
        unsent = BytesIO(payload)
        native = None
        try:
            with self._clients.errors():
                native = self._clients.native("lambda")
                _ask(target, unsent, self._clients.function)
        except AwsError as error:
            if native:
                native.rescued(succeeded=bool(error.code))
            if type(error) is not InDoubtError or error.code or unsent.tell() == len(payload):
                raise
            raise UnreachableError(str(error)) from error
        native.rescued(succeeded=True)

    def _translated(self, error: Exception | None) -> AwsError | None:
        if error is None:
            return None
        if isinstance(error, NotSentError):
            return UnreachableError(str(error))
        if isinstance(error, botocore_errors.ClientError):
            return self._clients.translated(error)
        return InDoubtError(str(error))  # No answer came, or one that cannot be read.


def _ask(target: FunctionTarget, payload: bytes | BytesIO, client: LambdaClient) -> None:
    tenant: _Tenant = {"TenantId": target.tenant} if target.tenant else {}
    answer = client.invoke(InvocationType="Event", Payload=payload, **named(target), **tenant)
    # The connection can only be reused after its answer was read.
    answer["Payload"].read()


class _Named(TypedDict):
    FunctionName: str
    Qualifier: NotRequired[str]


class _Tenant(TypedDict, total=False):
    TenantId: str


def named(target: FunctionTarget) -> _Named:
    """Return the parameters of an AWS call that name a function."""
    if target.qualifier is None:
        return {"FunctionName": target.function}
    return {"FunctionName": target.function, "Qualifier": target.qualifier}
