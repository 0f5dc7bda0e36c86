"""How the image calls AWS: short time-outs, whole S3 objects, no connection that idled long."""

from __future__ import annotations

import time
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


class Idleness:
    """How long a kept connection has been idle, by the clock on which that is longer.

    An execution environment is frozen between invocations: the other side's goodbye does not reach
    it, and its monotonic clock may stand still.
    """

    #: A connection that idled for longer is not used again, in seconds. Load balancers close idle
    #: ones after 60 s by default, Airflow's API server after 120 s ([api] worker_timeout).
    #: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html
    LIMIT_S = 50.0

    def __init__(self, *clocks_s: Callable[[], float]) -> None:
        self._clocks_s = clocks_s or (time.monotonic, time.time)
        self.begin()

    def begin(self) -> None:
        """The connection was used just now."""
        self._began_s = [clock_s() for clock_s in self._clocks_s]

    def is_too_long(self) -> bool:
        """Whether the other side may have closed the connection without this side knowing."""
        pairs = zip(self._clocks_s, self._began_s, strict=True)
        return any(clock_s() - began_s > self.LIMIT_S for clock_s, began_s in pairs)


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
