"""The targets beside the functions: what their jobs and tasks get, and how they are wired."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from lambda_executor.contract import options
from lambda_executor.core.offers import Need, Offer, smallest
from lambda_executor.setup import targets as option_targets
from stacks.config.sections.targets import BatchTargetConfig, ContainerTargetConfig
from tests.synth.assembly import Assembly, Resource, synthesize
from tests.synth.judge.rendered import Rendering
from tests.synth.policies import listed, statements
from tests.synth.variants import VARIANTS

pytestmark = pytest.mark.filterwarnings("error")

#: The variants with targets that run containers.
WITH_TARGETS = [name for name, (_, override) in VARIANTS.items() if override.get("targets")]


@pytest.fixture(params=WITH_TARGETS)
def stage(request: pytest.FixtureRequest, renderings: dict[str, Rendering]) -> Rendering:
    """Every variant with targets in turn."""
    return renderings[request.param]


@pytest.fixture
def several(renderings: dict[str, Rendering]) -> Rendering:
    """The variant with every kind of capacity."""
    return renderings["targets"]


def wired(stage: Rendering) -> dict[str, Any]:
    """The options in the executor's parameter."""
    (parameter,) = (
        found
        for found in stage.resources("AWS::SSM::Parameter")
        if found.logical_id.startswith("Executor")
    )
    values: dict[str, Any] = json.loads(parameter.properties["Value"])
    return values


def named(stage: Rendering, type_: str, property_: str, target: str) -> dict[str, Any]:
    """The properties of a target's resource, by its physical name."""
    name = f"airflow-lambda-{stage.assembly.stage}-{target}"
    (found,) = (r for r in stage.resources(type_) if r.properties.get(property_) == name)
    return dict(found.properties)


def container_of(stage: Rendering, target: ContainerTargetConfig) -> dict[str, Any]:
    """The container of a job definition or a task definition."""
    if isinstance(target, BatchTargetConfig):
        definition = named(stage, "AWS::Batch::JobDefinition", "JobDefinitionName", target.name)
        return dict(definition["ContainerProperties"])
    definition = named(stage, "AWS::ECS::TaskDefinition", "Family", target.name)
    (container,) = definition["ContainerDefinitions"]
    return dict(container)


def containers(stage: Rendering) -> list[ContainerTargetConfig]:
    """The targets that run containers."""
    return [t for t in stage.assembly.config.targets if isinstance(t, ContainerTargetConfig)]


def test_the_parameter_wires_every_queue(stage: Rendering) -> None:
    """The executor itself takes the option, and finds a target for each queue."""
    found = option_targets.read(wired(stage)["targets"], [], "payloads")
    expected = {q: t.kind for t in stage.assembly.config.targets for q in t.queues}
    assert {queue: target.service.value for queue, target in found.items()} == expected


def test_offers_are_in_order(several: Rendering) -> None:
    """The smallest comes first, and a need goes to the first queue that it fits."""
    offers = [
        Offer(queue, **offer) for queue, offer in json.loads(wired(several)["offers"]).items()
    ]
    assert [offer.queue for offer in offers] == [
        *("default", "long", "longer", "cheap", "cheap-huge", "urgent", "large", "huge", "train")
    ]
    for need, queue in (
        (Need(timeout_s=600), "default"),
        (Need(timeout_s=600, memory_mb=10240), "large"),
        (Need(timeout_s=3600), "long"),
        (Need(disk_gb=50), "urgent"),
        (Need(memory_mb=100_000), "huge"),
        (Need(gpu=1), "train"),
    ):
        found = smallest(offers, need)
        assert found, need
        assert found.queue == queue, need


