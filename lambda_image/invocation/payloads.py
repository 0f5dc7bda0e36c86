"""Fetches an invocation that is too large for its event from S3, once, and deletes it there.

A payload holds the workload's token, so no reason quotes it. The function reads only the bucket of
its own settings and only the object of the invocation's id (`Invocation.decode` checks the key).
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
from lambda_executor.contract.wire import (
    Invocation,
    InvocationId,
    PayloadPointer,
    micro_vm_key,
)
from lambda_image import host
from lambda_image.aws_calls import PATIENCE, error_code, read_object
from lambda_image.machine import time_limit
from lambda_image.verdict import Verdict, duplicate, rejected

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

#: How long fetch and deletion may take, in seconds: the workload still has to run.
FETCH_TIMEOUT_S = 30.0
#: How long a MicroVM goes on for what nobody waits for, in seconds.
FORGET_TIMEOUT_S = 3.0

_NO_PAYLOAD = (
    "its workload is not in the payload bucket any more: another start of this invocation took it, "
    "or it waited for more than a day and the bucket's lifecycle removed it"
)


class _FetchError(Exception):
    """The object does not match the event."""


class Payloads:
    """Takes payloads out of one bucket; most execution environments never need the client."""

    def __init__(self, bucket: str | None, make_client: Callable[[], S3Client]) -> None:
        self._bucket = bucket
        self._make_client = make_client
        self._client: S3Client | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Payloads:
        """Read the bucket's name from the function's variables."""
        return cls(
            PAYLOAD_BUCKET.from_environment(environ),
            lambda: boto3.session.Session().client("s3", config=PATIENCE),
        )

    def resolve(self, invocation: Invocation, by_s: Callable[[], float]) -> Invocation | Verdict:
        """The invocation itself, or the one that it points to; a verdict if there is none.

        S3 must have answered at `by_s` on the monotonic clock, which may come nearer: a process
        killed mid-retry cannot report that nothing was started.
        """
        pointer = invocation.payload
        if pointer is None:
            return invocation
        if pointer.bucket != self._bucket:
            return rejected(self._foreign_reason(pointer.bucket))
        client = self._s3()
        began_s = time.monotonic()

        def give_up_at_s() -> float:
            return min(by_s(), began_s + FETCH_TIMEOUT_S)

        reason: object
        try:
            with time_limit.until(give_up_at_s):
                body = _fetch(client, pointer)
        except (BotoCoreError, ClientError, _FetchError) as e:
            reason = e
        except time_limit.OutOfTime:
            seconds = max(0.0, give_up_at_s() - began_s)
            reason = f"S3 did not answer within {seconds:.1f} s"
        else:
            if body is None:
                return duplicate(_NO_PAYLOAD)
            with suppress(time_limit.OutOfTime), time_limit.until(give_up_at_s):
                _delete(client, pointer.bucket, pointer.key)
            return _decoded(body, invocation)
        return rejected(f"the payload could not be read from the bucket {pointer.bucket}: {reason}")

    def forget_micro_vm(self, id: InvocationId) -> None:
        """Delete the object that names the MicroVM of an invocation, whose end has been reported.

        If S3 does not, the bucket's lifecycle will.
        """
        if self._bucket:
            ends_s = time.monotonic() + FORGET_TIMEOUT_S
            with suppress(time_limit.OutOfTime), time_limit.until(ends_s):
                _delete(self._s3(), self._bucket, micro_vm_key(id))

    def _s3(self) -> S3Client:
        if self._client is None:
            self._client = self._make_client()
        return self._client

    def _foreign_reason(self, bucket: str) -> str:
        own = f"only from {self._bucket}" if self._bucket else "from no bucket at all"
        return (
            f"the payload is in the bucket {bucket!r}, and this {host.name()} reads payloads "
            f"{own}: set {PAYLOAD_BUCKET.environment_variable} in its environment to the "
            "executor's payload_bucket, and let its role read and delete the objects (the "
            "execution stack does both)"
        )


def _fetch(client: S3Client, pointer: PayloadPointer) -> bytes | None:
    """Read the object; None if another start has taken it."""

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
    """Whether an error means that the object is missing.

    A role that may not list the bucket gets "AccessDenied" for a missing object. Deleting a missing
    object succeeds, and the function's role may both read and delete or neither.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    code = error_code(error)
    return code == "NoSuchKey" or (
        code == "AccessDenied" and _delete(client, pointer.bucket, pointer.key)
    )


def _delete(client: S3Client, bucket: str, key: str) -> bool:
    """Delete the object; returns whether S3 did. The bucket's lifecycle removes what remains."""
    try:
        client.delete_object(Bucket=bucket, Key=key)
    except (BotoCoreError, ClientError):
        return False
    return True


def _decoded(body: bytes, pointing: Invocation) -> Invocation | Verdict:
    try:
        resolved = Invocation.decode(json.loads(body))
    except (ValueError, RecursionError):
        return rejected("the payload is not JSON")
    except DecodeError as e:
        return rejected(f"the payload is not an invocation: {e}")
    if resolved.id != pointing.id or resolved.payload is not None:
        return rejected("the payload is not the one of this invocation")
    return resolved
