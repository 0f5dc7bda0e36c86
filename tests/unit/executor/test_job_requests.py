"""What may be set in the request that starts a job, and how a task changes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from lambda_executor.aws import RUN_MICROVM, RUN_TASK, SUBMIT_JOB
from lambda_executor.aws.batch_jobs import submission
from lambda_executor.aws.ecs_tasks import completed
from lambda_executor.aws.job_requests import job_name, merged
from lambda_executor.aws.micro_vms import no_ingress, run_request
from lambda_executor.contract.errors import RouteError
from lambda_executor.contract.micro_vm import RunPayload
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.targets import JobTarget, Service

ID = InvocationId("0d4b3a7e-6a63-4b45-8f3d-3d0a7c0d6f10")
EVENT = b'{"task_key": "x"}'
BATCH: dict[str, Any] = {"jobQueue": "q", "jobDefinition": "d"}
ECS: dict[str, Any] = {"cluster": "c", "taskDefinition": "d"}
VM: dict[str, Any] = {
    "imageIdentifier": "arn:aws-cn:lambda:cn-north-1:123456789012:microvm-image:task",
    "executionRoleArn": "arn:aws-cn:iam::123456789012:role/task",
    "maximumDurationInSeconds": 3600,
}
NO_INGRESS = "arn:aws-cn:lambda:cn-north-1:aws:network-connector:aws-network-connector:NO_INGRESS"


def batch(**parameters: object) -> JobTarget:
    """A target of Batch with more parameters."""
    return JobTarget("long", Service.BATCH, json.dumps({**BATCH, **parameters}))


def ecs(**parameters: object) -> JobTarget:
    """A target of ECS with more parameters."""
    return JobTarget("huge", Service.ECS, json.dumps({**ECS, **parameters}), "task")


def micro_vm(**parameters: object) -> JobTarget:
    """A target of MicroVMs with more parameters."""
    return JobTarget("vm", Service.MICROVM, json.dumps({**VM, **parameters}))


def submitted(target: JobTarget, **overrides: object) -> dict[str, Any]:
    """The `SubmitJob` of a task with overrides."""
    return submission(target, ID, EVENT, overrides)


def run(target: JobTarget, **overrides: object) -> dict[str, Any]:
    """The `RunTask` of a task with overrides."""
    return completed(RUN_TASK.overridden(target, overrides), ID, EVENT, "task")


def test_a_job_of_batch_has_the_event_as_its_command_and_the_dispatch_id_as_its_name() -> None:
    """Batch attempts it once, whatever the job definition says: retries are Airflow's."""
    assert submitted(batch()) == {
        **BATCH,
        "jobName": ID,
        "containerOverrides": {"command": ["job", EVENT.decode()]},
        "retryStrategy": {"attempts": 1},
    }


def test_the_limit_of_an_attempt_is_passed_to_the_program() -> None:
    """It can then stop the task in time and say so."""
    request = submitted(batch(timeout={"attemptDurationSeconds": 3600}))
    assert request["containerOverrides"]["command"] == [
        "job",
        "--timeout-s",
        "3600",
        EVENT.decode(),
    ]
    request = submitted(batch(), timeout={"attemptDurationSeconds": 60})
    assert request["containerOverrides"]["command"][:3] == ["job", "--timeout-s", "60"]


def test_attempts_that_a_person_asks_for_are_kept() -> None:
    """One that never started its container can so be repeated by Batch."""
    strategy = {"attempts": 3, "evaluateOnExit": [{"onReason": "*", "action": "EXIT"}]}
    assert submitted(batch(retryStrategy=strategy))["retryStrategy"] == strategy


def test_a_task_of_ecs_carries_the_dispatch_id_twice() -> None:
    """As the token that makes a repeated call start nothing, and as who started it."""
    assert run(ecs(launchType="FARGATE")) == {
        **ECS,
        "launchType": "FARGATE",
        "startedBy": ID,
        "clientToken": ID,
        "overrides": {"containerOverrides": [{"name": "task", "command": ["job", EVENT.decode()]}]},
    }


def test_a_micro_vm_gets_the_event_and_its_own_duration_and_lets_nothing_in() -> None:
    """The dispatch id is the token that makes a repeated call start nothing."""
    request = run_request(micro_vm(), ID, EVENT, {})
    payload = RunPayload.decode(request.pop("runHookPayload"))
    assert payload == RunPayload({"task_key": "x"}, 3595)
    assert request == {**VM, "clientToken": ID, "ingressNetworkConnectors": [NO_INGRESS]}


