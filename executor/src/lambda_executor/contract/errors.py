"""The errors that cross a room's border. Their messages are for the user."""

from __future__ import annotations

from typing import Any, Self

#: The error codes of a call that the role may not make. The answer to a `HEAD` has only a status.
#: https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"})


class LambdaExecutorError(Exception):
    """The base of all errors of this package."""


class ConfigError(LambdaExecutorError):
    """An option has an unusable value; the message names it, the allowed values and the fix.

    Args:
        detail: What is wrong.
        fix: What to do; empty: the detail says it.
        command: A command or a setting to copy, for the fix; empty: there is none.
    """

    def __init__(self, detail: str, *, fix: str = "", command: str = "") -> None:
        super().__init__(f"{detail}: {fix}" if fix else detail)
        self.detail = detail
        self.fix = fix
        self.command = command


class RouteError(LambdaExecutorError):
    """A workload asks for a target, or for overrides of its request, that do not exist."""


class UnknownTaskError(LambdaExecutorError):
    """Airflow has no task, run or try of the name that a person asks about."""


class LocalRunError(LambdaExecutorError):
    """A task cannot be run on this machine."""


class DatabaseError(LambdaExecutorError):
    """Airflow's own database cannot be read."""


class WireError(LambdaExecutorError):
    """A message between executor and handler does not have the agreed shape."""


class EncodeError(WireError):
    """We were about to send a message that the other side could not take."""


class ExpiredError(EncodeError):
    """The workload's token has run out: it may not start any more."""


class DecodeError(WireError):
    """The other side sent a message that does not have the agreed shape.

    Args:
        message: What is wrong, without the offending bytes: they may hold a token.
        raw: The received message; never logged.
    """

    def __init__(self, message: str, raw: Any = None) -> None:  # noqa: ANN401 - any JSON shape
        super().__init__(message)
        self.raw = raw


class AwsError(LambdaExecutorError):
    """An AWS call did not succeed; `code` is AWS's error code, such as `NoSuchKey`, or empty."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code

    def about(self, failure: str) -> Self:
        """Return the same error, its message preceded by what could not be done."""
        return type(self)(f"{failure}: {self}", self.code)


class TransientError(AwsError):
    """AWS did not take the call now; the same call may succeed later."""


class ThrottledError(TransientError):
    """AWS asks us to slow down (HTTP 429 or a throttling code)."""


class NoRoomError(TransientError):
    """AWS would take the call if it had room: no capacity is free, or a quota is used up."""


class UnreachableError(TransientError):
    """The request did not get to AWS: no address, no connection, no TLS, or no way by the proxy."""


class InDoubtError(TransientError):
    """The request was sent, and AWS may have taken the call: no answer came, or a server error."""


class RejectedError(AwsError):
    """AWS will never take this call as it is: not found, malformed or too large, or denied."""


class DeniedError(RejectedError):
    """The role may not make this call; it may a little later, if its permissions were just changed.

    IAM is eventually consistent:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html
    """


class CredentialsError(AwsError):
    """Credentials are missing, expired or not valid; no call can succeed until that is fixed."""
