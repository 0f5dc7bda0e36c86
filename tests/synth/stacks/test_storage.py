"""Task logs and pushed DAG files: storage, permissions and removal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from airflow.providers.amazon.aws.log.cloudwatch_task_handler import CloudWatchRemoteLogIO
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Template

from airflow_lambda_constructs.execution.task_logs import TaskLogGroup
from stacks.stage.retention import RETENTION
from stacks.storage_stack import StorageStack
from tests.synth.assembly import Assembly, Resource, config_of, synthesize

_ELSEWHERE: Mapping[str, Any] = {
    "control_plane": {"kind": "none"},
    "execution": {"execution_api_url": "https://airflow.example.com/execution/"},
}
_BUCKETS: Mapping[str, Any] = {
    **_ELSEWHERE,
    "removal": "destroy",
    "logs": {"remote": "s3", "retention_days": 30},
    "dags": {"source": "s3", "s3_key": "team/dags/"},
    "image": {"dags": "tests/e2e/dags"},
}
_LOG_GROUP: Mapping[str, Any] = {
    **_ELSEWHERE,
    "encryption": {"key": "customer"},
    "logs": {"remote": "cloudwatch", "retention_days": 30},
    "dags": {"source": "s3", "s3_key": "dags/"},
}


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """A stage with both buckets and AWS's own keys."""
    return synthesize(tmp_path_factory.mktemp("buckets"), "dev", _BUCKETS)