def test_a_task_may_ask_for_a_longer_micro_vm_and_a_way_in() -> None:
    """The program is told of what its MicroVM really has."""
    own = "arn:aws-cn:lambda:cn-north-1:123456789012:network-connector:own"
    changes = {"maximumDurationInSeconds": 7200, "ingressNetworkConnectors": [own]}
    request = run_request(micro_vm(), ID, EVENT, changes)
    assert RunPayload.decode(request["runHookPayload"]).timeout_s == 7195
    assert request["ingressNetworkConnectors"] == [own]


@pytest.mark.parametrize(
    ("duration_s", "timeout_s"), [(28800, 28795), (60, 55), (50, 45), (40, 36), (9, 9), (1, 1)]
)
def test_a_workload_has_the_duration_but_for_the_restore(duration_s: int, timeout_s: int) -> None:
    """AWS may count from `RunMicrovm`, and of a short duration most is left."""
    request = run_request(micro_vm(), ID, EVENT, {"maximumDurationInSeconds": duration_s})
    assert RunPayload.decode(request["runHookPayload"]).timeout_s == timeout_s


def test_an_event_that_a_micro_vm_cannot_get_is_refused_with_the_limit() -> None:
    """AWS counts characters; nothing is sent."""
    envelope = len(RunPayload({"task_key": ""}, 3600).encode())
    for id, fits in (("x" * (4096 - envelope), True), ("x" * (4097 - envelope), False)):
        event = json.dumps({"task_key": id}).encode()
        if fits:
            assert len(run_request(micro_vm(), ID, event, {})["runHookPayload"]) == 4096
        else:
            with pytest.raises(
                RouteError, match="4097 characters, and a MicroVM gets at most 4096"
            ):
                run_request(micro_vm(), ID, event, {})


def test_the_connector_of_an_image_needs_its_arn() -> None:
    """A target without one was refused before."""
    with pytest.raises(ValueError, match="task"):
        no_ingress("task")


def test_overrides_are_merged_object_by_object_and_named_item_by_named_item() -> None:
    """A task that needs more memory keeps the target's CPU and variables."""
    target = batch(
        containerOverrides={
            "environment": [{"name": "A", "value": "1"}],
            "resourceRequirements": [
                {"type": "VCPU", "value": "2"},
                {"type": "MEMORY", "value": "4096"},
            ],
        }
    )
    container = submitted(
        target,
        containerOverrides={
            "environment": [{"name": "B", "value": "2"}],
            "resourceRequirements": [{"type": "MEMORY", "value": "8192"}],
        },
        tags={"team": "x"},
    )["containerOverrides"]
    assert container["environment"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert container["resourceRequirements"] == [
        {"type": "VCPU", "value": "2"},
        {"type": "MEMORY", "value": "8192"},
    ]
    assert container["command"] == ["job", EVENT.decode()]


def test_the_overrides_of_a_container_of_ecs_keep_its_command() -> None:
    """The workload is added to what a target and a task set for its container, and for others."""
    target = ecs(
        overrides={
            "cpu": "1024",
            "containerOverrides": [{"name": "side", "cpu": 1}, {"name": "task", "cpu": 2}],
        }
    )
    changes = {"containerOverrides": [{"name": "task", "memory": 3}]}
    assert run(target, overrides=changes)["overrides"] == {
        "cpu": "1024",
        "containerOverrides": [
            {"name": "side", "cpu": 1},
            {"name": "task", "cpu": 2, "memory": 3, "command": ["job", EVENT.decode()]},
        ],
    }


def test_a_list_without_names_is_replaced() -> None:
    """Two lists of subnets are not one network."""
    base = {
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["a"], "securityGroups": ["s"]}}
    }
    changes = {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["b"]}}}
    assert merged(base, changes) == {
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["b"], "securityGroups": ["s"]}}
    }
    assert base["networkConfiguration"]["awsvpcConfiguration"]["subnets"] == ["a"]


def test_a_task_that_chooses_its_capacity_replaces_the_targets_launch_type() -> None:
    """ECS takes one of both."""
    spot = [{"capacityProvider": "FARGATE_SPOT"}]
    request = run(ecs(launchType="FARGATE"), capacityProviderStrategy=spot)
    assert request["capacityProviderStrategy"] == spot
    assert "launchType" not in request
    request = run(ecs(capacityProviderStrategy=spot), launchType="FARGATE")
    assert "capacityProviderStrategy" not in request