def test_containers_have_the_functions_variables(stage: Rendering) -> None:
    """A job knows where Airflow, its payload and its results queue are."""
    (function, *_) = stage.resources("AWS::Lambda::Function")
    of_function = function.properties["Environment"]["Variables"]
    for target in containers(stage):
        environment = container_of(stage, target)["Environment"]
        variables = {each["Name"]: each["Value"] for each in environment}
        for name in (
            options.QUEUE_URL.environment_variable,
            options.PAYLOAD_BUCKET.environment_variable,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
        ):
            assert variables[name] == of_function[name]
        has_secrets = bool(stage.assembly.config.workloads_of(target).secrets)
        assert (options.WORKLOAD_SECRETS.environment_variable in variables) is has_secrets


def test_workloads_have_a_role_each(stage: Rendering) -> None:
    """No two targets share a role, and none is the role with which ECS starts the container."""
    roles = []
    for target in containers(stage):
        if isinstance(target, BatchTargetConfig):
            found = container_of(stage, target)
            roles += [found["JobRoleArn"], found["ExecutionRoleArn"]]
        else:
            task = named(stage, "AWS::ECS::TaskDefinition", "Family", target.name)
            roles += [task["TaskRoleArn"], task["ExecutionRoleArn"]]
    assert len(set(roles)) == len(roles)


def test_each_target_has_a_log_that_ends(stage: Rendering) -> None:
    """The log driver writes to the target's own group, which the stack makes."""
    groups = {r.properties["LogGroupName"] for r in stage.resources("AWS::Logs::LogGroup")}
    logs = [
        container_of(stage, target)["LogConfiguration"]["Options"]["awslogs-group"]
        for target in containers(stage)
    ]
    assert len(set(logs)) == len(logs)
    assert set(logs) <= groups


def test_a_job_is_tried_once_by_batch(stage: Rendering) -> None:
    """Retries are Airflow's; the time-out is in the request, where the executor sees it."""
    for definition in stage.resources("AWS::Batch::JobDefinition"):
        assert definition.properties["RetryStrategy"]["Attempts"] == 1
        assert not definition.properties.get("Timeout")
        assert definition.properties["PropagateTags"] is True


def test_the_time_out_is_in_the_request(several: Rendering) -> None:
    """So the executor knows it, and the task is stopped in time."""
    found = json.loads(wired(several)["targets"])
    assert found["long"]["batch"]["timeout"] == {"attemptDurationSeconds": 86400}
    assert "timeout" not in found["urgent"]["batch"]


def test_queues_with_the_same_capacity_share_it(several: Rendering) -> None:
    """Only then their priorities mean something."""

    def environment(target: str) -> tuple[int, str]:
        queue = named(several, "AWS::Batch::JobQueue", "JobQueueName", target)
        (order,) = queue["ComputeEnvironmentOrder"]
        return queue["Priority"], order["ComputeEnvironment"]

    assert environment("long")[1] == environment("urgent")[1]
    assert environment("long")[1] != environment("cheap")[1]
    assert environment("urgent")[0] > environment("long")[0]
    assert len(list(several.resources("AWS::Batch::ComputeEnvironment"))) == 3


