"""What Batch and ECS answer, and what the launchers make of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import botocore.exceptions as botocore_errors
import pytest

from lambda_executor.aws import BatchJobs, EcsTasks
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
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.targets import JobTarget, Service
from tests.support.job_service import JobService

ID = InvocationId("0d4b3a7e-6a63-4b45-8f3d-3d0a7c0d6f10")
OTHER = InvocationId("1d4b3a7e-6a63-4b45-8f3d-3d0a7c0d6f11")
EVENT = b'{"task_key": "x"}'
BATCH = JobTarget("long", Service.BATCH, '{"jobQueue": "q", "jobDefinition": "d"}')
ECS = JobTarget("huge", Service.ECS, '{"cluster": "c", "taskDefinition": "d"}', "task")
ARN = "arn:aws:ecs:eu-west-1:123456789012:task/c/0123"
LOST = botocore_errors.ReadTimeoutError(endpoint_url="x")


@pytest.fixture
def service() -> JobService:
    """Batch and ECS."""
    return JobService()


def batch(service: JobService) -> BatchJobs:
    """A launcher on it."""
    return BatchJobs(service.clients())


def start(service: JobService, launcher: BatchJobs, ids: Iterable[InvocationId]) -> None:
    """Start a job of Batch for each invocation; its id there is the dispatch id, too."""
    for id in ids:
        service.answer("SubmitJob", jobId=id, jobName=id)
        launcher.launch(BATCH, id, EVENT, {})


def ecs(service: JobService) -> EcsTasks:
    """A launcher on it."""
    return EcsTasks(service.clients())


def jobs(*jobs: dict[str, Any]) -> dict[str, Any]:
    """An answer of `DescribeJobs`."""
    return {"jobs": [{"jobName": "n", "jobQueue": "q", "startedAt": 0, **job} for job in jobs]}


def listed(*job_ids: str) -> dict[str, Any]:
    """An answer of `ListJobs`."""
    return {"jobSummaryList": [{"jobId": job_id, "jobName": ID} for job_id in job_ids]}


# ---- Batch ----


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("TooManyRequestsException", 429, ThrottledError),
        ("ThrottlingException", 400, ThrottledError),
        ("ClientException", 400, RejectedError),
        ("AccessDeniedException", 403, DeniedError),
        ("ServerException", 500, InDoubtError),
        ("ExpiredTokenException", 403, CredentialsError),
    ],
)
def test_an_error_of_batch_says_whether_a_job_was_made(
    service: JobService, code: str, status: int, kind: type[AwsError]
) -> None:
    """The kind decides whether the submit is repeated."""
    service.refuse("SubmitJob", code, "said", status)
    with pytest.raises(AwsError, match="said") as error:
        batch(service).launch(BATCH, ID, EVENT, {})
    assert type(error.value) is kind


def test_a_refusal_of_batch_names_the_target(service: JobService) -> None:
    """The person who wrote the task knows the target's name, and not that of the job queue."""
    service.refuse("SubmitJob", "ClientException", "Job queue q is disabled")
    with pytest.raises(RejectedError, match=r"target 'long'.*Job queue q is disabled"):
        batch(service).launch(BATCH, ID, EVENT, {})


def test_wrong_overrides_start_nothing(service: JobService) -> None:
    """Batch is not even asked."""
    with pytest.raises(RouteError):
        batch(service).launch(BATCH, ID, EVENT, {"jobQueue": "other"})
    assert service.calls == []


def test_after_a_submit_in_doubt_the_job_is_looked_for(service: JobService) -> None:
    """Batch would take a second job of the same name; one that is there is not submitted again."""
    launcher = batch(service)
    service.lose("SubmitJob", LOST)
    with pytest.raises(InDoubtError):
        launcher.launch(BATCH, ID, EVENT, {})
    service.answer("ListJobs", **listed("j1"))
    launcher.launch(BATCH, ID, EVENT, {})
    assert len(service.of("SubmitJob")) == 1
    filters = [{"name": "JOB_NAME", "values": [ID]}]
    assert service.of("ListJobs") == [{"jobQueue": "q", "filters": filters}]


