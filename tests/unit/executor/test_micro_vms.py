"""What Lambda answers about MicroVMs, and what the launcher makes of it."""

from __future__ import annotations

import json
from typing import Any

import botocore.exceptions as botocore_errors
import pytest

from lambda_executor.aws import MicroVms
from lambda_executor.aws.micro_vm_ids import MISSING_S, MicroVmIds
from lambda_executor.aws.micro_vms import MOST_PAGES
from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    DeniedError,
    InDoubtError,
    NoRoomError,
    RejectedError,
    RouteError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from lambda_executor.contract.wire import InvocationId, micro_vm_key
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.engine.job_stops import JobStops, Stop
from tests.support.job_service import JobService

ID = InvocationId("0d4b3a7e-6a63-4b45-8f3d-3d0a7c0d6f10")
OTHER = InvocationId("1d4b3a7e-6a63-4b45-8f3d-3d0a7c0d6f11")
EVENT = b'{"task_key": "x"}'
IMAGE = "arn:aws:lambda:eu-west-1:123456789012:microvm-image:task"
TARGET = JobTarget(
    "vm",
    Service.MICROVM,
    json.dumps(
        {
            "imageIdentifier": IMAGE,
            "executionRoleArn": "arn:aws:iam::123456789012:role/task",
            "maximumDurationInSeconds": 3600,
        }
    ),
)


@pytest.fixture
def service() -> JobService:
    """Lambda and S3."""
    return JobService()


def launcher(service: JobService) -> MicroVms:
    """The launcher of one scheduler."""
    return MicroVms(service.clients(), "bucket")


def micro_vm(state: str = "RUNNING", id: str = "vm-1", **fields: Any) -> dict[str, Any]:
    """An answer of `GetMicrovm`."""
    return {
        "microvmId": id,
        "state": state,
        "startedAt": 1_800_000_000,
        "maximumDurationInSeconds": 3600,
        **fields,
    }


def listed(service: JobService, *micro_vms: dict[str, Any], next_token: str | None = None) -> None:
    """Answer the next `ListMicrovms`."""
    items = [{**micro_vm(), "imageArn": IMAGE, "imageVersion": "1", **each} for each in micro_vms]
    more = {"nextToken": next_token} if next_token else {}
    service.answer("ListMicrovms", items=items, **more)


KILLED = micro_vm("TERMINATED", stateReason="Container Stopped with Exit Code: 137")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ThrottlingException", 429, ThrottledError),
        ("InsufficientCapacityException", 500, NoRoomError),
        ("ServiceQuotaExceededException", 402, NoRoomError),
        ("ValidationException", 400, RejectedError),
        ("ResourceNotFoundException", 404, RejectedError),
        ("AccessDeniedException", 403, DeniedError),
        ("InternalServerException", 500, InDoubtError),
        ("ConflictException", 409, TransientError),
        ("ExpiredTokenException", 403, CredentialsError),
    ],
)
def test_an_error_says_whether_a_micro_vm_was_started(
    service: JobService, code: str, status: int, kind: type[AwsError]
) -> None:
    """The kind decides whether the call is repeated; a quota or capacity delays a task alone."""
    service.refuse("RunMicrovm", code, "said", status)
    with pytest.raises(AwsError, match="said") as error:
        launcher(service).launch(TARGET, ID, EVENT, {})
    assert type(error.value) is kind
    assert service.objects == {}


def test_a_conflict_about_the_token_is_about_an_earlier_call(service: JobService) -> None:
    """That one may start the MicroVM; any other conflict says that this call started nothing."""
    service.refuse("RunMicrovm", "ConflictException", "The client token is in use", 409)
    with pytest.raises(InDoubtError, match="token is in use"):
        launcher(service).launch(TARGET, ID, EVENT, {})


def test_a_refusal_names_the_target(service: JobService) -> None:
    """The person who wrote the task knows its name."""
    service.refuse("RunMicrovm", "ValidationException", "no such version")
    with pytest.raises(RejectedError, match=r"refused the MicroVM of target 'vm'.*no such version"):
        launcher(service).launch(TARGET, ID, EVENT, {})


def test_wrong_overrides_start_nothing(service: JobService) -> None:
    """Lambda is not even asked."""
    with pytest.raises(RouteError):
        launcher(service).launch(TARGET, ID, EVENT, {"clientToken": "x"})
    assert service.calls == []