@pytest.fixture(scope="module")
def log_group(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """A stage with a log group, DAG files in S3 and a KMS key of its own."""
    return synthesize(tmp_path_factory.mktemp("log-group"), "dev", _LOG_GROUP)


def bucket(assembly: Assembly, name: str) -> Resource:
    """A bucket of the storage stack."""
    return assembly.only("AWS::S3::Bucket", name)


def allowed(policy: Resource, about: str) -> set[tuple[str, str]]:
    """Every action that a policy allows on something, and the end of what it is allowed on."""
    pairs = set()
    for statement in policy.properties["PolicyDocument"]["Statement"]:
        actions, resources = statement["Action"], statement["Resource"]
        actions = actions if isinstance(actions, list) else [actions]
        resources = resources if isinstance(resources, list) else [resources]
        for resource in resources:
            joined = resource.get("Fn::Join") if isinstance(resource, dict) else None
            parts = joined[1] if joined else [resource]
            if about in json.dumps(parts):
                end = parts[-1] if isinstance(parts[-1], str) else ""
                pairs |= {(action, end) for action in actions}
    return pairs


@pytest.mark.parametrize("name", ["TaskLogs", "DagBucket"])
def test_buckets_are_closed(buckets: Assembly, name: str) -> None:
    """Buckets are private, encrypted and TLS only, and are deleted with the stage."""
    found = bucket(buckets, name)
    assert set(found.properties["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = found.properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    assert found.body["DeletionPolicy"] == found.body["UpdateReplacePolicy"] == "Delete"
    policy = buckets.only("AWS::S3::BucketPolicy", name)
    (statement,) = policy.properties["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_logs_expire_and_dag_files_have_versions(buckets: Assembly) -> None:
    """A log is kept as long as any log of the stage; a push can be undone for a month."""
    (logs,) = bucket(buckets, "TaskLogs").properties["LifecycleConfiguration"]["Rules"]
    assert logs["ExpirationInDays"] == 30
    dags = bucket(buckets, "DagBucket").properties
    assert dags["VersioningConfiguration"] == {"Status": "Enabled"}
    (rule,) = dags["LifecycleConfiguration"]["Rules"]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert "ExpirationInDays" not in rule


def test_a_task_adds_to_its_log_and_reads_dag_files(buckets: Assembly) -> None:
    """The function's role writes no DAG file, deletes nothing, and reaches one prefix of each."""
    role = buckets.only("AWS::IAM::Policy", "WorkloadRole")
    assert allowed(role, "TaskLogs") == {
        ("s3:GetObject", "/task-logs/*"),
        ("s3:PutObject", "/task-logs/*"),
        ("s3:ListBucket", ""),
    }
    assert allowed(role, "DagBucket") == {
        ("s3:GetObject", "/team/dags/*"),
        ("s3:GetObjectVersion", "/team/dags/*"),
        ("s3:ListBucket", ""),
    }


def test_a_scheduler_reads_logs_and_no_dag_file(buckets: Assembly) -> None:
    """The scheduler's policy covers the remote logging of the env file."""
    policy = buckets.only("AWS::IAM::ManagedPolicy", "SchedulerPolicy")
    assert allowed(policy, "TaskLogs") == {("s3:GetObject", "/task-logs/*"), ("s3:ListBucket", "")}
    assert allowed(policy, "DagBucket") == set()


def test_whoever_pushes_may_replace_dag_files_and_nothing_else(buckets: Assembly) -> None:
    """The policy for people and pipelines: one prefix of one bucket."""
    policy = buckets.only("AWS::IAM::ManagedPolicy", "DagPushPolicy")
    everything = allowed(policy, "")
    assert everything == {
        ("s3:DeleteObject", "/team/dags/*"),
        ("s3:GetObject", "/team/dags/*"),
        ("s3:PutObject", "/team/dags/*"),
        ("s3:ListBucket", ""),
    }


def test_push_is_one_command(buckets: Assembly) -> None:
    """The output's command pushes the stage's folder to where the functions fetch from."""
    outputs = buckets.json("storage")["Outputs"]
    _, parts = outputs["DagsPushCommand"]["Value"]["Fn::Join"]
    assert parts == [
        "airflow lambda-executor dags push tests/e2e/dags s3://",
        {"Ref": bucket(buckets, "DagBucket").logical_id},
        "/team/dags/",
    ]
    variables = buckets.only("AWS::Lambda::Function").properties["Environment"]["Variables"]
    _, fetched = variables["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"]["Fn::Join"]
    assert fetched[0].endswith('"kwargs": {"s3_uri": "s3://')
    assert fetched[-1] == '/team/dags/", "refresh_interval": 5}}]'


def test_env_file_shows_the_logs_that_functions_write(buckets: Assembly) -> None:
    """An Airflow elsewhere reads logs from the folder that the functions write to."""
    variables = buckets.only("AWS::Lambda::Function").properties["Environment"]["Variables"]
    _, (_, written, prefix) = variables["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"]["Fn::Join"]
    _, parts = buckets.only("AWS::SSM::Parameter", "EnvFile").properties["Value"]["Fn::Join"]
    at = parts.index(written)
    assert parts[at - 1].endswith("AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER=s3://")
    assert parts[at + 1].startswith(f"{prefix}\n")


def test_log_group_is_named_as_airflow_reads_it(log_group: Assembly) -> None:
    """Airflow finds the log group from the ARN in its setting."""
    variables = log_group.only("AWS::Lambda::Function").properties["Environment"]["Variables"]
    _, parts = variables["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"]["Fn::Join"]
    known = {"AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": "123456789012"}
    folder = "".join(part if isinstance(part, str) else known[part["Ref"]] for part in parts)
    assert folder.startswith("cloudwatch://arn:aws:logs:")
    reader = CloudWatchRemoteLogIO(
        base_log_folder="/", log_group_arn=folder.removeprefix("cloudwatch://")
    )
    group = log_group.only("AWS::Logs::LogGroup", "TaskLogs").properties
    assert (reader.region_name, reader.log_group) == ("eu-west-1", group["LogGroupName"])
    assert group["RetentionInDays"] == 30


def test_a_task_writes_streams_of_the_log_group_and_a_scheduler_reads_them(
    log_group: Assembly,
) -> None:
    """Tasks can neither make the group anew nor read each other's logs."""
    role = log_group.only("AWS::IAM::Policy", "WorkloadRole")
    actions = {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert {action for action, _ in allowed(role, "TaskLogs")} == actions
    policy = log_group.only("AWS::IAM::ManagedPolicy", "SchedulerPolicy")
    assert {action for action, _ in allowed(policy, "TaskLogs")} == {"logs:GetLogEvents"}


def test_a_key_of_the_stage_takes_permissions_of_its_own(log_group: Assembly) -> None:
    """Those who read or write the bucket may use its key, and only for that."""
    (rule,) = bucket(log_group, "DagBucket").properties["BucketEncryption"][
        "ServerSideEncryptionConfiguration"
    ]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert rule["BucketKeyEnabled"] is True
    push = log_group.only("AWS::IAM::ManagedPolicy", "DagPushPolicy")
    assert {action for action, _ in allowed(push, "")} == {
        *("s3:DeleteObject", "s3:GetObject", "s3:PutObject", "s3:ListBucket"),
        *("kms:Decrypt", "kms:GenerateDataKey"),
    }
    assert "KmsKeyId" in log_group.only("AWS::Logs::LogGroup", "TaskLogs").properties


def test_a_dag_processor_elsewhere_may_read_the_dag_files(buckets: Assembly) -> None:
    """The policy of the output covers what the bundle reads, and nothing else."""
    policy = buckets.only("AWS::IAM::ManagedPolicy", "DagReadPolicy")
    assert allowed(policy, "") == {
        ("s3:GetObject", "/team/dags/*"),
        ("s3:GetObjectVersion", "/team/dags/*"),
        ("s3:ListBucket", ""),
    }
    output = buckets.json("execution")["Outputs"]["DagReadPolicyArn"]
    assert output["Value"] == {"Ref": policy.logical_id}


def test_nothing_wanted_is_no_stack() -> None:
    """An empty stack cannot be deployed."""
    override = {**_ELSEWHERE, "logs": {"remote": "none"}, "dags": {"source": "baked"}}
    assert not StorageStack.wanted(config_of("dev", override))


def test_a_triggerer_makes_no_group_but_this_one(tmp_path: Path) -> None:
    """The triggerer may make sure that its log group exists, and touch no other group."""
    stack = cdk.Stack(cdk.App(outdir=str(tmp_path)), "Theirs")
    logs_of_tasks = TaskLogGroup(
        stack,
        "TaskLogs",
        name="/theirs",
        retention=RETENTION[30],
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )
    role = iam.Role.from_role_arn(stack, "Role", "arn:aws:iam::123456789012:role/triggerer")
    logs_of_tasks.grant_write_of_triggers(role)
    (policy,) = Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    actions = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    assert statement["Action"] == actions
    assert list(statement["Resource"]) == ["Fn::GetAtt"]
