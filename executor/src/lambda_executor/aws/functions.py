"""The asynchronous invoke of a function."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, TypedDict

from lambda_executor.aws.clients import Clients
from lambda_executor.aws.invoking import invoke_event
from lambda_executor.contract.errors import InDoubtError, UnreachableError
from lambda_executor.core.routing import Target

if TYPE_CHECKING:
    from typing import NotRequired


class LambdaFunctions:
    """Sends invocations to functions; implements `ports.FunctionInvoker`."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def invoke(self, target: Target, payload: bytes) -> None:
        """Send one payload to a function, asynchronously.

        The kind of botocore's error does not always say whether the request left: a connection
        that is closed during the TLS handshake raises the same as one that is closed before its
        answer. But Lambda cannot have taken an event of which a part was not even read.
        """
        unsent = BytesIO(payload)
        try:
            with self._clients.errors():
                invoke_event(self._clients.function, target, unsent)
        except InDoubtError as error:
            if error.code or unsent.tell() == len(payload):
                raise
            raise UnreachableError(str(error)) from error


class _Named(TypedDict):
    FunctionName: str
    Qualifier: NotRequired[str]


def named(target: Target) -> _Named:
    """Return the parameters of an AWS call that name a function."""
    if target.qualifier is None:
        return {"FunctionName": target.function}
    return {"FunctionName": target.function, "Qualifier": target.qualifier}