def test_a_submit_in_doubt_that_made_no_job_is_repeated(service: JobService) -> None:
    """The invocation is not lost."""
    launcher = batch(service)
    service.refuse("SubmitJob", "ServerException", "said", 500)
    with pytest.raises(InDoubtError):
        launcher.launch(BATCH, ID, EVENT, {})
    service.answer("ListJobs", **listed())
    service.answer("SubmitJob", jobId="j2", jobName=ID)
    launcher.launch(BATCH, ID, EVENT, {})
    assert len(service.of("SubmitJob")) == 2


def test_a_look_without_an_answer_is_no_submit_in_doubt(service: JobService) -> None:
    """The doubts of one invocation are counted, and this adds none."""
    launcher = batch(service)
    service.lose("SubmitJob", LOST)
    with pytest.raises(InDoubtError):
        launcher.launch(BATCH, ID, EVENT, {})
    service.refuse("ListJobs", "ServerException", "said", 500)
    with pytest.raises(TransientError) as error:
        launcher.launch(BATCH, ID, EVENT, {})
    assert type(error.value) is TransientError


def test_two_jobs_of_one_invocation_have_ended_when_both_have(service: JobService) -> None:
    """The second of them was refused by Airflow, while the first runs the task."""
    launcher = batch(service)
    service.answer("ListJobs", **listed("j1", "j2"))
    failed = {"jobId": "j2", "status": "FAILED"}
    service.answer("DescribeJobs", **jobs({"jobId": "j1", "status": "RUNNING"}, failed))
    service.answer("DescribeJobs", **jobs({"jobId": "j1", "status": "SUCCEEDED"}, failed))
    assert launcher.ended(BATCH, [ID]) == {}
    assert set(launcher.ended(BATCH, [ID])) == {ID}


