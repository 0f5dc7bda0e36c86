"""`make destroy`: which buckets and stacks it deletes, in which order, and what it refuses."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

import destroy
import stage_jobs
from tests.support.container_programs import WAIT
from tests.support.local_aws import ACCOUNT, REGION, RUNTIME_PYTHON, Server, eventually
from tests.support.micro_vms import BASE, BUILD, HOOKS, Image, artifact, role_for_lambda

PLACE = f"{REGION}, account {ACCOUNT}"


class Stage:
    """A stack with a versioned bucket, of the stage `local` or one whose name begins like it.

    No stage of cdk.json makes such a stack: it stands for one deployed with other options.
    """

    def __init__(self, server: Server, name: str, imports: Stage | None = None) -> None:
        self.server = server
        self.bucket = f"b-{uuid.uuid4().hex[:12]}"
        self.name = f"airflow-lambda-{name}-part{uuid.uuid4().hex[:6]}"
        value: Any = {"Fn::ImportValue": imports.name} if imports else "something"
        template = {
            "Resources": self.resources(),
            "Outputs": {"Export": {"Value": value, "Export": {"Name": self.name}}},
        }
        formation = server.client("cloudformation")
        formation.create_stack(StackName=self.name, TemplateBody=json.dumps(template))
        eventually(lambda: self.is_there() or None)

    def resources(self) -> dict[str, Any]:
        """The resources of its template."""
        bucket = {
            "Type": "AWS::S3::Bucket",
            "Properties": {
                "BucketName": self.bucket,
                "VersioningConfiguration": {"Status": "Enabled"},
            },
        }
        return {"Bucket": bucket}

    def is_there(self) -> bool:
        """Whether the stack exists and is complete."""
        try:
            found = self.server.client("cloudformation").describe_stacks(StackName=self.name)
        except ClientError:
            return False
        return str(found["Stacks"][0]["StackStatus"]) == "CREATE_COMPLETE"

    def put(self) -> None:
        """Put one object in two versions, and one that is deleted again."""
        s3 = self.server.client("s3")
        for body in (b"old", b"new"):
            s3.put_object(Bucket=self.bucket, Key="kept", Body=body)
        s3.put_object(Bucket=self.bucket, Key="deleted", Body=b"")
        s3.delete_object(Bucket=self.bucket, Key="deleted")

    def versions(self) -> int:
        """Count the versions and delete markers in the bucket."""
        listed = self.server.client("s3").list_object_versions(Bucket=self.bucket)
        return len(listed.get("Versions", ())) + len(listed.get("DeleteMarkers", ()))

    def protect(self, *, on: bool) -> None:
        """Set the stack's termination protection."""
        self.server.client("cloudformation").update_termination_protection(
            StackName=self.name, EnableTerminationProtection=on
        )


