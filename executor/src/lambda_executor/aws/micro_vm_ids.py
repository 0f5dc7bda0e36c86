"""The ids of MicroVMs, by the dispatch ids of their invocations, in the payload bucket.

A MicroVM has neither a name nor tags, so its service cannot be asked for the one of an invocation.
Each id is a small object beside the invocation's payload. The MicroVM deletes it once it has
reported its end; the bucket's lifecycle removes what is left.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from lambda_executor.aws.clients import Clients
from lambda_executor.aws.remembered import Remembered
from lambda_executor.contract.errors import AwsError, RejectedError
from lambda_executor.contract.wire import InvocationId, micro_vm_key

log = logging.getLogger(__name__)

#: Seconds after which an id that was not there is looked for again. The scheduler that started the
#: MicroVM stores it at once, or never, and the MicroVM deletes it at its end.
MISSING_S = 300.0


class MicroVmIds:
    """The ids that all schedulers of one stage share. Safe on any thread.

    Args:
        clients: The clients.
        bucket: The payload bucket.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self, clients: Clients, bucket: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clients = clients
        self._bucket = bucket
        self._clock = clock
        self._missing_until_s: Remembered[float] = Remembered()

    def store(self, id: InvocationId, micro_vm_id: str) -> None:
        """Store the id of a MicroVM for other schedulers; a failure is logged.

        Only a scheduler that adopts the invocation needs it.
        """
        try:
            with self._clients.errors():
                self._clients.s3.put_object(
                    Bucket=self._bucket,
                    Key=micro_vm_key(id),
                    Body=micro_vm_id.encode(),
                    ContentType="text/plain",
                )
        except AwsError as e:
            log.warning(
                "The id of MicroVM %s was not stored in the bucket %s, so that no other scheduler "
                "can find or end it: %s",
                micro_vm_id,
                self._bucket,
                e,
            )

    def find(self, id: InvocationId) -> list[str]:
        """Return the id of an invocation's MicroVM, or nothing if there is none.

        Raises:
            AwsError: S3 does not answer.
        """
        if self._clock() < self._missing_until_s.get(id, 0.0):
            return []
        try:
            with self._clients.errors():
                answer = self._clients.s3.get_object(Bucket=self._bucket, Key=micro_vm_key(id))
                return [answer["Body"].read().decode(errors="replace")]
        except RejectedError as e:
            # Without s3:ListBucket, S3 says of what is not there that it may not be read.
            # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
            log.info(
                "The MicroVM of an adopted invocation is not known, and cannot be asked for its "
                "end: it has reported that already, or no scheduler has stored its id in the "
                "bucket %s, or s3:GetObject is not allowed: %s",
                self._bucket,
                e,
            )
            self._missing_until_s.put(id, self._clock() + MISSING_S)
            return []