@pytest.mark.parametrize("status", ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"])
def test_a_job_that_waits_or_runs_has_not_ended(service: JobService, status: str) -> None:
    """It is left out, like one that Batch does not know."""
    service.answer("ListJobs", **listed("j1"))
    service.answer("ListJobs", **listed())
    service.answer("DescribeJobs", **jobs({"jobId": "j1", "status": status}))
    assert batch(service).ended(BATCH, [ID, OTHER]) == {}


def test_a_job_that_was_submitted_here_is_not_looked_for(service: JobService) -> None:
    """Its id is remembered; one call describes a hundred."""
    launcher = batch(service)
    ids = [InvocationId(f"{n:036}") for n in range(150)]
    for id in ids:
        service.answer("SubmitJob", jobId=f"job-{id}", jobName=id)
        launcher.launch(BATCH, id, EVENT, {})
    service.answer("DescribeJobs", **jobs({"jobId": f"job-{ids[0]}", "status": "FAILED"}))
    service.answer("DescribeJobs", **jobs())
    assert set(launcher.ended(BATCH, ids)) == {ids[0]}
    assert service.of("ListJobs") == []
    assert [len(call["jobs"]) for call in service.of("DescribeJobs")] == [100, 50]


def test_known_jobs_are_described_when_others_cannot_be_looked_for(service: JobService) -> None:
    """One call that fails does not hide the ends of all the others."""
    launcher = batch(service)
    start(service, launcher, [ID])
    service.refuse("ListJobs", "TooManyRequestsException", "Rate exceeded", 429)
    service.answer("DescribeJobs", **jobs({"jobId": ID, "status": "FAILED"}))
    assert set(launcher.ended(BATCH, [OTHER, ID])) == {ID}
    with pytest.raises(ThrottledError):
        launcher.ended(BATCH, [OTHER])


def test_a_look_that_is_throttled_keeps_what_it_has_found(service: JobService) -> None:
    """The next look begins where it ended, and an end that was found counts in each look."""
    launcher = batch(service)
    ids = [InvocationId(f"{n:036}") for n in range(250)]
    start(service, launcher, ids)
    first, second, third = ids[:100], ids[100:200], ids[200:]
    service.answer("DescribeJobs", **jobs({"jobId": first[0], "status": "FAILED"}))
    service.answer("DescribeJobs", **jobs({"jobId": second[0], "status": "FAILED"}))
    service.refuse("DescribeJobs", "TooManyRequestsException", "Rate exceeded", 429)
    assert set(launcher.ended(BATCH, ids)) == {first[0], second[0]}
    service.answer("DescribeJobs", **jobs({"jobId": third[0], "status": "FAILED"}))
    service.refuse("DescribeJobs", "TooManyRequestsException", "Rate exceeded", 429)
    assert set(launcher.ended(BATCH, ids)) == {first[0], second[0], third[0]}
    asked = [call["jobs"] for call in service.of("DescribeJobs")]
    assert asked[2] == third
    assert asked[3] == third + first[1:51]
    assert asked[4] == first[51:] + second[1:52]


def test_a_look_without_any_answer_is_an_error(service: JobService) -> None:
    """So that it is no look in which nothing had ended."""
    launcher = batch(service)
    start(service, launcher, [ID])
    service.refuse("DescribeJobs", "TooManyRequestsException", "Rate exceeded", 429)
    with pytest.raises(ThrottledError):
        launcher.ended(BATCH, [ID])


def test_of_two_jobs_one_that_was_not_described_may_run(service: JobService) -> None:
    """The end of the other one is not yet the invocation's."""
    launcher = batch(service)
    others = [InvocationId(f"{n:036}") for n in range(99)]
    start(service, launcher, others)
    service.answer("ListJobs", **listed("j1", "j2"))
    service.answer("DescribeJobs", **jobs({"jobId": "j1", "status": "FAILED"}))
    service.refuse("DescribeJobs", "TooManyRequestsException", "Rate exceeded", 429)
    service.answer("DescribeJobs", **jobs({"jobId": "j2", "status": "FAILED"}))
    assert launcher.ended(BATCH, [*others, ID]) == {}
    assert service.of("DescribeJobs")[1]["jobs"] == ["j2"]
    assert set(launcher.ended(BATCH, [*others, ID])) == {ID}


def test_one_look_looks_for_some_jobs_and_the_next_for_others(service: JobService) -> None:
    """After many were adopted a look stays short, and none is left out for ever."""
    launcher = batch(service)
    ids = [InvocationId(f"{n:036}") for n in range(250)]
    service.answer("ListJobs", **listed())
    looked_for = []
    for _ in range(2):
        before = len(service.calls)
        assert launcher.ended(BATCH, ids) == {}
        looked_for.append([c["filters"][0]["values"][0] for _, c in service.calls[before:]])
    first, second = looked_for
    assert len(first) == len(second) == 200
    assert set(second[:50]) == set(ids) - set(first)
    assert second[50:] == first[:150]


def test_a_job_of_another_scheduler_is_terminated_with_the_reason(service: JobService) -> None:
    """It is found by the dispatch id; the reason is cut to what Batch takes."""
    service.answer("ListJobs", **listed("j1"))
    service.answer("TerminateJob")
    assert batch(service).stop(BATCH, ID, "x" * 5000)
    assert service.of("TerminateJob") == [{"jobId": "j1", "reason": "x" * 1024}]


def test_to_stop_a_job_that_never_was_is_no_error(service: JobService) -> None:
    """Nothing is terminated, and the caller is told: Batch may show the job later."""
    service.answer("ListJobs", **listed())
    assert not batch(service).stop(BATCH, ID, "revoked")
    assert service.of("TerminateJob") == []


# ---- ECS ----


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("ThrottlingException", "Rate exceeded", ThrottledError),
        ("ClientException", "a capacity error: too many tasks in PROVISIONING", NoRoomError),
        (
            "InvalidParameterException",
            "Error retrieving security group information: (ErrorCode: RequestLimitExceeded)",
            ThrottledError,
        ),
        ("ClusterNotFoundException", "Cluster not found.", RejectedError),
        (
            "InvalidParameterException",
            "No Container Instances were found in your cluster.",
            NoRoomError,
        ),
        ("AccessDeniedException", "not authorized to perform: iam:PassRole", DeniedError),
        ("BlockedException", "blocked", RejectedError),
    ],
)
def test_an_error_of_ecs_says_whether_the_task_may_be_taken_later(
    service: JobService, code: str, message: str, kind: type[AwsError]
) -> None:
    """The code alone does not: ECS has the same one for a mistake and for a quota."""
    service.refuse("RunTask", code, message)
    with pytest.raises(AwsError) as error:
        ecs(service).launch(ECS, ID, EVENT, {})
    assert type(error.value) is kind
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("RESOURCE:MEMORY", NoRoomError),
        ("RESOURCE:ENI", NoRoomError),
        ("AGENT", NoRoomError),
        ("Capacity is unavailable at this time. Please try again later", NoRoomError),
        ("You've reached the limit on the number of vCPUs you can run concurrently", NoRoomError),
        ("ATTRIBUTE", RejectedError),
        ("INACTIVE", RejectedError),
        ("MemberOf placement constraint unsatisfied.", RejectedError),
    ],
)
def test_an_answer_without_a_task_says_why(
    service: JobService, reason: str, kind: type[AwsError]
) -> None:
    """ECS answers 200 and places nothing: what has no room now may have it later.

    It delays the task alone, as a throttle would not: a smaller one may have room.
    """
    failure = {"arn": "i", "reason": reason, "detail": "said"}
    service.answer("RunTask", tasks=[], failures=[failure])
    with pytest.raises(AwsError, match=f"{reason}.*said") as error:
        ecs(service).launch(ECS, ID, EVENT, {})
    assert type(error.value) is kind