@pytest.fixture
def aws(local_aws: Server) -> Iterator[Server]:
    """The embedded AWS; stacks that a test leaves are deleted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", local_aws.url)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setattr(destroy, "POLL_S", 0.05)
        patch.setattr(stage_jobs, "POLL_S", 0.05)
        yield local_aws
        session = boto3.Session()
        for stage in ("elsewhere", "local2", "local"):  # The first one imports.
            stacks = destroy.stacks_of(session, stage)
            for bucket in (b for stack in stacks for b in destroy.buckets_of(session, stack)):
                destroy.empty(session, bucket)
            assert destroy.delete(session, stacks) == []


def test_everything_of_the_stage_goes_and_nobody_elses(aws: Server) -> None:
    """The stacks of this stage are deleted with every version in their buckets, and no others."""
    ours, others = Stage(aws, "local"), Stage(aws, "local2")
    for stage in (ours, others):
        stage.put()
    assert destroy.main(["local", "--yes"]) == 0
    assert (ours.is_there(), others.is_there()) == (False, True)
    assert others.versions() == 4
    assert ours.bucket not in {b["Name"] for b in aws.client("s3").list_buckets()["Buckets"]}


def test_tasks_of_no_service_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """ECS deletes no cluster with a running task, and CloudFormation ends those of services alone.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html
    """
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        ecs = boto3.client("ecs")
        ecs.create_cluster(clusterName="tasks")
        containers: Any = [{"name": "workload", "image": "image", "memory": 512}]
        ecs.register_task_definition(family="task", containerDefinitions=containers)
        for group in ("family:task", "service:airflow"):
            ecs.run_task(
                cluster="tasks",
                taskDefinition="task",
                launchType="FARGATE",
                networkConfiguration={"awsvpcConfiguration": {"subnets": [_subnet()]}},
                group=group,
            )
        stage_jobs.stop_tasks(boto3.Session(), "tasks")
        left = ecs.list_tasks(cluster="tasks", desiredStatus="RUNNING")["taskArns"]
        tasks = ecs.describe_tasks(cluster="tasks", tasks=left)["tasks"]
    assert [task["group"] for task in tasks] == ["service:airflow"]


class StageWithTargets(Stage):
    """A stack with room for one job of AWS Batch at a time, and an image of MicroVMs."""

    def __init__(self, server: Server) -> None:
        self.role = role_for_lambda(server, *BUILD)
        super().__init__(server, "local")

    def resources(self) -> dict[str, Any]:
        """A job queue, what its jobs need, and the image."""
        container = {
            "Image": self.server.image(entry_point=[str(RUNTIME_PYTHON)], command=["-c", WAIT]),
            "ResourceRequirements": [
                {"Type": "VCPU", "Value": "1"},
                {"Type": "MEMORY", "Value": "512"},
            ],
        }
        capacity = {"Type": "FARGATE", "MaxvCpus": 1, "Subnets": [], "SecurityGroupIds": []}
        order = {"Order": 1, "ComputeEnvironment": {"Ref": "Environment"}}
        return {
            **super().resources(),
            "Environment": {
                "Type": "AWS::Batch::ComputeEnvironment",
                "Properties": {"Type": "MANAGED", "ComputeResources": capacity},
            },
            "Queue": {
                "Type": "AWS::Batch::JobQueue",
                "Properties": {
                    "JobQueueName": self.name,
                    "Priority": 1,
                    "ComputeEnvironmentOrder": [order],
                },
            },
            "Definition": {
                "Type": "AWS::Batch::JobDefinition",
                "Properties": {
                    "JobDefinitionName": self.name,
                    "Type": "container",
                    "ContainerProperties": container,
                },
            },
            "Image": {
                "Type": "AWS::Lambda::MicrovmImage",
                "Properties": {
                    "Name": self.name,
                    "BaseImageArn": BASE,
                    "BuildRoleArn": self.role,
                    "CodeArtifact": {"Uri": artifact(self.server)},
                    "Hooks": {name[0].upper() + name[1:]: of for name, of in HOOKS.items()},
                    "Resources": [{"MinimumMemoryInMiB": 512}],
                },
            },
        }

    def submit(self) -> str:
        """Submit a job; return its id."""
        batch = self.server.client("batch")
        return str(
            batch.submit_job(jobName="j", jobQueue=self.name, jobDefinition=self.name)["jobId"]
        )

    def job(self, id: str) -> dict[str, Any]:
        """The description of a job."""
        return dict(self.server.client("batch").describe_jobs(jobs=[id])["jobs"][0])

    def image(self) -> Image:
        """The image of MicroVMs."""
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:microvm-image:{self.name}"
        return Image(self.server, arn, self.role)


def test_jobs_and_micro_vms_are_ended(aws: Server) -> None:
    """Running and waiting jobs, and a MicroVM, which would go on without the stage."""
    stage = StageWithTargets(aws)
    running, waiting = stage.submit(), stage.submit()
    eventually(lambda: stage.job(running)["status"] == "RUNNING" or None)
    micro_vm = stage.image().run({"wait": True})
    micro_vm.says("waiting")
    assert destroy.main(["local", "--yes"]) == 0
    assert micro_vm.describe()["state"] == "TERMINATED"
    for job in (running, waiting):
        found = stage.job(job)
        assert (found["status"], found["statusReason"]) == ("FAILED", "The stage is destroyed.")
    assert not stage.is_there()


def _subnet() -> str:
    found = boto3.client("ec2").describe_subnets()["Subnets"]
    return str(found[0]["SubnetId"])


def test_what_imports_goes_before_what_it_imports_from(aws: Server) -> None:
    """A stack is deleted before the stack that it imports from."""
    first = Stage(aws, "local")
    second = Stage(aws, "local", imports=first)
    third = Stage(aws, "local", imports=second)
    with pytest.raises(ClientError, match="is imported by"):
        aws.client("cloudformation").delete_stack(StackName=first.name)
    assert destroy.main(["local", "--yes"]) == 0
    assert not any(stage.is_there() for stage in (first, second, third))


def test_what_another_stack_imports_is_refused(aws: Server) -> None:
    """If a stack outside the stage imports from it, nothing is emptied or deleted."""
    ours = Stage(aws, "local")
    other = Stage(aws, "elsewhere", imports=ours)
    ours.put()
    refusal = f"{ours.name} is used by {other.name}, which is not part of this stage"
    with pytest.raises(SystemExit, match=refusal):
        destroy.main(["local", "--yes"])
    assert (ours.is_there(), ours.versions()) == (True, 4)


def test_a_nested_stack_goes_with_its_parent() -> None:
    """The rotation of a password makes one, which CloudFormation names like a stack of the stage.

    It stands in the parent's processed template, and only the parent may delete it.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-nested-stacks.html
    """
    database = "airflow-lambda-local-database"
    nested = f"{database}-DatabaseRotation-1A2B3C"
    answer = {
        "Stacks": [
            {"StackName": database, "StackId": "parent"},
            {"StackName": nested, "StackId": "child", "ParentId": "parent", "RootId": "parent"},
        ]
    }

    class Recorded:
        """A session of boto3 whose account has these two stacks."""

        def client(self, _service: str) -> Recorded:
            return self

        def get_paginator(self, _operation: str) -> Recorded:
            return self

        def paginate(self) -> list[dict[str, Any]]:
            return [answer]

    session: Any = Recorded()
    assert [stack.name for stack in destroy.stacks_of(session, "local")] == [database]


def late(aws: Server, stage: Stage, monkeypatch: pytest.MonkeyPatch, *, times: int) -> list[str]:
    """Write a log into the stage's bucket after it was emptied; return the emptied buckets."""
    stock, emptied = destroy.empty, []

    def empty(session: boto3.Session, bucket: str) -> None:
        stock(session, bucket)
        emptied.append(bucket)
        if len(emptied) <= times:
            aws.client("s3").put_object(Bucket=stage.bucket, Key="late", Body=b"")

    monkeypatch.setattr(destroy, "empty", empty)
    return emptied


