"""Translates botocore's errors into ours, by whether the same call may succeed later."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import botocore.exceptions as botocore_errors

from lambda_executor.contract.errors import (
    DENIED,
    AwsError,
    CredentialsError,
    DeniedError,
    InDoubtError,
    RejectedError,
    ThrottledError,
    TransientError,
    UnreachableError,
)

#: Error codes by their meaning; any other code is classified by its HTTP status.
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
        "InvalidToken",
        "MissingAuthenticationToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
#: Temporary despite their 4xx status: the function is being updated, SQS is busy, or Lambda makes
#: the snapshot of a version again, which it does by itself for patches.
#: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-troubleshooting.html
_TRANSIENT: Final = frozenset(
    {
        "KmsThrottled",
        "RequestTimeout",
        "ResourceConflictException",
        "SnapStartNotReadyException",
        "SnapStartRegenerationFailureException",
    }
)

_CREDENTIALS_EXCEPTIONS: Final = (
    botocore_errors.CredentialRetrievalError,
    botocore_errors.NoCredentialsError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.SSOError,
    botocore_errors.TokenRetrievalError,
)
#: botocore raises these before it sends a request (`URLLib3Session.send`).
#: https://github.com/boto/botocore/blob/develop/botocore/httpsession.py
_UNREACHABLE_EXCEPTIONS: Final = (
    botocore_errors.ConnectTimeoutError,
    botocore_errors.EndpointConnectionError,
    botocore_errors.ProxyConnectionError,
)
#: botocore raises these before, while and after it sends a request: an `SSLError` can come from
#: the handshake, and from a connection that breaks while the answer is read.
_NETWORK_EXCEPTIONS: Final = (
    botocore_errors.ConnectionError,
    botocore_errors.HTTPClientError,
)


def translate(error: Exception) -> AwsError:
    """Translate an error of botocore; AWS's message is kept."""
    kind: type[AwsError] = RejectedError
    code = ""
    if isinstance(error, botocore_errors.ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = _kind_of_answer(code, status)
    elif isinstance(error, _CREDENTIALS_EXCEPTIONS):
        kind = CredentialsError
    elif isinstance(error, _UNREACHABLE_EXCEPTIONS):
        kind = UnreachableError
    elif isinstance(error, _NETWORK_EXCEPTIONS):
        kind = InDoubtError
    return kind(str(error), code)


def _kind_of_answer(code: str, status: int) -> type[AwsError]:
    if code in _THROTTLED or status == HTTPStatus.TOO_MANY_REQUESTS:
        return ThrottledError
    if code in _CREDENTIALS:
        return CredentialsError
    if code in _TRANSIENT:
        return TransientError
    if code in DENIED:
        return DeniedError
    # AWS does not promise that a call had no effect when it answers with a server error.
    # https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors
    return InDoubtError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else RejectedError
