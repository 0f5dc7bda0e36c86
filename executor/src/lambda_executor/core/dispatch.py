"""One invocation to send, and the outcome of its sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.targets import Target


@dataclass(frozen=True, slots=True)
class Envelope:
    """One payload and its target.

    Attributes:
        target: The function, or where the job is started.
        payload: The event; a job's always points to its payload.
        store: Stores the payload to which the event points, and waits for that; raises an
            `AwsError`. None: there is nothing to store.
        overrides: What the task changes in the request that starts its job; None for a function.
    """

    target: Target
    payload: bytes = field(repr=False)
    store: Callable[[], None] | None = field(default=None, repr=False)
    overrides: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One invocation to send.

    Attributes:
        id: Its dispatch id.
        prepare: Makes the envelope, on the sending thread, before each try; raises `EncodeError`,
            `RouteError`, or an `AwsError`, which counts like one of the send itself.
        wanted: Whether it is still to be sent; called before each try.
        key: The key of its workload, for the log.
        target_name: The function, or the job target, in which it needs room; empty: it needs none.
        priority: What leaves first when places are short: the highest.
    """

    id: InvocationId
    prepare: Callable[[], Envelope] = field(repr=False)
    wanted: Callable[[], bool] = field(default=lambda: True, repr=False)
    key: object = None
    target_name: str = ""
    priority: float = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome of an invocation that was taken."""

    id: InvocationId
    waited_s: float


@dataclass(frozen=True, slots=True)
class InDoubt:
    """The outcome of an invocation that may have been taken; `reason` is for the user.

    It is not sent again. Whether it was taken is left to a report or Airflow.
    """

    id: InvocationId
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The outcome of an invocation that was not taken; `reason` is for the user."""

    id: InvocationId
    reason: str


@dataclass(frozen=True, slots=True)
class Outlived:
    """The outcome of an invocation that waited for room, or its turn, until its token expired.

    It was not taken, and nothing was wrong with it; `reason` is for the user.
    """

    id: InvocationId
    reason: str


Outcome = Sent | InDoubt | Refused | Outlived
