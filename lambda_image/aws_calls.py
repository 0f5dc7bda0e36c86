"""How the image calls AWS: with little patience, and an object of S3 whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

T = TypeVar("T")

#: Nobody should pay minutes for a network that has no way to the service.
PATIENCE = Config(
    retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=3, read_timeout=10
)

#: How often an object is asked for. botocore repeats a request, but not the reading of its answer.
_ATTEMPTS = 3


def read_object(
    client: S3Client,
    take: Callable[[GetObjectOutputTypeDef], T],
    **request: Any,  # noqa: ANN401
) -> T:
    """Ask for an object until it was read to its end.

    Args:
        client: Asks.
        take: Reads an answer; called again when its connection breaks off.
        request: Which object.

    Returns:
        What `take` has made of it.
    """
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            answer = client.get_object(**request)
            with closing(answer["Body"]):
                return take(answer)
        except (HTTPClientError, IncompleteReadError):
            if not attempts_left:
                raise
    raise AssertionError  # The last attempt returns or raises.


def error_code(error: ClientError) -> str:
    """AWS's word for an error."""
    return str(error.response.get("Error", {}).get("Code"))