@pytest.mark.parametrize(
    ("lost", "kind"),
    [
        (botocore_errors.ReadTimeoutError(endpoint_url="x"), InDoubtError),
        (botocore_errors.ConnectTimeoutError(endpoint_url="x"), UnreachableError),
    ],
)
def test_a_lost_answer_is_asked_for_again_with_the_same_token(
    service: JobService, lost: Exception, kind: type[AwsError]
) -> None:
    """Lambda then answers with the MicroVM that it started, which is watched."""
    started = launcher(service)
    service.lose("RunMicrovm", lost)
    with pytest.raises(kind):
        started.launch(TARGET, ID, EVENT, {})
    service.answer("RunMicrovm", microvmId="vm-1")
    started.launch(TARGET, ID, EVENT, {})
    first, second = service.of("RunMicrovm")
    assert first == second
    assert first["clientToken"] == ID
    listed(service, micro_vm())
    assert started.ended(TARGET, [ID]) == {}
    assert service.of("GetObject") == []


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "SUSPENDED", "TERMINATING"])
def test_a_micro_vm_that_is_not_terminated_has_not_ended(service: JobService, state: str) -> None:
    """While it is terminating, its result may still be on its way."""
    started = launcher(service)
    service.answer("RunMicrovm", microvmId="vm-1")
    started.launch(TARGET, ID, EVENT, {})
    listed(service, micro_vm(state))
    assert started.ended(TARGET, [ID]) == {}
    assert service.of("GetMicrovm") == []


def test_a_list_is_read_until_it_has_what_is_in_flight(service: JobService) -> None:
    """Only those that have ended, or are not in it, are asked for one by one: for the reason."""
    started = launcher(service)
    ids = [InvocationId(f"{number}{ID[1:]}") for number in range(3)]
    for number, id in enumerate(ids):
        service.answer("RunMicrovm", microvmId=f"vm-{number}")
        started.launch(TARGET, id, EVENT, {})
    listed(service, micro_vm(id="vm-0"), micro_vm(id="of another scheduler"), next_token="1")
    listed(service, micro_vm("TERMINATED", id="vm-1"), next_token="2")
    listed(service, micro_vm(id="vm-2"), next_token="3")
    service.answer("GetMicrovm", **{**KILLED, "microvmId": "vm-1"})
    assert set(started.ended(TARGET, ids)) == {ids[1]}
    assert len(service.of("ListMicrovms")) == 3
    assert len(service.of("GetMicrovm")) == 1


def test_a_list_without_an_end_is_not_read_for_ever(service: JobService) -> None:
    """What is not in so many pages is asked for."""
    started = launcher(service)
    service.answer("RunMicrovm", microvmId="vm-1")
    started.launch(TARGET, ID, EVENT, {})
    for number in range(MOST_PAGES + 1):
        listed(service, micro_vm(id=f"other-{number}"), next_token=str(number))
    service.answer("GetMicrovm", **KILLED)
    assert set(started.ended(TARGET, [ID])) == {ID}
    assert len(service.of("ListMicrovms")) == MOST_PAGES


def test_an_error_does_not_hide_the_ends_found_before_it(service: JobService) -> None:
    """The next look asks for the others."""
    started = launcher(service)
    for number, id in enumerate((ID, OTHER)):
        service.answer("RunMicrovm", microvmId=f"vm-{number}")
        started.launch(TARGET, id, EVENT, {})
    listed(service)
    service.answer("GetMicrovm", **{**KILLED, "microvmId": "vm-0"})
    service.refuse("GetMicrovm", "ThrottlingException", "Rate exceeded", 429)
    assert set(started.ended(TARGET, [ID, OTHER])) == {ID}


def test_a_micro_vm_that_lambda_does_not_know_is_left_alone(service: JobService) -> None:
    """It is eventually consistent: it may not show one that has just started."""
    started = launcher(service)
    for number, id in enumerate((ID, OTHER)):
        service.answer("RunMicrovm", microvmId=f"vm-{number}")
        started.launch(TARGET, id, EVENT, {})
    listed(service)
    service.refuse("GetMicrovm", "ResourceNotFoundException", "no such MicroVM", 404)
    service.answer("GetMicrovm", **{**KILLED, "microvmId": "vm-1"})
    assert set(started.ended(TARGET, [ID, OTHER])) == {OTHER}


@pytest.mark.parametrize("operation", ["ListMicrovms", "GetMicrovm"])
def test_lambda_that_does_not_answer_is_an_error(service: JobService, operation: str) -> None:
    """And no end."""
    started = launcher(service)
    service.answer("RunMicrovm", microvmId="vm-1")
    started.launch(TARGET, ID, EVENT, {})
    service.refuse(operation, "ThrottlingException", "Rate exceeded", 429)
    listed(service)
    with pytest.raises(ThrottledError):
        started.ended(TARGET, [ID])


