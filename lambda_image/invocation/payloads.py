"""The whole of an invocation whose event only points to it: fetched from S3 once, then deleted.

It knows the wire and nothing of workloads. What it reads holds the workload's token, so none of it
is put into a reason. Only the bucket of the function's own settings is read, and in it only the
object of the invocation's own id (the wire sees to that).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from lambda_executor.contract.errors import DecodeError
from lambda_executor.contract.options import PAYLOAD_BUCKET
from lambda_executor.contract.wire import Invocation, PayloadPointer
from lambda_image.aws_calls import PATIENCE, error_code, read_object
from lambda_image.machine import time_limit
from lambda_image.verdict import Verdict, duplicate, rejected

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

#: Seconds that fetch and deletion may take, whatever S3 does: the workload has still to run.
FETCH_TIMEOUT_S = 30.0


class _FetchError(Exception):
    """The object is not what the event says."""


class Payloads:
    """Takes payloads out of one bucket.

    Args:
        bucket: The only bucket that is read; None: none is.
        make_client: Called when the first pointer comes; most environments never see one.
    """

    def __init__(self, bucket: str | None, make_client: Callable[[], S3Client]) -> None:
        self._bucket = bucket
        self._make_client = make_client
        self._client: S3Client | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Payloads:
        """Look up the bucket."""
        return cls(
            PAYLOAD_BUCKET.from_environment(environ),
            lambda: boto3.session.Session().client("s3", config=PATIENCE),
        )

    def whole(self, invocation: Invocation, by_s: float) -> Invocation | Verdict:
        """The invocation itself, or the one that it points to; a verdict if there is none.

        Args:
            invocation: As it came with the event.
            by_s: When S3 has to have answered, on the monotonic clock: a process that is killed in
                the middle of a retry cannot report that nothing was started.
        """
        pointer = invocation.payload
        if pointer is None:
            return invocation
        if pointer.bucket != self._bucket:
            return rejected(self._foreign(pointer.bucket))
        if self._client is None:
            self._client = self._make_client()
        now_s = time.monotonic()
        seconds = min(max(0.0, by_s - now_s), FETCH_TIMEOUT_S)
        why: object
        try:
            with time_limit.until(now_s + seconds):
                body = _fetch(self._client, pointer)
        except (BotoCoreError, ClientError, _FetchError) as e:
            why = e
        except time_limit.OutOfTime:
            why = f"S3 did not answer within {seconds:.1f} s"
        else:
            if body is None:
                return duplicate("another start of this invocation has already taken its payload")
            with suppress(time_limit.OutOfTime), time_limit.until(now_s + seconds):
                _delete(self._client, pointer)
            return _decoded(body, invocation)
        return rejected(f"the payload could not be read from the bucket {pointer.bucket}: {why}")

    def _foreign(self, bucket: str) -> str:
        own = f"only from {self._bucket}" if self._bucket else "from no bucket at all"
        return (
            f"the payload is in the bucket {bucket!r}, and this function reads payloads {own}: set "
            f"{PAYLOAD_BUCKET.environment_variable} in its environment to the executor's "
            "payload_bucket, and let its role read and delete the objects (the execution stack "
            "does both)"
        )


def _fetch(client: S3Client, pointer: PayloadPointer) -> bytes | None:
    """The object; None: another start has taken it."""

    def take(answer: GetObjectOutputTypeDef) -> bytes:
        if answer["ContentLength"] != pointer.size_bytes:
            raise _FetchError(
                f"it is {answer['ContentLength']} bytes, the event says {pointer.size_bytes}"
            )
        return answer["Body"].read()

    try:
        return read_object(client, take, Bucket=pointer.bucket, Key=pointer.key)
    except ClientError as e:
        if _is_missing(e, client, pointer):
            return None
        raise


def _is_missing(error: ClientError, client: S3Client, pointer: PayloadPointer) -> bool:
    """Whether an error means that there is no such object.

    To whoever may not list the bucket S3 says "denied" for an object that is not there. Deleting
    one that is not there succeeds, and the function is granted both or neither.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    code = error_code(error)
    return code == "NoSuchKey" or (code == "AccessDenied" and _delete(client, pointer))


def _delete(client: S3Client, pointer: PayloadPointer) -> bool:
    """Delete the object; returns whether S3 did. If it does not, the object expires by itself."""
    try:
        client.delete_object(Bucket=pointer.bucket, Key=pointer.key)
    except (BotoCoreError, ClientError):
        return False
    return True


def _decoded(body: bytes, pointing: Invocation) -> Invocation | Verdict:
    try:
        whole = Invocation.decode(json.loads(body))
    except (ValueError, RecursionError):
        return rejected("the payload is not JSON")
    except DecodeError as e:
        return rejected(f"the payload is not an invocation: {e}")
    if whole.id != pointing.id or whole.payload is not None:
        return rejected("the payload is not the one of this invocation")
    return whole