def test_a_log_that_was_written_meanwhile_takes_a_second_round(
    aws: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log written after the first round is deleted in the second, and then the stack."""
    stage = Stage(aws, "local")
    emptied = late(aws, stage, monkeypatch, times=1)
    assert destroy.main(["local", "--yes"]) == 0
    assert emptied == [stage.bucket, stage.bucket]
    assert not stage.is_there()


def test_what_fails_twice_is_not_hidden(aws: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has CloudFormation's reason, once, and the stacks that are still there."""
    stage = Stage(aws, "local")
    late(aws, stage, monkeypatch, times=9)
    with pytest.raises(SystemExit) as ended:
        destroy.main(["local", "--yes"])
    first, reason, last, help_ = str(ended.value).splitlines()
    assert first == f"{stage.name} was not deleted"
    assert reason.startswith("  Bucket: The bucket you tried to delete is not empty")
    assert last == f"Still there in {PLACE}: {stage.name}"
    assert help_ == "See docs/troubleshooting/deploy.md#a-stage-is-not-destroyed"


@pytest.mark.usefixtures("aws")
def test_a_stage_that_keeps_its_data_is_refused() -> None:
    """Nothing of a stage with the removal "retain" is deleted, even with `--yes`."""
    with pytest.raises(SystemExit, match='the removal "retain": its data must outlive'):
        destroy.main(["prod", "--yes"])


def test_a_stack_that_is_protected_is_refused(aws: Server) -> None:
    """A protected stack keeps its objects, whatever cdk.json says today."""
    stage = Stage(aws, "local")
    stage.put()
    stage.protect(on=True)
    with pytest.raises(SystemExit, match=f"{stage.name} is protected from deletion"):
        destroy.main(["local", "--yes"])
    stage.protect(on=False)
    assert stage.versions() == 4


@pytest.mark.usefixtures("aws")
def test_credentials_of_another_account_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage with an account is not searched for in another account."""
    # The embedded AWS takes a key of twelve digits for the account's number.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "123456789012")
    refusal = "is in account 000000000000, but these credentials are for account 123456789012"
    with pytest.raises(SystemExit, match=refusal):
        destroy.main(["local", "--yes"])


def test_without_the_stages_name_nothing_is_touched(
    aws: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question names the stacks and the place; only the stage's name confirms it."""
    stage = Stage(aws, "local")
    stage.put()
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return "yes"

    monkeypatch.setattr("builtins.input", answer)
    with pytest.raises(SystemExit, match=r"Nothing was deleted\."):
        destroy.main(["local"])
    assert stage.versions() == 4
    (question,) = asked
    assert f"the stage local in {PLACE}" in question
    assert f"\n  {stage.name}\n" in question


def test_the_region_is_the_one_that_the_cdk_deploys_to(
    aws: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_REGION, which botocore ignores, comes before AWS_DEFAULT_REGION."""
    stage = Stage(aws, "local")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_REGION", REGION)
    assert destroy.main(["local", "--yes"]) == 0
    assert not stage.is_there()


def test_another_region_is_said_to_have_nothing(
    aws: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If no stack is found, the message names the Region that was searched."""
    stage = Stage(aws, "local")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert destroy.main(["local", "--yes"]) == 0
    printed = capsys.readouterr().out
    assert printed == f"The stage local has no stack in eu-north-1, account {ACCOUNT}.\n"
    assert stage.is_there()


@pytest.mark.usefixtures("aws")
def test_without_any_region_there_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a Region the command ends with the fix, without a traceback or a guess."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(SystemExit, match="set AWS_REGION to the Region that the stage was"):
        destroy.main(["local", "--yes"])