def test_a_micro_vm_of_another_scheduler_is_found(service: JobService) -> None:
    """By what that one has stored beside the payload, which does not give the dispatch id away."""
    service.answer("RunMicrovm", microvmId="vm-1")
    launcher(service).launch(TARGET, ID, EVENT, {})
    ((path, stored),) = service.objects.items()
    assert path.endswith(micro_vm_key(ID))
    assert micro_vm_key(ID).startswith("invocations/")
    assert ID not in path
    assert stored == b"vm-1"
    adopter = launcher(service)
    listed(service, KILLED)
    service.answer("GetMicrovm", **KILLED)
    for _ in range(2):
        assert "MicroVM vm-1" in adopter.ended(TARGET, [ID])[ID]
    assert len(service.of("GetObject")) == 1
    service.answer("TerminateMicrovm")
    assert launcher(service).stop(TARGET, ID, "revoked")
    (stop,) = service.of("TerminateMicrovm")
    assert stop["path"].endswith("/microvms/vm-1")


def test_an_id_that_cannot_be_stored_fails_no_launch(
    service: JobService, caplog: pytest.LogCaptureFixture
) -> None:
    """The scheduler that started the MicroVM watches it all the same."""
    started = launcher(service)
    service.answer("RunMicrovm", microvmId="vm-1")
    service.refuse("PutObject", "AccessDenied", "denied", 403)
    started.launch(TARGET, ID, EVENT, {})
    assert "The id of MicroVM vm-1 was not stored in the bucket bucket" in caplog.text
    listed(service, KILLED)
    service.answer("GetMicrovm", **KILLED)
    assert set(started.ended(TARGET, [ID])) == {ID}


def test_what_was_never_stored_is_not_asked_for_in_each_look(
    service: JobService, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked for again minutes later; the log names the permission that may be missing.

    It is no warning: most often the MicroVM has ended well, and has deleted its id.
    """
    caplog.set_level("INFO")
    now_s = 0.0
    ids = MicroVmIds(service.clients(), "bucket", clock=lambda: now_s)
    for _ in range(10):
        assert ids.find(ID) == []
        now_s += MISSING_S / 10 - 1
    assert len(service.of("GetObject")) == 1
    assert "it has reported that already" in caplog.text
    assert "s3:GetObject" in caplog.text
    assert not any(record.levelname == "WARNING" for record in caplog.records)
    now_s = MISSING_S + 1
    ids.store(ID, "vm-1")
    assert ids.find(ID) == ["vm-1"]


def test_s3_that_does_not_answer_is_an_error(service: JobService) -> None:
    """The next look asks again."""
    service.lose("GetObject", botocore_errors.ConnectTimeoutError(endpoint_url="x"))
    with pytest.raises(UnreachableError):
        launcher(service).ended(TARGET, [ID])


def test_to_stop_what_never_was_is_no_error(service: JobService) -> None:
    """The caller is told, because it may only not be known yet."""
    assert not launcher(service).stop(TARGET, ID, "revoked")


@pytest.mark.parametrize(
    ("code", "is_error"), [("ResourceNotFoundException", False), ("AccessDeniedException", True)]
)
def test_to_stop_a_forgotten_micro_vm_is_no_error(
    service: JobService, code: str, *, is_error: bool
) -> None:
    """Whatever else Lambda refuses is one, so that none runs on unseen."""
    started = launcher(service)
    service.answer("RunMicrovm", microvmId="vm-1")
    started.launch(TARGET, ID, EVENT, {})
    service.refuse("TerminateMicrovm", code, "said", 403)
    if is_error:
        with pytest.raises(RejectedError, match="said"):
            started.stop(TARGET, ID, "revoked")
    else:
        assert not started.stop(TARGET, ID, "revoked")


def test_a_micro_vm_that_cannot_be_stopped_yet_is_stopped_later(
    service: JobService, caplog: pytest.LogCaptureFixture
) -> None:
    """Lambda refuses it while it starts; it would run on for hours."""
    now_s = 0.0
    started = launcher(service)
    stops = JobStops(started, clock=lambda: now_s)
    service.answer("RunMicrovm", microvmId="vm-1")
    started.launch(TARGET, ID, EVENT, {})
    service.refuse("TerminateMicrovm", "ConflictException", "it is PENDING", 409)
    service.answer("TerminateMicrovm")
    stops.add(Stop(TARGET, ID, "revoked", due_s=0))
    stops.make_next()
    assert len(stops) == 1
    now_s = stops.next_s()
    stops.make_next()
    assert len(stops) == 0
    assert len(service.of("TerminateMicrovm")) == 2
    assert not any(record.levelname == "ERROR" for record in caplog.records)
