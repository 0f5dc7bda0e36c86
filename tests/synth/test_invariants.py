"""What holds in every stage, whatever its configuration says."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from aws_cdk.assertions import Match

from lambda_executor import options
from stacks.config import RetentionDays
from stacks.retention import RETENTION
from tests.synth.assembly import Assembly, Resource

#: Everything that holds data, or would outlive its stack if nobody said otherwise.
STATEFUL = (
    "AWS::ECR::Repository",
    "AWS::Logs::LogGroup",
    "AWS::RDS::DBInstance",
    "AWS::RDS::DBParameterGroup",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::SecretsManager::Secret",
)


def statements(resource: Resource) -> list[dict[str, Any]]:
    """Every policy statement anywhere in a resource."""
    found: list[dict[str, Any]] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if "Effect" in value and ("Action" in value or "NotAction" in value):
                found.append(value)
            for child in value.values():
                walk(child)
        elif isinstance(value, list):
            for child in value:
                walk(child)

    walk(resource.properties)
    return found


def listed(value: object) -> list[Any]:
    """IAM writes a list of one as the one."""
    return value if isinstance(value, list) else [value]


def test_removal_policy_is_explicit(assembly: Assembly) -> None:
    """What holds data says what becomes of it, and it is what the stage asked for."""
    wanted = {"destroy": "Delete", "retain": "Retain"}[assembly.config.removal]
    stateful = assembly.resources(*STATEFUL)
    assert {r.type for r in stateful} == set(STATEFUL)
    for resource in stateful:
        assert resource.body.get("DeletionPolicy") == wanted, str(resource)
        assert resource.body.get("UpdateReplacePolicy") == wanted, str(resource)


def test_nothing_is_left_after_destroy(assembly: Assembly) -> None:
    """A stage that is to be destroyed keeps nothing back but versions, which go with the function.

    A repository is emptied first, or CloudFormation could not delete it, and no custom resource
    leaves its function's log group behind.
    """
    if assembly.config.removal == "retain":
        pytest.skip("the stage keeps its data")
    kept = {r.type for r in assembly.resources() if r.body.get("DeletionPolicy") == "Retain"}
    assert kept == {"AWS::Lambda::Version"}
    assert assembly.only("AWS::ECR::Repository").properties["EmptyOnDelete"] is True
    assert assembly.only("AWS::RDS::DBInstance").properties["DeleteAutomatedBackups"] is True
    assert not [str(r) for r in assembly.resources() if r.type.startswith("Custom::")]
    assert len(assembly.resources("AWS::Lambda::Function")) == 1


def test_data_is_encrypted_at_rest(assembly: Assembly) -> None:
    """Database, queues and bucket are encrypted; repositories and log groups always are."""
    assert assembly.only("AWS::RDS::DBInstance").properties["StorageEncrypted"] is True
    for queue in assembly.resources("AWS::SQS::Queue"):
        assert queue.properties["SqsManagedSseEnabled"] is True, str(queue)
    bucket = assembly.only("AWS::S3::Bucket").properties
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}


def test_queues_refuse_plain_http(assembly: Assembly) -> None:
    """Every queue denies everybody everything that does not come over TLS."""
    queues = {queue.logical_id for queue in assembly.resources("AWS::SQS::Queue")}
    denied = set()
    for policy in assembly.resources("AWS::SQS::QueuePolicy"):
        for statement in statements(policy):
            assert statement["Effect"] == "Deny"
            assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        denied |= {queue["Ref"] for queue in policy.properties["Queues"]}
    assert denied == queues


def test_payloads_are_private_and_pass(assembly: Assembly) -> None:
    """The bucket is closed to the public and to plain HTTP, and nothing stays for long in it."""
    bucket = assembly.only("AWS::S3::Bucket")
    assert set(bucket.properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert "VersioningConfiguration" not in bucket.properties
    (rule,) = bucket.properties["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 1)
    assert not rule.keys() & {"Prefix", "TagFilters"}
    policy = assembly.only("AWS::S3::BucketPolicy")
    assert policy.properties["Bucket"] == {"Ref": bucket.logical_id}
    (statement,) = statements(policy)
    assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert len(statement["Resource"]) == 2  # the bucket and the objects


def test_function_reads_the_bucket_that_the_executor_writes_to(assembly: Assembly) -> None:
    """The function's variable and the executor's option name the same bucket, and no other."""
    bucket = {"Ref": assembly.only("AWS::S3::Bucket").logical_id}
    variables = assembly.only("AWS::Lambda::Function").properties["Environment"]["Variables"]
    assert variables[options.PAYLOAD_BUCKET.environment_variable] == bucket
    _, parts = assembly.only("AWS::SSM::Parameter", "Executor").properties["Value"]["Fn::Join"]
    before = parts[parts.index(bucket) - 1]
    assert before.endswith('"payload_bucket":"')


def test_database_is_private_and_takes_tls_only(assembly: Assembly) -> None:
    """The database has no public address, refuses plain connections and is in isolated subnets."""
    template = assembly.template("database")
    template.has_resource_properties(
        "AWS::RDS::DBParameterGroup", {"Parameters": {"rds.force_ssl": "1"}}
    )
    template.has_resource_properties(
        "AWS::RDS::DBInstance",
        {
            "Engine": "postgres",
            "EngineVersion": assembly.config.database.postgres_version,
            "PubliclyAccessible": False,
            "MasterUserPassword": {"Fn::Join": Match.any_value()},
        },
    )
    subnets = assembly.only("AWS::RDS::DBSubnetGroup").properties["SubnetIds"]
    assert len(subnets) == assembly.config.network.max_azs
    assert all("IsolatedSubnet" in json.dumps(subnet) for subnet in subnets)


def test_only_its_clients_reach_the_database(assembly: Assembly) -> None:
    """The database's security group lets in one other group, on one port."""
    ingress = assembly.only("AWS::EC2::SecurityGroupIngress").properties
    assert (ingress["FromPort"], ingress["ToPort"]) == (5432, 5432)
    assert "DatabaseClients" in json.dumps(ingress["SourceSecurityGroupId"])
    for group in assembly.resources("AWS::EC2::SecurityGroup"):
        assert "SecurityGroupIngress" not in group.properties, str(group)