@pytest.mark.parametrize(
    ("target", "overrides", "message"),
    [
        (
            batch(),
            {"jobQeue": "x"},
            r"SubmitJob has no parameter 'jobQeue'; allowed are .*dependsOn",
        ),
        (
            batch(),
            {"containerOverrides": {"environments": []}},
            "containerOverrides of SubmitJob has no parameter 'environments'; allowed are environ",
        ),
        (batch(), {"jobName": "x"}, "jobName cannot be set: it is the dispatch id"),
        (batch(), {"jobQueue": "x"}, "jobQueue cannot be set: choose another target"),
        (batch(), {"containerOverrides": {"command": ["x"]}}, "command is the workload"),
        (batch(), {"arrayProperties": {"size": 2}}, "arrayProperties cannot be set"),
        (batch(), {"nodeOverrides": {}}, "nodeOverrides cannot be set.*one container"),
        (batch(), {"eksPropertiesOverride": {}}, "EKS are not supported"),
        (batch(), {"ecsPropertiesOverride": {}}, "ecsPropertiesOverride cannot be set"),
        (batch(), {"timeout": {"attemptDurationSeconds": "60"}}, "Invalid type.*attemptDuration"),
        (batch(), {"timeout": 60}, "Invalid type for parameter timeout"),
        (batch(), {"containerOverrides": ["x"]}, "Invalid type for parameter containerOverrides"),
        (ecs(), {"cluster": "x"}, "cluster cannot be set: choose another target"),
        (ecs(), {"clientToken": "x"}, "clientToken cannot be set"),
        (ecs(), {"startedBy": "x"}, "startedBy cannot be set"),
        (ecs(), {"count": 2}, "count cannot be set"),
        (
            ecs(),
            {"overrides": {"containerOverrides": [{"name": "task", "command": []}]}},
            "overrides.containerOverrides.command cannot be set: the command is the workload",
        ),
        (
            ecs(),
            {"launchType": "EC2", "capacityProviderStrategy": []},
            "launchType and capacityProviderStrategy exclude each other",
        ),
        (ecs(), {"containerName": "x"}, "RunTask has no parameter 'containerName'"),
        (micro_vm(), {"imageIdentifier": "x"}, "imageIdentifier cannot be set: choose another"),
        (micro_vm(), {"clientToken": "x"}, "clientToken cannot be set"),
        (micro_vm(), {"runHookPayload": "x"}, "runHookPayload cannot be set"),
        (micro_vm(), {"idlePolicy": {}}, "idlePolicy cannot be set"),
        (micro_vm(), {"maximumDurationInSeconds": 30000}, "30000: set it to 1 to 28800"),
        (micro_vm(), {"maximumDurationInSeconds": "60"}, "Invalid type.*maximumDuration"),
        (micro_vm(), {"memory": 1}, "RunMicrovm has no parameter 'memory'; allowed are egress"),
    ],
)
def test_overrides_that_no_request_has_are_refused(
    target: JobTarget, overrides: Mapping[str, Any], message: str
) -> None:
    """The error names the key of `executor_config`, the parameter, and what is allowed or why."""
    kinds = {kind.service: kind for kind in (SUBMIT_JOB, RUN_TASK, RUN_MICROVM)}
    with pytest.raises(RouteError, match=message) as error:
        kinds[target.service].overridden(target, overrides)
    assert f"executor_config['{target.service.value}']: " in str(error.value)


def test_what_a_person_may_not_set_is_not_offered() -> None:
    """The allowed parameters are those that do not lead to the next error."""
    fault = SUBMIT_JOB.fault({**BATCH, "x": 1})
    assert fault
    assert "jobQueue" in fault
    assert "jobName" not in fault


@pytest.mark.parametrize(
    "id", ["x" * 400, "scheduled__2026-11-30T00:00:00+00:00", "-x", "", "\ud800"]
)
def test_an_id_that_is_no_name_is_made_to_fit(id: str) -> None:
    """The same id always has the same name, another id another."""
    name = job_name(InvocationId(id))
    assert name == job_name(InvocationId(id))
    assert name != job_name(InvocationId(f"{id}y"))
    assert len(name) == 64
    assert name.isalnum()
