"""The S3 bucket through which invocations travel that are too large for one event."""

from __future__ import annotations

from lambda_executor.aws.clients import Clients
from lambda_executor.contract.errors import AwsError


class S3Payloads:
    """Puts payloads into one bucket; a `ports.PayloadStore`.

    The bucket encrypts, as every bucket does by itself, and deletes what nobody fetched; with
    which key and when is its owner's to say.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/default-bucket-encryption.html
    """

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket

    @property
    def bucket(self) -> str:
        """Its name."""
        return self._bucket

    def put(self, key: str, payload: bytes) -> None:
        """Keep one payload under a key, in the place of an earlier one."""
        try:
            with self._clients.errors():
                self._clients.s3.put_object(
                    Bucket=self._bucket, Key=key, Body=payload, ContentType="application/json"
                )
        except AwsError as e:
            raise e.about(
                f"the payload was not taken by [lambda_executor] payload_bucket, {self._bucket!r}"
            ) from e