def test_lambda_never_starts_a_workload_twice(assembly: Assembly) -> None:
    """Retries are 0 for whatever is invoked, alias or unpublished version; events age as asked."""
    configs = assembly.resources("AWS::Lambda::EventInvokeConfig")
    qualifiers = [json.dumps(config.properties["Qualifier"]) for config in configs]
    assert len(configs) == 2
    assert any("$LATEST" in q for q in qualifiers)
    assert any("WorkloadLive" in q for q in qualifiers)
    for config in configs:
        assert config.properties["MaximumRetryAttempts"] == 0
        age = config.properties["MaximumEventAgeInSeconds"]
        assert age == assembly.config.execution.event_age_s
        assert age <= assembly.config.execution.task_queued_timeout_s


def test_what_lambda_gives_up_on_becomes_a_dead_letter(assembly: Assembly) -> None:
    """The function's own dead-letter queue is the one that the executor is told to drain."""
    function = assembly.only("AWS::Lambda::Function")
    queue = function.properties["DeadLetterConfig"]["TargetArn"]["Fn::GetAtt"][0]
    assert queue == assembly.only("AWS::SQS::Queue", "ResultsQueueDeadLetters").logical_id
    wired = json.dumps(assembly.only("AWS::SSM::Parameter", "Executor").properties["Value"])
    assert wired.count(queue) == 1


def test_alias_points_at_a_published_version(assembly: Assembly) -> None:
    """What is invoked is a version that never changes, and an older one survives a deploy."""
    version = assembly.only("AWS::Lambda::Version")
    alias = assembly.only("AWS::Lambda::Alias")
    assert alias.properties["FunctionVersion"] == {"Fn::GetAtt": [version.logical_id, "Version"]}
    assert version.body["DeletionPolicy"] == "Retain"


def test_function_is_what_the_stage_says(assembly: Assembly) -> None:
    """Memory, time-out, /tmp, architecture, concurrency and log retention reach the function."""
    config, properties = assembly.config, assembly.only("AWS::Lambda::Function").properties
    assert properties["MemorySize"] == config.default_function.memory_mb
    assert properties["Timeout"] == config.default_function.timeout_s
    assert properties["EphemeralStorage"] == {"Size": config.default_function.ephemeral_storage_mb}
    assert properties["Architectures"] == [config.default_function.architecture]
    reserved = properties.get("ReservedConcurrentExecutions")
    assert reserved == config.default_function.reserved_concurrency
    log = assembly.only("AWS::Logs::LogGroup", "WorkloadLog").properties
    assert log["RetentionInDays"] == config.logs.retention_days
    assert properties["Environment"]["Variables"].keys() == {
        "AIRFLOW__LAMBDA_EXECUTOR__PAYLOAD_BUCKET",
        "AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URL",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
    }


