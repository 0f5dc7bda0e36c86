"""Lambda functions: invoking and describing them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypedDict

from lambda_executor.aws.clients import Clients
from lambda_executor.aws.invoking import invoke_event
from lambda_executor.errors import AwsError, RejectedError
from lambda_executor.routing import Target

if TYPE_CHECKING:
    from typing import NotRequired


class LambdaFunctions:
    """Sends invocations to functions; a `ports.FunctionInvoker`."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def invoke(self, target: Target, payload: bytes) -> None:
        """Hand one payload to Lambda, asynchronously."""
        with self._clients.errors():
            invoke_event(self._clients.function, target, payload)

    def check(self, target: Target) -> str:
        """Make sure that a function can be invoked; returns its state in AWS's words.

        Raises:
            AwsError: It cannot be described.
        """
        configuration = self._configuration(target)
        state = str(configuration.get("State", "Active"))
        if state == "Failed":
            reason = configuration.get("StateReason", "unknown")
            raise RejectedError(f"the function's state is Failed: {reason}")
        return state

    def _configuration(self, target: Target) -> Mapping[str, Any]:
        client = self._clients.function
        try:
            with self._clients.errors():
                return client.get_function_configuration(**named(target))
        except RejectedError:
            # A role that was made for AwsLambdaExecutor may ask as that does, and no other way.
            with suppress(AwsError), self._clients.errors():
                return client.get_function(**named(target))["Configuration"]
            raise


class _Named(TypedDict):
    FunctionName: str
    Qualifier: NotRequired[str]


def named(target: Target) -> _Named:
    """How every call names a function."""
    if target.qualifier is None:
        return {"FunctionName": target.function}
    return {"FunctionName": target.function, "Qualifier": target.qualifier}
