"""Each error of botocore is translated into one of ours."""

from __future__ import annotations

import botocore.exceptions as botocore_errors
import pytest

from lambda_executor import aws
from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    DeniedError,
    InDoubtError,
    RejectedError,
    ThrottledError,
    TransientError,
    UnreachableError,
)


def answer(code: str, status: int) -> Exception:
    """An error answer of AWS."""
    return botocore_errors.ClientError(
        {
            "Error": {"Code": code, "Message": "said"},
            "ResponseMetadata": {"HTTPStatusCode": status},  # type: ignore[typeddict-item]
        },
        "Invoke",
    )


@pytest.mark.reference_fault("W4")
@pytest.mark.reference_fault("W5")
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answer("TooManyRequestsException", 429), ThrottledError),
        (answer("ThrottlingException", 400), ThrottledError),
        (answer("ExpiredTokenException", 403), CredentialsError),
        (answer("UnrecognizedClientException", 403), CredentialsError),
        (answer("AccessDeniedException", 403), DeniedError),
        (answer("ResourceNotFoundException", 404), RejectedError),
        (answer("InvalidRequestContentException", 400), RejectedError),
        (answer("RequestTooLargeException", 413), RejectedError),
        (answer("ResourceConflictException", 409), TransientError),
        (answer("SnapStartNotReadyException", 409), TransientError),
        (answer("SnapStartRegenerationFailureException", 409), TransientError),
        (answer("ServiceException", 500), InDoubtError),
        (answer("SlowDown", 503), InDoubtError),
        (answer("AccessDenied", 403), DeniedError),
        (answer("InvalidToken", 400), CredentialsError),
        (answer("RequestTimeTooSkewed", 403), CredentialsError),
        (answer("NoSuchBucket", 404), RejectedError),
        (answer("EC2UnexpectedException", 502), InDoubtError),
        (botocore_errors.NoCredentialsError(), CredentialsError),
        (botocore_errors.EndpointConnectionError(endpoint_url="x"), UnreachableError),
        (botocore_errors.ConnectTimeoutError(endpoint_url="x"), UnreachableError),
        (botocore_errors.ProxyConnectionError(proxy_url="x"), UnreachableError),
        (botocore_errors.SSLError(endpoint_url="x", error=OSError("y")), InDoubtError),
        (botocore_errors.ReadTimeoutError(endpoint_url="x"), InDoubtError),
        (botocore_errors.ConnectionClosedError(endpoint_url="x"), InDoubtError),
        (botocore_errors.HTTPClientError(error="x"), InDoubtError),
        (botocore_errors.ParamValidationError(report="x"), RejectedError),
    ],
)
def test_an_error_has_one_meaning(error: Exception, kind: type[AwsError]) -> None:
    """Its kind says whether the call may have been taken, and may succeed later."""
    translated = aws.translate(error)
    assert type(translated) is kind
    assert str(translated) == str(error)


def test_an_error_keeps_its_class_and_its_code_when_its_message_grows() -> None:
    """Adding what could not be done keeps the class and the code."""
    error = aws.translate(answer("NoSuchKey", 404)).about("nothing was read")
    assert (type(error), error.code) == (RejectedError, "NoSuchKey")
    assert str(error).startswith("nothing was read: An error occurred (NoSuchKey)")
