"""What the doctor says about targets of MicroVMs, against botocore's model."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lambda_executor.contract.token_lifetime import TASK_QUEUED_TIMEOUT
from lambda_executor.core.findings import Finding, Status
from lambda_executor.core.targets import JobTarget
from lambda_executor.ops.doctor.job_examination import JobExamination
from lambda_executor.setup.time_limits import TimeLimit
from tests.support.job_service import JobService
from tests.unit.executor.test_micro_vms import TARGET

BASE = "arn:aws:lambda:eu-west-1:aws:microvm-image:al2023-1"
HOOKS = {"port": 9000, "microvmHooks": {"run": "ENABLED"}}
VERSION = {
    "state": "SUCCESSFUL",
    "status": "ACTIVE",
    "hooks": HOOKS,
    "baseImageArn": BASE,
    "baseImageVersion": "3",
}
KEPT = [{"imageVersion": "2", "status": "DEPRECATED"}, {"imageVersion": "3", "status": "AVAILABLE"}]


@pytest.fixture
def service() -> JobService:
    """An account where the target can be used."""
    service = JobService()
    service.answer("GetMicrovmImage", state="UPDATED", latestActiveImageVersion="7")
    service.answer("GetMicrovmImageVersion", **VERSION)
    service.answer("ListManagedMicrovmImageVersions", items=KEPT)
    service.answer("ListMicrovms", items=[])
    return service


def examined(
    service: JobService, target: JobTarget = TARGET, limit_s: float = 7200
) -> list[Finding]:
    """The findings about a target."""
    limit = TimeLimit(TASK_QUEUED_TIMEOUT, limit_s)
    return list(JobExamination([target], service.clients(), lambda: limit).findings())


def bad(findings: list[Finding]) -> Finding:
    """The one finding that is not ok."""
    (found,) = [finding for finding in findings if finding.status is not Status.OK]
    return found


def test_a_target_that_can_be_used_is_ok(service: JobService) -> None:
    """Its rows name the target, its longest run and its role."""
    *findings, wait = examined(service, limit_s=600)
    subjects = ["MicroVM image", "base image", "jobs"]
    assert [finding.subject for finding in findings] == subjects
    # It does not wait for machines.
    assert (wait.subject, wait.status, wait.of) == ("longest wait", Status.OK, "")
    assert {(finding.status, finding.of) for finding in findings} == {(Status.OK, "microvm:vm")}
    assert findings[0].detail == (
        "version 7 of task is ACTIVE; its MicroVMs run for at most 3600 s, with the role "
        "arn:aws:iam::123456789012:role/task"
    )


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"status": "INACTIVE"}, "version 7 of task is SUCCESSFUL and INACTIVE"),
        ({"state": "FAILED", "stateReason": "no disk"}, "FAILED and ACTIVE: no disk"),
        ({"hooks": {"port": 9000}}, "the run hook of version 7 of task is DISABLED"),
        ({"hooks": {**HOOKS, "port": 80}}, "ENABLED, on port 80: .*on port 9000"),
    ],
)
def test_a_version_that_runs_no_workload_is_a_problem(changes: dict[str, Any], part: str) -> None:
    """What needs the image is not checked without it."""
    service = JobService()
    service.answer("GetMicrovmImage", state="UPDATED", latestActiveImageVersion="7")
    service.answer("GetMicrovmImageVersion", **{**VERSION, **changes})
    found = bad(examined(service))
    assert (found.subject, found.status) == ("MicroVM image", Status.PROBLEM)
    assert re.search(part, found.detail)
    assert found.fix


def test_an_image_that_was_never_built_is_a_problem() -> None:
    """Its state says why."""
    service = JobService()
    service.answer("GetMicrovmImage", state="CREATE_FAILED")
    assert "task is CREATE_FAILED and has no active version" in bad(examined(service)).detail


def test_an_image_that_is_not_there_is_a_problem() -> None:
    """The command lists what is there."""
    service = JobService()
    service.refuse("GetMicrovmImage", "ResourceNotFoundException", "no such image", 404)
    found = bad(examined(service))
    assert found.status is Status.PROBLEM
    assert found.command.startswith("aws lambda-microvms list-microvm-images")


@pytest.mark.parametrize(
    ("items", "part"),
    [
        ([{"imageVersion": "3", "status": "DEPRECATED"}], "version 3 of al2023-1 is DEPRECATED"),
        ([{"imageVersion": "4", "status": "AVAILABLE"}], "is not listed any more"),
    ],
)
def test_an_image_made_of_an_old_base_has_to_be_built_again(
    items: list[dict[str, str]], part: str
) -> None:
    """Before AWS lets the base expire, and MicroVMs cannot be run any more."""
    service = JobService()
    service.answer("GetMicrovmImage", state="CREATED", latestActiveImageVersion="7")
    service.answer("GetMicrovmImageVersion", **VERSION)
    service.answer("ListManagedMicrovmImageVersions", items=items)
    service.answer("ListMicrovms", items=[])
    found = bad(examined(service))
    assert (found.subject, found.status) == ("base image", Status.PROBLEM)
    assert part in found.detail
    assert "raise base_version of the target in the stage" in found.fix


def test_a_missing_permission_is_named() -> None:
    """It is a problem where the executor needs it, too."""
    service = JobService()
    service.answer("GetMicrovmImage", state="CREATED", latestActiveImageVersion="7")
    service.answer("GetMicrovmImageVersion", **VERSION)
    denied = ("AccessDeniedException", "not authorized", 403)
    service.refuse("ListManagedMicrovmImageVersions", *denied)
    service.refuse("ListMicrovms", *denied)
    base, jobs = (f for f in examined(service) if f.status is not Status.OK)
    assert (base.subject, base.status) == ("base image", Status.UNKNOWN)
    assert "lambda:ListManagedMicrovmImageVersions" in base.fix
    assert (jobs.subject, jobs.status) == ("jobs", Status.PROBLEM)
    assert "lambda:ListMicrovms" in jobs.fix
    assert "s3:GetObject for invocations/*.microvm" in jobs.fix