def test_every_allowed_log_retention_has_the_cdks_name() -> None:
    """What the configuration allows can be built."""
    assert set(get_args(RetentionDays)) == set(RETENTION)


def test_function_is_in_the_vpc_only_where_asked(assembly: Assembly) -> None:
    """Inside the VPC the function is in subnets with a way out, and nowhere near it otherwise."""
    vpc = assembly.only("AWS::Lambda::Function").properties.get("VpcConfig")
    assert bool(vpc) == assembly.config.network.function_in_vpc
    if vpc:
        assert all("PrivateSubnet" in json.dumps(subnet) for subnet in vpc["SubnetIds"])


def test_parameter_holds_every_wired_option(assembly: Assembly) -> None:
    """The SSM parameter is a JSON object of all wired options, each a text, none empty."""
    parameter = assembly.only("AWS::SSM::Parameter", "Executor").properties
    assert parameter["Name"] == f"/airflow-lambda/{assembly.stage}/executor"
    _, parts = parameter["Value"]["Fn::Join"]
    resolved = "".join(part if isinstance(part, str) else part["Ref"] for part in parts)
    wired = json.loads(resolved)
    assert list(wired) == [option.name for option in options.WIRED_OPTIONS]
    assert all(isinstance(value, str) and value for value in wired.values())
    required = {option.name for option in options.OPTIONS if option.required}
    assert required <= wired.keys()


def test_outputs_are_the_agreed_ones(assembly: Assembly) -> None:
    """The keys that people and tools read are there, no more and no less."""
    outputs = {
        part: {
            key
            for key, output in assembly.json(part).get("Outputs", {}).items()
            if "Export" not in output
        }
        for part in assembly.parts
    }
    observability = {"AlarmTopicArn", "DashboardName"}
    elsewhere = assembly.config.control_plane.kind == "none"
    wiring = {"EnvFileCommand", "HelmValuesCommand"} if elsewhere else set()
    assert outputs == {
        **({"observability": observability} if "observability" in outputs else {}),
        "registry": set(),
        "network": {"DatabaseClientsSecurityGroupId"},
        "database": {"DatabaseHost", "DatabasePort", "DatabaseName", "DatabaseSecretArn"},
        "execution": {
            "ConfigLine",
            "ConfigParameterName",
            "DeadLetterQueueUrl",
            "FailuresQueueUrl",
            "FunctionAlias",
            "FunctionName",
            "LogGroupName",
            "PayloadBucketName",
            "ResultsQueueUrl",
            "SchedulerPolicyArn",
            "SchedulerRoleArn",
            "SecretsPolicyArn",
            *wiring,
        },
    }


def test_config_line_is_the_whole_wiring(assembly: Assembly) -> None:
    """The line that wires an Airflow can be copied as it is."""
    line = assembly.json("execution")["Outputs"]["ConfigLine"]["Value"]
    joined = line if isinstance(line, str) else "".join(map(str, line["Fn::Join"][1]))
    parameter = assembly.only("AWS::SSM::Parameter", "Executor").logical_id
    assert joined == (f"AIRFLOW__LAMBDA_EXECUTOR__CONFIG_PARAMETER={ {'Ref': parameter} }")


def test_no_statement_allows_every_action(assembly: Assembly) -> None:
    """No Allow names a whole service or a family of actions."""
    for resource in assembly.resources():
        for statement in statements(resource):
            if statement["Effect"] == "Allow":
                assert "NotAction" not in statement, str(resource)
                assert not [a for a in listed(statement["Action"]) if "*" in a], str(resource)


def test_every_resource_of_a_statement_is_named(assembly: Assembly) -> None:
    """`*` as resource appears only for what Lambda itself does to attach to a VPC."""
    for resource in assembly.resources():
        if resource.type == "AWS::KMS::Key":
            continue  # In the policy of a key, `*` is this key.
        for statement in statements(resource):
            if statement["Effect"] == "Allow" and "*" in listed(statement.get("Resource", [])):
                actions = listed(statement["Action"])
                assert assembly.config.network.function_in_vpc, str(resource)
                assert {action.partition(":")[0] for action in actions} == {"ec2"}, str(resource)