def test_a_token_that_is_taken_means_that_the_task_was_started(service: JobService) -> None:
    """The token is the dispatch id, which nobody else has."""
    service.refuse("RunTask", "ConflictException", "token in use")
    ecs(service).launch(ECS, ID, EVENT, {})


@pytest.mark.parametrize(
    ("lost", "kind"),
    [
        (LOST, InDoubtError),
        (botocore_errors.ConnectTimeoutError(endpoint_url="x"), UnreachableError),
    ],
)
def test_a_lost_answer_of_ecs_is_asked_for_again_with_the_same_token(
    service: JobService, lost: Exception, kind: type[AwsError]
) -> None:
    """ECS then answers with the task that it started."""
    launcher = ecs(service)
    service.lose("RunTask", lost)
    with pytest.raises(kind):
        launcher.launch(ECS, ID, EVENT, {})
    service.answer("RunTask", tasks=[{"taskArn": ARN}], failures=[])
    launcher.launch(ECS, ID, EVENT, {})
    first, second = service.of("RunTask")
    assert first == second
    assert first["clientToken"] == first["startedBy"] == ID
    service.answer("DescribeTasks", tasks=[{"taskArn": ARN, "lastStatus": "RUNNING"}], failures=[])
    assert launcher.ended(ECS, [ID]) == {}
    assert service.of("ListTasks") == []


