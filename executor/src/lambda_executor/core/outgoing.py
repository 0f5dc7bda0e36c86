"""A workload on its way to its target: it is routed and encoded on the sending threads."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lambda_executor.contract.errors import EncodeError, ExpiredError, TransientError
from lambda_executor.contract.numbers import finite
from lambda_executor.contract.token_lifetime import TASK_QUEUED_TIMEOUT, LifetimeOption
from lambda_executor.contract.wire import (
    MAX_INVOCATION_BYTES,
    MAX_PAYLOAD_BYTES,
    Invocation,
    InvocationId,
    PayloadPointer,
    payload_key,
)
from lambda_executor.core.dispatch import Envelope
from lambda_executor.core.ports import PayloadStore
from lambda_executor.core.routing import Routes, overrides
from lambda_executor.core.targets import JobTarget, Target

#: Seconds that a workload may wait whose token does not say when it expires: Lambda keeps no event
#: for longer either.
#: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-configuring.html
LONGEST_WAIT_S = 6 * 3600

_NO_BUCKET_FOR_JOB = (
    "a job ({}) fetches its invocation from the payload bucket, and no [lambda_executor] "
    "payload_bucket is set: set it (the execution stack makes a bucket and wires it)"
)
_NO_BUCKET_FOR_LARGE = (
    "the invocation is {} bytes, an event has at most "
    f"{MAX_INVOCATION_BYTES}, and no [lambda_executor] payload_bucket is set for larger ones: set "
    "it (the execution stack makes a bucket and wires it), or make executor_config smaller"
)


class Workload(Protocol):
    """The common part of Airflow's `ExecuteTask`, `ExecuteCallback` and `TestConnection`."""

    token: str

    def model_dump_json(self) -> str:
        """Return the workload as the task runtime reads it."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One workload on its way to its target.

    Attributes:
        id: The dispatch id.
        workload: Airflow's workload; it holds a token.
        queue: The task's Airflow queue; None for other workloads.
        executor_config: The task's `executor_config`.
        routes: The target for each Airflow queue.
        reply_to: URL of the results queue.
        queued_at_s: When the executor took it, in seconds since the epoch.
        payloads: Takes payloads of jobs, and payloads too large for one event; None: neither can
            be sent.
        lifetime_option: Airflow's option that says how long the token lives.
        priority: The higher it is, the sooner it leaves.
    """

    id: InvocationId
    workload: Workload = field(repr=False)
    queue: str | None
    executor_config: Mapping[str, Any] | None = field(repr=False)
    routes: Routes
    reply_to: str
    queued_at_s: float
    payloads: PayloadStore | None = None
    lifetime_option: LifetimeOption = TASK_QUEUED_TIMEOUT
    priority: float = 0

    def envelope(self) -> Envelope:
        """Route and encode the workload; a job's payload, or a too large one, is to be stored.

        Raises:
            RouteError: No target serves it, or it has overrides that are not its target's.
            EncodeError: It cannot be encoded.
            ExpiredError: It waited until its token expired, or for `LONGEST_WAIT_S`.
        """
        not_after_s = token_expiry_s(self.workload.token)
        now_s = time.time()
        waited_s = now_s - self.queued_at_s
        if not_after_s is not None and now_s >= not_after_s:
            raise ExpiredError(
                f"not sent: the workload's token ran out while it waited ({waited_s:.0f} s since "
                f"it was queued). Raise {self.lifetime_option}, or find out why it waits"
            )
        if not_after_s is None and waited_s >= LONGEST_WAIT_S:
            raise ExpiredError(f"not sent: it has waited for {waited_s:.0f} s since it was queued")
        invocation = Invocation.for_workload(
            self.id,
            self.workload.model_dump_json(),
            executor_config=self.executor_config,
            reply_to=self.reply_to,
            queued_at_s=self.queued_at_s,
            not_after_s=not_after_s,
        )
        target = self.target()
        changes = overrides(target, self.executor_config)
        payload = invocation.encode(MAX_PAYLOAD_BYTES)
        if isinstance(target, JobTarget):
            event, store = self._stored(invocation, payload, _NO_BUCKET_FOR_JOB.format(target))
            return Envelope(target, event, store, changes)
        if len(payload) <= MAX_INVOCATION_BYTES:
            return Envelope(target, payload)
        event, store = self._stored(invocation, payload, _NO_BUCKET_FOR_LARGE.format(len(payload)))
        return Envelope(target, event, store)

    def target(self) -> Target:
        """Return the target that the workload is sent to.

        Raises:
            RouteError: No target serves it.
        """
        return self.routes.target(self.queue, self.executor_config)

    def _stored(
        self, invocation: Invocation, payload: bytes, without_bucket: str
    ) -> tuple[bytes, Callable[[], None]]:
        """Return an event that points to its payload in the store, and what stores that.

        Every try stores it again: the handler may have deleted the payload of an earlier try.
        """
        store = self.payloads
        if store is None:
            raise EncodeError(without_bucket)
        pointer = PayloadPointer(store.bucket, payload_key(self.id), len(payload))

        def put() -> None:
            try:
                store.put(pointer.key, payload)
            except TransientError as error:
                # Whatever happened to the payload, the event was not sent, and its target can be
                # reached.
                raise TransientError(str(error), error.code) from error

        return invocation.pointing_to(pointer).encode(), put


def token_expiry_s(token: str) -> float | None:
    """When a workload's token expires, in seconds since the epoch; None if it does not say.

    Airflow's tokens are JWTs. The API server verifies them; this only reads the claim.
    """
    try:
        claims = token.split(".")[1]
        expiry = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]
    except (IndexError, KeyError, TypeError, ValueError, RecursionError):
        return None
    return finite(expiry)
