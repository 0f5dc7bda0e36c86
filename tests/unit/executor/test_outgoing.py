"""What is sent for a workload: one event, or one that points to a payload that went ahead."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from lambda_executor.contract.errors import EncodeError, ExpiredError, RejectedError, RouteError
from lambda_executor.contract.wire import (
    MAX_INVOCATION_BYTES,
    MAX_PAYLOAD_BYTES,
    Invocation,
    InvocationId,
    payload_key,
)
from lambda_executor.core.dispatch import Envelope
from lambda_executor.core.outgoing import LONGEST_WAIT_S, Outgoing
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service
from lambda_executor.testing import MemoryPayloads

ID = InvocationId("0198c9d2-7d0e-7a53-9f6e-3f5d0c1b2a49")
LATE_S = 9_999_999_999
CLAIMS = base64.urlsafe_b64encode(json.dumps({"exp": LATE_S}).encode()).decode().rstrip("=")
LONG = JobTarget("long", Service.BATCH, "{}")
LARGE = {"notes": "x" * (2 * MAX_INVOCATION_BYTES)}


@dataclass
class Workload:
    """As much of Airflow's as is read."""

    token: str = f"x.{CLAIMS}.y"

    def model_dump_json(self) -> str:
        """A task without its executor_config, as Airflow writes it."""
        return json.dumps({"type": "ExecuteTask", "token": self.token})


def enveloped(outgoing: Outgoing) -> Envelope:
    """The envelope, its payload stored."""
    envelope = outgoing.envelope()
    if envelope.store:
        envelope.store()
    return envelope


@dataclass
class World:
    """One workload, and the store that it may go through."""

    executor_config: dict[str, Any] = field(default_factory=dict)
    payloads: MemoryPayloads | None = field(default_factory=MemoryPayloads)
    queue: str = "default"

    def outgoing(self, id: InvocationId = ID) -> Outgoing:
        """The workload under one dispatch id."""
        return Outgoing(
            id,
            Workload(),
            queue=self.queue,
            executor_config=self.executor_config,
            routes=Routes(
                FunctionTarget("function"),
                by_queue={"large": FunctionTarget("large")},
                jobs={"long": LONG},
            ),
            reply_to="https://sqs/results",
            queued_at_s=1764000000.25,
            payloads=self.payloads,
        )

    def event(self) -> Invocation:
        """What the handler gets."""
        return Invocation.decode(json.loads(self.outgoing().envelope().payload))


def test_what_fits_travels_in_the_event() -> None:
    """Up to Lambda's limit nothing is stored."""
    world = World({"memory": "large"})
    event = world.event()
    assert (event.executor_config, event.payload) == ({"memory": "large"}, None)
    assert world.payloads
    assert world.payloads.objects == {}


def test_what_is_too_large_goes_ahead_and_the_event_points_to_it() -> None:
    """The object holds the whole; the event all that is needed to report, reject and look."""
    world = World(LARGE)
    sent = enveloped(world.outgoing())
    event = Invocation.decode(json.loads(sent.payload))
    assert len(sent.payload) < 2000
    assert world.payloads
    ((key, payload),) = world.payloads.objects.items()
    assert event.payload
    assert (event.payload.bucket, event.payload.key, event.payload.size_bytes) == (
        "memory",
        key,
        len(payload),
    )
    whole = Invocation.decode(json.loads(payload))
    assert (whole.executor_config, whole.payload) == (LARGE, None)
    assert json.loads(whole.workload_json)["token"] == Workload().token
    for one in (whole, event):
        assert one.id == ID
        assert (one.reply_to, one.queued_at_s, one.not_after_s) == (
            "https://sqs/results",
            1764000000.25,
            LATE_S,
        )
    assert b"token" not in sent.payload


def test_every_try_of_a_dispatch_uses_one_object() -> None:
    """Tries overwrite each other, two dispatches do not; the key does not tell the id."""
    world = World(LARGE)
    enveloped(world.outgoing())
    enveloped(world.outgoing())
    enveloped(world.outgoing(InvocationId("another")))
    assert world.payloads
    assert set(world.payloads.objects) == {payload_key(ID), payload_key(InvocationId("another"))}
    assert ID not in payload_key(ID)