def test_after_an_answer_without_a_task_the_token_is_another(service: JobService) -> None:
    """The token of that answer may be used up; while a start is in doubt, it stays the same."""
    launcher = ecs(service)
    service.answer("RunTask", tasks=[], failures=[{"reason": "RESOURCE:MEMORY"}])
    service.answer("RunTask", tasks=[], failures=[{"reason": "AGENT"}])
    service.lose("RunTask", LOST)
    service.answer("RunTask", tasks=[{"taskArn": ARN}], failures=[])
    for kind in (NoRoomError, NoRoomError, InDoubtError):
        with pytest.raises(kind):
            launcher.launch(ECS, ID, EVENT, {})
    launcher.launch(ECS, ID, EVENT, {})
    tokens = [call["clientToken"] for call in service.of("RunTask")]
    assert tokens == [ID, f"{ID}-1", f"{ID}-2", f"{ID}-2"]
    assert {call["startedBy"] for call in service.of("RunTask")} == {ID}


def test_a_later_token_of_a_long_id_fits(service: JobService) -> None:
    """ECS takes 64 characters."""
    launcher, long_id = ecs(service), InvocationId("x" * 64)
    service.answer("RunTask", tasks=[], failures=[{"reason": "AGENT"}])
    for _ in range(2):
        with pytest.raises(NoRoomError):
            launcher.launch(ECS, long_id, EVENT, {})
    first, second = (call["clientToken"] for call in service.of("RunTask"))
    assert first != second
    assert len(second) <= 64


def definition(*names: str) -> dict[str, Any]:
    """An answer of `DescribeTaskDefinition`."""
    return {"taskDefinition": {"containerDefinitions": [{"name": name} for name in names]}}


ANY = JobTarget("huge", Service.ECS, ECS.request)


def test_the_only_container_runs_the_workload(service: JobService) -> None:
    """It is asked for once, and again when a newer revision has another one."""
    launcher = ecs(service)
    service.answer("DescribeTaskDefinition", **definition("old"))
    service.answer("DescribeTaskDefinition", **definition("new"))
    service.answer("RunTask", tasks=[{"taskArn": ARN}], failures=[])
    service.answer("RunTask", tasks=[{"taskArn": ARN}], failures=[])
    unknown = "Override for container named old is not a container in the TaskDefinition."
    service.refuse("RunTask", "InvalidParameterException", unknown)
    service.answer("RunTask", tasks=[{"taskArn": ARN}], failures=[])
    for _ in range(2):
        launcher.launch(ANY, ID, EVENT, {})
    with pytest.raises(TransientError, match="named old") as error:
        launcher.launch(ANY, ID, EVENT, {})
    assert type(error.value) is TransientError
    launcher.launch(ANY, ID, EVENT, {})
    ran = [call["overrides"]["containerOverrides"][0]["name"] for call in service.of("RunTask")]
    assert ran == ["old", "old", "old", "new"]
    assert len(service.of("DescribeTaskDefinition")) == 2


OF_REFERENCE = dataclasses.replace(ECS, is_of_reference=True)


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({"clusterName": "c"}, "FARGATE"),
        ({"clusterName": "c", "defaultCapacityProviderStrategy": []}, "FARGATE"),
        (
            {"clusterName": "c", "defaultCapacityProviderStrategy": [{"capacityProvider": "x"}]},
            None,
        ),
    ],
)
def test_a_target_of_the_reference_runs_on_fargate_unless_something_says_where(
    service: JobService, cluster: dict[str, Any], expected: str | None
) -> None:
    """The cluster is asked once."""
    service.answer("DescribeClusters", clusters=[cluster], failures=[])
    service.answer("RunTask", tasks=[{"taskArn": ARN}], failures=[])
    launcher = ecs(service)
    for _ in range(2):
        launcher.launch(OF_REFERENCE, ID, EVENT, {})
    assert [call.get("launchType") for call in service.of("RunTask")] == [expected] * 2
    launcher.launch(OF_REFERENCE, ID, EVENT, {"launchType": "EC2"})
    assert service.of("RunTask")[-1]["launchType"] == "EC2"
    assert len(service.of("DescribeClusters")) == 1


