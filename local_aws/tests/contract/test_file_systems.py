"""Functions, tasks of ECS and jobs of Batch mount the file systems of EFS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.local_aws import ACCOUNT, RUNTIME_PYTHON, Function, Server, eventually

APPEND = "with open('/mnt/shared/file', 'a') as file: file.write('{}')"
REFUSED = "may not do elasticfilesystem:ClientMount"


@dataclass(frozen=True)
class Stack:
    """A file system, and a function, a task and a job that mount the same folder of it."""

    aws: Server
    name: str

    @property
    def function(self) -> Function:
        """The function."""
        return Function(self.aws, self.name)

    def run_task(self) -> dict[str, Any]:
        """Run the task to its end."""
        ecs = self.aws.client("ecs")
        answer = ecs.run_task(cluster=self.name, taskDefinition=self.name, launchType="FARGATE")
        (task,) = answer["tasks"]

        def stopped() -> dict[str, Any] | None:
            (found,) = ecs.describe_tasks(cluster=self.name, tasks=[task["taskArn"]])["tasks"]
            return dict(found) if found["lastStatus"] == "STOPPED" else None

        return eventually(stopped)

    def run_job(self) -> dict[str, Any]:
        """Run the job to its end."""
        batch = self.aws.client("batch")
        job = batch.submit_job(jobName="job", jobQueue=self.name, jobDefinition=self.name)["jobId"]

        def ended() -> dict[str, Any] | None:
            (found,) = batch.describe_jobs(jobs=[job])["jobs"]
            return dict(found) if found["status"] in {"SUCCEEDED", "FAILED"} else None

        return eventually(ended)


def role_that(aws: Server, name: str, may: Mapping[str, Any]) -> str:
    """Make a role with one statement, and return its ARN."""
    iam = aws.client("iam")
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    statement = {"Effect": "Allow", "Action": "elasticfilesystem:Client*", "Resource": "*", **may}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=document)
    return str(role)


def deployed(aws: Server, may: Mapping[str, Any]) -> Stack:
    """Deploy it by CloudFormation; `may` is a statement of the role of all."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    program = {
        kind: aws.image(entry_point=[str(RUNTIME_PYTHON)], command=["-c", APPEND.format(kind)])
        for kind in ("task", "job")
    }
    arn = {"Fn::GetAtt": ["Point", "Arn"]}
    role = role_that(aws, name, may)
    point = {"SourceVolume": "shared", "ContainerPath": "/mnt/shared"}
    needs = [{"Type": "VCPU", "Value": "1"}, {"Type": "MEMORY", "Value": "512"}]
    files = {"TransitEncryption": "ENABLED"}
    here = {"AccessPointId": {"Ref": "Point"}}
    resources = {
        "Files": ("EFS::FileSystem", {"Encrypted": True}),
        "Point": ("EFS::AccessPoint", {
            "FileSystemId": {"Ref": "Files"},
            "PosixUser": {"Uid": "1000", "Gid": "1000"},
            "RootDirectory": {"Path": "/shared", "CreationInfo": {
                "OwnerUid": "1000", "OwnerGid": "1000", "Permissions": "750"}},
        }),
        "Function": ("Lambda::Function", {
            "FunctionName": name, "PackageType": "Image", "Role": role, "Timeout": 30,
            "Code": {"ImageUri": aws.image("local_aws_handlers.handle")},
            "FileSystemConfigs": [{"Arn": arn, "LocalMountPath": "/mnt/shared"}],
        }),
        "Cluster": ("ECS::Cluster", {"ClusterName": name}),
        "Task": ("ECS::TaskDefinition", {
            "Family": name, "Cpu": "256", "Memory": "512", "NetworkMode": "awsvpc",
            "RequiresCompatibilities": ["FARGATE"], "TaskRoleArn": role,
            "ContainerDefinitions": [
                {"Name": "main", "Image": program["task"], "MountPoints": [point]}
            ],
            "Volumes": [{"Name": "shared", "EFSVolumeConfiguration": {
                "FilesystemId": {"Ref": "Files"}, **files,
                "AuthorizationConfig": {**here, "IAM": "ENABLED"}}}],
        }),
        "Environment": ("Batch::ComputeEnvironment", {
            "ComputeEnvironmentName": name, "Type": "MANAGED", "State": "ENABLED",
            "ComputeResources": {"Type": "FARGATE", "MaxvCpus": 2, "Subnets": ["subnet-1"],
                                 "SecurityGroupIds": ["sg-1"]},
        }),
        "Queue": ("Batch::JobQueue", {
            "JobQueueName": name, "Priority": 1, "State": "ENABLED",
            "ComputeEnvironmentOrder": [
                {"Order": 1, "ComputeEnvironment": {"Ref": "Environment"}}
            ],
        }),
        "Job": ("Batch::JobDefinition", {
            "JobDefinitionName": name, "Type": "container", "PlatformCapabilities": ["FARGATE"],
            "ContainerProperties": {
                "Image": program["job"], "JobRoleArn": role, "MountPoints": [point],
                "ResourceRequirements": needs,
                "Volumes": [{"Name": "shared", "EfsVolumeConfiguration": {
                    "FileSystemId": {"Ref": "Files"}, **files,
                    "AuthorizationConfig": {**here, "Iam": "ENABLED"}}}],
            },
        }),
    }  # fmt: skip
    template = {
        id: {"Type": f"AWS::{type_}", "Properties": properties}
        for id, (type_, properties) in resources.items()
    }
    stack = aws.deploy({"Resources": template})
    assert stack.status == "CREATE_COMPLETE", stack.describe()
    return Stack(aws, name)


