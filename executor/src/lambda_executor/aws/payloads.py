"""The S3 bucket for invocations that are too large for one event."""

from __future__ import annotations

from lambda_executor.aws.clients import Clients
from lambda_executor.contract.errors import AwsError


class S3Payloads:
    """Uploads payloads to one bucket; implements `ports.PayloadStore`.

    The bucket's owner configures its encryption, and the expiry of payloads that nobody fetched.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/default-bucket-encryption.html
    """

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._bucket

    def put(self, key: str, payload: bytes) -> None:
        """Store one payload under a key, replacing an earlier one."""
        try:
            with self._clients.errors():
                self._clients.s3.put_object(
                    Bucket=self._bucket, Key=key, Body=payload, ContentType="application/json"
                )
        except AwsError as e:
            raise e.about(
                f"the payload was not taken by [lambda_executor] payload_bucket, {self._bucket!r}"
            ) from e