def test_a_container_that_was_just_read_and_is_not_there_is_a_refusal(service: JobService) -> None:
    """Nor is one that a person has set; another try would end the same way."""
    service.answer("DescribeTaskDefinition", **definition("task"))
    unknown = "Override for container named task is not a container in the TaskDefinition."
    service.refuse("RunTask", "InvalidParameterException", unknown)
    for target in (ANY, ECS):
        with pytest.raises(RejectedError, match="named task"):
            ecs(service).launch(target, ID, EVENT, {})


def test_which_of_several_containers_is_not_guessed(service: JobService) -> None:
    """The error names them, and the setting."""
    service.answer("DescribeTaskDefinition", **definition("a", "b"))
    with pytest.raises(RouteError, match="containers a, b: set containerName"):
        ecs(service).launch(ANY, ID, EVENT, {})


def test_a_role_that_may_not_read_the_definition_is_told_what_to_set(service: JobService) -> None:
    """There is a way without the permission."""
    service.refuse("DescribeTaskDefinition", "AccessDeniedException", "denied")
    with pytest.raises(RejectedError, match="allow ecs:DescribeTaskDefinition, or set containerN"):
        ecs(service).launch(ANY, ID, EVENT, {})


def test_a_definition_without_an_answer_is_no_start_in_doubt(service: JobService) -> None:
    """No task was asked for."""
    service.lose("DescribeTaskDefinition", LOST)
    with pytest.raises(TransientError) as error:
        ecs(service).launch(ANY, ID, EVENT, {})
    assert type(error.value) is TransientError


@pytest.mark.parametrize(
    "status", ["PROVISIONING", "PENDING", "RUNNING", "STOPPING", "DEPROVISIONING"]
)
def test_a_task_that_has_not_stopped_has_not_ended(service: JobService, status: str) -> None:
    """It is left out, like one that ECS has forgotten or does not show yet."""
    service.answer("ListTasks", taskArns=[ARN])
    service.answer("ListTasks", taskArns=[])
    missing = [{"arn": "other", "reason": "MISSING"}]
    tasks = [{"taskArn": ARN, "lastStatus": status}]
    service.answer("DescribeTasks", tasks=tasks, failures=missing)
    assert ecs(service).ended(ECS, [ID, OTHER]) == {}


def test_a_task_of_another_scheduler_is_found_in_either_state(service: JobService) -> None:
    """ECS lists the tasks that shall run, or those that shall not, and not both."""
    service.answer("ListTasks", taskArns=[])
    service.answer("ListTasks", taskArns=[ARN])
    stopped = {"taskArn": ARN, "lastStatus": "STOPPED", "stopCode": "TaskFailedToStart"}
    service.answer("DescribeTasks", tasks=[stopped], failures=[])
    assert "TaskFailedToStart" in ecs(service).ended(ECS, [ID])[ID]
    asked = {"cluster": "c", "startedBy": ID}
    assert service.of("ListTasks") == [
        {**asked, "desiredStatus": "RUNNING"},
        {**asked, "desiredStatus": "STOPPED"},
    ]


@pytest.mark.parametrize(
    ("code", "message", "is_error"),
    [
        ("InvalidParameterException", "The referenced task was not found.", False),
        ("InvalidParameterException", "Invalid reason", True),
        ("ClusterNotFoundException", "Cluster not found.", True),
        ("AccessDeniedException", "denied", True),
    ],
)
def test_to_stop_a_forgotten_task_is_no_error(
    service: JobService, code: str, message: str, *, is_error: bool
) -> None:
    """Whatever else ECS refuses is one, so that no task runs on unseen."""
    launcher = ecs(service)
    service.answer("RunTask", tasks=[{"taskArn": ARN}], failures=[])
    launcher.launch(ECS, ID, EVENT, {})
    service.refuse("StopTask", code, message)
    if is_error:
        with pytest.raises(RejectedError, match=message):
            launcher.stop(ECS, ID, "revoked")
    else:
        assert not launcher.stop(ECS, ID, "revoked")
    assert service.of("StopTask") == [{"cluster": "c", "task": ARN, "reason": "revoked"}]