def test_without_a_bucket_the_error_says_what_to_do() -> None:
    """Size, limit, and both ways out are named."""
    with pytest.raises(EncodeError, match=r"is 2\d{6} bytes, an event has at most 1044480") as e:
        World(LARGE, payloads=None).outgoing().envelope()
    assert "payload_bucket is set for larger ones: set it" in str(e.value)
    assert "make executor_config smaller" in str(e.value)


def test_there_is_a_limit_with_a_bucket_too() -> None:
    """What the handler would refuse is not stored."""
    world = World({"notes": "x" * MAX_PAYLOAD_BYTES})
    with pytest.raises(EncodeError, match=f"allowed are at most {MAX_PAYLOAD_BYTES}"):
        world.outgoing().envelope()
    assert world.payloads
    assert world.payloads.objects == {}


@pytest.mark.parametrize("token", ["", "opaque"])
def test_a_workload_whose_token_does_not_expire_does_not_wait_for_ever(token: str) -> None:
    """It waits for as long as Lambda would keep its event, six hours."""
    outgoing = dataclasses.replace(World().outgoing(), workload=Workload(token))
    now_s = time.time()
    dataclasses.replace(outgoing, queued_at_s=now_s - LONGEST_WAIT_S + 60).envelope()
    with pytest.raises(ExpiredError, match=r"not sent: it has waited for 21\d\d\d s"):
        dataclasses.replace(outgoing, queued_at_s=now_s - LONGEST_WAIT_S).envelope()


def test_what_no_function_serves_is_not_stored() -> None:
    """The route is looked for first."""
    world = World(LARGE, queue="unknown")
    with pytest.raises(RouteError):
        world.outgoing().envelope()
    assert world.payloads
    assert world.payloads.objects == {}


def test_an_error_of_the_store_stays_what_it_is() -> None:
    """Whoever sends judges it like one of the send itself."""
    world = World(LARGE)
    assert world.payloads
    error = RejectedError("no such bucket")
    world.payloads.failures.append(error)
    with pytest.raises(RejectedError) as raised:
        enveloped(world.outgoing())
    assert raised.value is error


def test_the_event_of_a_job_always_points_to_its_payload_and_holds_no_secret() -> None:
    """Whoever may describe jobs reads it; the payload bucket has the token."""
    overrides = {"containerOverrides": {"vcpus": 2}}
    world = World({"batch": overrides}, queue="long")
    sent = enveloped(world.outgoing())
    event = Invocation.decode(json.loads(sent.payload))
    assert (sent.target, sent.overrides) == (LONG, overrides)
    assert event.payload
    assert event.payload.key == payload_key(ID)
    assert (event.id, event.reply_to, event.not_after_s) == (ID, "https://sqs/results", LATE_S)
    assert Workload().token.encode() not in sent.payload
    assert world.payloads
    whole = Invocation.decode(json.loads(world.payloads.objects[payload_key(ID)]))
    assert json.loads(whole.workload_json)["token"] == Workload().token


def test_every_try_of_a_job_sends_the_same_event() -> None:
    """ECS refuses a client token that comes again with another request."""
    outgoing = World(queue="long").outgoing()
    assert outgoing.envelope().payload == outgoing.envelope().payload


def test_a_job_without_a_payload_bucket_is_refused_with_the_fix() -> None:
    """Its event cannot carry the payload, however small that is."""
    with pytest.raises(EncodeError, match=r"a job \(batch:long\) .* payload_bucket is set: set it"):
        World(payloads=None, queue="long").outgoing().envelope()


def test_overrides_of_another_service_are_refused_before_anything_is_stored() -> None:
    """The function has no use for them either."""
    for queue, key in (("long", "ecs"), ("large", "batch")):
        world = World({key: {}}, queue=queue)
        with pytest.raises(RouteError, match="remove it"):
            world.outgoing().envelope()
        assert world.payloads
        assert world.payloads.objects == {}