def test_no_two_targets_share_instances(tmp_path: Path) -> None:
    """A job may take the roles of all jobs on its instance, so the border is the instance."""
    first, second = (
        {"kind": "batch", "name": name, "queues": [name], "capacity": "ec2"} for name in "ab"
    )
    allowed = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::orders/*"}
    alike = synthesize(tmp_path, "dev", {"targets": [first, {**second, "statements": [allowed]}]})
    environments = list(alike.resources("AWS::Batch::ComputeEnvironment"))
    orders = [
        queue.properties["ComputeEnvironmentOrder"]
        for queue in alike.resources("AWS::Batch::JobQueue")
    ]
    assert [len(order) for order in orders] == [1, 1]
    assert orders[0] != orders[1]
    one, other = (found.properties["ComputeResources"] for found in environments)
    assert one["InstanceRole"] != other["InstanceRole"]
    assert one["LaunchTemplate"] != other["LaunchTemplate"]


def test_instances_stay_when_the_order_of_targets_changes(tmp_path: Path) -> None:
    """A replaced compute environment takes the jobs with it that run there."""

    def environments(*targets: Mapping[str, Any]) -> dict[str, Any]:
        number = len(list(tmp_path.iterdir()))
        assembly = synthesize(tmp_path / str(number), "dev", {"targets": list(targets)})
        return {
            found.logical_id: found.properties["ComputeResources"]["InstanceTypes"]
            for found in assembly.resources("AWS::Batch::ComputeEnvironment")
        }

    first, second = (
        {"kind": "batch", "name": name, "queues": [name], "capacity": "ec2"} for name in "ab"
    )
    both = environments(first, second)
    assert environments(second, first) == both
    assert environments(second).items() < both.items()
    changed = environments({**second, "instance_types": ["c7g"]}, first)
    assert changed.keys() == both.keys()
    assert sum(changed[id] != both[id] for id in both) == 1


def test_jobs_have_days_to_end_when_their_instances_are_replaced(several: Rendering) -> None:
    """As long as AWS Batch lets them go on, and not the half hour that is its default."""
    model = botocore.session.get_session().get_service_model("batch")
    longest = model.shape_for("JobExecutionTimeoutMinutes").metadata["max"]
    policies = [
        found.properties["UpdatePolicy"]
        for found in several.resources("AWS::Batch::ComputeEnvironment")
        if "UpdatePolicy" in found.properties
    ]
    assert policies == [{"JobExecutionTimeoutMinutes": 7200, "TerminateJobsOnUpdate": False}]
    assert longest >= 7200


def test_containers_have_addresses_only_where_nothing_else_leads_out(stage: Rendering) -> None:
    """Without NAT gateway and endpoints, an address for each costs least."""
    public = stage.assembly.config.containers_have_public_addresses
    expected = "ENABLED" if public else "DISABLED"
    for target in stage.assembly.config.targets:
        if target.kind == "ecs":
            request = json.loads(wired(stage)["targets"])[target.queues[0]]["ecs"]
            network = request["networkConfiguration"]["awsvpcConfiguration"]
            assert network["assignPublicIp"] == expected
        elif target.kind == "batch" and not target.is_on_ec2:
            found = container_of(stage, target)
            assert found["NetworkConfiguration"]["AssignPublicIp"] == expected


def test_sizes_are_those_of_the_stage(several: Rendering) -> None:
    """Processors, memory, GPUs and disk, each in the service's own words."""
    (train, urgent) = (
        container_of(several, target)
        for name in ("train", "urgent")
        for target in containers(several)
        if target.name == name
    )
    needs = {each["Type"]: each["Value"] for each in train["ResourceRequirements"]}
    assert needs == {"VCPU": "4", "MEMORY": "14000", "GPU": "1"}
    assert urgent["EphemeralStorage"] == {"SizeInGiB": 100}
    huge = named(several, "AWS::ECS::TaskDefinition", "Family", "huge")
    assert (huge["Cpu"], huge["Memory"]) == ("16384", "122880")
    assert huge["EphemeralStorage"] == {"SizeInGiB": 200}
    assert huge["RuntimePlatform"]["CpuArchitecture"] == "ARM64"


def test_spot_instances_tell_their_jobs(renderings: dict[str, Rendering]) -> None:
    """Their agent passes EC2's notice on, in the form of user data that Batch takes."""
    (template,) = renderings["targets-inside"].resources("AWS::EC2::LaunchTemplate")
    encoded = template.properties["LaunchTemplateData"]["UserData"]
    whole = base64.b64decode(encoded).decode()
    assert whole.startswith("Content-Type: multipart/mixed")
    assert "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true >> /etc/ecs/ecs.config" in whole


def test_instances_answer_only_requests_with_a_session(stage: Rendering) -> None:
    """A task that only fetches an address which somebody gave it does not get their credentials.

    One that wants them does: jobs have the instance's own network, so no hop is between.
    """
    for template in stage.resources("AWS::EC2::LaunchTemplate"):
        metadata = template.properties["LaunchTemplateData"]["MetadataOptions"]
        assert metadata == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


def test_a_scheduler_passes_only_roles_of_tasks(stage: Rendering) -> None:
    """To ECS those of tasks; those of MicroVMs without a condition, with which AWS refused some."""
    of_tasks = {
        role
        for task in stage.resources("AWS::ECS::TaskDefinition")
        if task.part == "execution"
        for role in (task.properties["TaskRoleArn"], task.properties["ExecutionRoleArn"])
    }
    of_micro_vms = {
        target["microvm"]["executionRoleArn"]
        for target in json.loads(wired(stage)["targets"]).values()
        if "microvm" in target
    }
    passed: dict[bool, set[str]] = {True: set(), False: set()}
    for statement in _of_schedulers(stage):
        if "iam:PassRole" in listed(statement["Action"]):
            condition = statement.get("Condition")
            to_ecs = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
            assert condition in (None, to_ecs)
            passed[condition is not None] |= set(listed(statement["Resource"]))
    assert passed == {True: of_tasks, False: of_micro_vms}


def test_a_scheduler_starts_nothing_else(stage: Rendering) -> None:
    """Only on the stage's own job queues, definitions and images of MicroVMs."""
    own = re.compile(
        r"arn:aws:(batch|ecs|lambda):[^:]*:[^:]*:"
        r"(job-queue/|job-definition/|task-definition/|microvm-image:)"
        rf"airflow-lambda-{stage.assembly.stage}-"
    )
    starts = {"batch:SubmitJob", "ecs:RunTask", "lambda:RunMicrovm"}
    found = set()
    for statement in _of_schedulers(stage):
        if actions := starts & set(listed(statement["Action"])):
            found |= actions
            for arn in listed(statement["Resource"]):
                assert own.match(arn), arn
    kinds = {"batch": "batch:SubmitJob", "ecs": "ecs:RunTask", "microvm": "lambda:RunMicrovm"}
    assert found == {kinds[target.kind] for target in stage.assembly.config.targets}


def test_the_api_server_reads_the_log_of_every_target(tmp_path: Path) -> None:
    """It shows the log of a task that still runs, wherever that is."""
    kinds = ("batch", "ecs", "microvm")
    assembly = synthesize(
        tmp_path,
        "dev",
        {
            "account": "123456789012",
            "region": "eu-west-1",
            "targets": [{"kind": kind, "name": kind, "queues": [kind]} for kind in kinds],
        },
    )
    groups = {
        group.properties["LogGroupName"]
        for group in assembly.resources("AWS::Logs::LogGroup")
        if group.logical_id.startswith("Targets")
    }
    assert len(groups) == len(kinds)
    readable = {
        json.dumps(arn).split(":log-group:")[1].split(":*")[0]
        for policy in assembly.resources("AWS::IAM::Policy")
        if policy.part == "control-plane"
        for statement in statements(policy)
        if "logs:GetLogEvents" in listed(statement["Action"])
        for arn in listed(statement["Resource"])
    }
    assert groups < readable


def _of_schedulers(stage: Rendering) -> list[dict[str, Any]]:
    (policy,) = (
        found
        for found in stage.resources("AWS::IAM::ManagedPolicy")
        if found.logical_id.startswith("SchedulerPolicy")
    )
    return statements(policy)


def test_without_targets_nothing_is_there(assembly_of: Callable[[str], Assembly]) -> None:
    """A stage without targets has no resource of theirs, and no cluster but the control plane's."""
    dev = assembly_of("dev")
    found: list[Resource] = [r for r in dev.resources() if "Targets" in r.logical_id]
    assert found == []
    assert not any(r.type.startswith("AWS::Batch") for r in dev.resources())