@pytest.fixture
def walled(enforcing_aws: Server) -> Server:
    """A server whose sandboxes have walls, with permissions enforced."""
    if "walls by" not in (enforcing_aws.state_dir / "local-aws.log").read_text():
        pytest.skip("bubblewrap does not work here: nothing can be mounted")
    return enforcing_aws


def test_what_one_writes_the_others_read(walled: Server) -> None:
    """One folder, under the same path in a function, a task and a job."""
    stack = deployed(walled, may={})
    assert stack.function.invoke({"write": "/mnt/shared/file"})["Payload"]["did"] == 0
    task = stack.run_task()
    assert task["containers"][0].get("exitCode") == 0, task
    job = stack.run_job()
    assert job["status"] == "SUCCEEDED", job
    assert stack.function.invoke({"read": "/mnt/shared/file"})["Payload"]["did"] == "taskjob"


def test_other_stacks_have_other_files(walled: Server) -> None:
    """Each file system has a folder of its own."""
    one, other = deployed(walled, may={}), deployed(walled, may={})
    assert one.function.invoke({"write": "/mnt/shared/file"})["Payload"]["did"] == 0
    answer = other.function.invoke({"read": "/mnt/shared/file"})
    assert answer["Payload"]["errorType"] == "FileNotFoundError"


def test_only_a_role_that_may_mounts_it(walled: Server) -> None:
    """The role is asked by the access point, as EFS asks it; the reason is AWS's way to say so."""
    other = f"arn:aws:elasticfilesystem:us-east-1:{ACCOUNT}:access-point/fsap-other"
    by_another = {"StringEquals": {"elasticfilesystem:AccessPointArn": other}}
    stack = deployed(walled, may={"Condition": by_another})
    with pytest.raises(ClientError):
        stack.function.invoke({})
    assert REFUSED in stack.run_task()["stoppedReason"]
    assert REFUSED in stack.run_job()["statusReason"]


def test_plain_processes_mount_nothing(strict_aws: Server) -> None:
    """Without walls the folder cannot be there, and the reason says so."""
    stack = deployed(strict_aws, may={})
    assert "install bubblewrap" in stack.run_task()["stoppedReason"]
    assert "install bubblewrap" in stack.run_job()["statusReason"]


def test_a_volume_of_another_kind_fails_the_task(local_aws: Server) -> None:
    """There is nothing else to be mounted, and nothing is left out silently."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    ecs = local_aws.client("ecs")
    ecs.create_cluster(clusterName=name)
    image = local_aws.image(entry_point=[str(RUNTIME_PYTHON)], command=["-c", ""])
    ecs.register_task_definition(
        family=name,
        volumes=[{"name": "scratch"}],
        containerDefinitions=[
            {
                "name": "main",
                "image": image,
                "memory": 512,
                "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch"}],
            }
        ],
    )
    stopped = Stack(local_aws, name).run_task()
    assert "the volume scratch is not a file system with an access point" in json.dumps(
        stopped, default=str
    )
