"""How the image calls AWS: short time-outs, and S3 objects that are read whole."""

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

#: Short time-outs: a network without a route to the service must not cost minutes.
PATIENCE = Config(
    retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=3, read_timeout=10
)

#: How often an object is read. botocore retries a request, but not the reading of its body.
_ATTEMPTS = 3


def read_object(
    client: S3Client,
    take: Callable[[GetObjectOutputTypeDef], T],
    **request: Any,  # noqa: ANN401
) -> T:
    """Return what `take` makes of an object; it is called again if the connection breaks."""
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
    """AWS's code for an error."""
    return str(error.response.get("Error", {}).get("Code"))
