"""Properties of every stage and every combination of options."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from lambda_executor.contract import options
from lambda_executor.core.targets import FunctionTarget
from stacks.config import FunctionConfig, RetentionDays
from stacks.stage.retention import RETENTION
from tests.synth.assembly import Assembly, Resource, synthesize
from tests.synth.policies import statements
from tests.synth.security_groups import Rule, rules
from tests.synth.variants import ROOT

#: Everything that holds data, or would outlive its stack if nobody said otherwise.
STATEFUL = (
    "AWS::ECR::Repository",
    "AWS::EFS::FileSystem",
    "AWS::KMS::Key",
    "AWS::Logs::LogGroup",
    "AWS::RDS::DBInstance",
    "AWS::RDS::DBParameterGroup",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::SecretsManager::Secret",
)

#: Those of which CloudFormation can take a snapshot before it deletes them.
#: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-attribute-updatereplacepolicy.html
TAKE_SNAPSHOTS = ("AWS::RDS::DBInstance",)


def functions(assembly: Assembly) -> list[tuple[FunctionConfig, Resource]]:
    """Each function's configuration and resource."""
    by_name = {r.properties["FunctionName"]: r for r in assembly.resources("AWS::Lambda::Function")}
    prefix = f"airflow-lambda-{assembly.stage}"
    names = [
        prefix if f.name == "default" else f"{prefix}-{f.name}" for f in assembly.config.functions
    ]
    assert set(names) == set(by_name)
    return [(f, by_name[name]) for f, name in zip(assembly.config.functions, names, strict=True)]


def variables(function: Resource) -> dict[str, Any]:
    """The variables of a function."""
    found: dict[str, Any] = function.properties["Environment"]["Variables"]
    return found


def payload_bucket(assembly: Assembly) -> Resource:
    """The bucket of invocations that are too large for one event."""
    return assembly.only("AWS::S3::Bucket", "PayloadBucket")


def wired(assembly: Assembly) -> dict[str, str]:
    """The executor's options in the parameter, with logical ids for references."""
    parameter = assembly.only("AWS::SSM::Parameter", "Executor").properties
    assert parameter["Name"] == f"/airflow-lambda/{assembly.stage}/executor"
    _, parts = parameter["Value"]["Fn::Join"]
    resolved = "".join(part if isinstance(part, str) else _reference(part) for part in parts)
    found: dict[str, str] = json.loads(resolved)
    return found


def _reference(value: Mapping[str, Any]) -> str:
    """The logical id, or the name of another stack's export, that a reference is to."""
    found = value.get("Ref") or value.get("Fn::ImportValue") or value["Fn::GetAtt"][0]
    return str(found)


def test_removal_policy_is_explicit(assembly: Assembly) -> None:
    """Every resource with data has the removal policy of the stage.

    Even what is retained goes when the deploy that makes it fails: it is empty, and the next try
    makes it under the same name. A database that an update replaces leaves a snapshot in any stage:
    whoever wants the stage to end without a trace does not want an update to empty it.
    """
    retain = assembly.config.removal == "retain"
    deleted, replaced = ("RetainExceptOnCreate", "Retain") if retain else ("Delete", "Delete")
    for resource in assembly.resources(*STATEFUL):
        if resource.part == "observability":
            continue  # Its key is for alarms on their way: nothing is kept with it.
        assert resource.body.get("DeletionPolicy") == deleted, str(resource)
        leaves_a_snapshot = resource.type in TAKE_SNAPSHOTS and not retain
        expected = "Snapshot" if leaves_a_snapshot else replaced
        assert resource.body.get("UpdateReplacePolicy") == expected, str(resource)


def test_nothing_that_a_failed_deploy_made_is_kept(assembly: Assembly) -> None:
    """What is kept when a stack is deleted still goes when the deploy that makes it is rolled back.

    The next try would find its name taken. A function's version that stays blocks every further
    deploy of the same function, because Lambda publishes nothing that equals the last version.
    https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html
    """
    policies = {str(r): r.body.get("DeletionPolicy", "Delete") for r in assembly.resources()}
    assert not [name for name, policy in policies.items() if policy == "Retain"]


def test_a_first_deploy_that_fails_is_held_up_by_the_database_alone(assembly: Assembly) -> None:
    """Only the database may be protected: a protected resource blocks the rollback of a deploy."""
    for balancer in assembly.resources("AWS::ElasticLoadBalancingV2::LoadBalancer"):
        attributes = balancer.properties["LoadBalancerAttributes"]
        assert {"Key": "deletion_protection.enabled", "Value": "true"} not in attributes
    assert not [
        str(resource)
        for resource in assembly.resources()
        if resource.properties.get("DeletionProtection") and resource.type != "AWS::RDS::DBInstance"
    ]


def test_nothing_is_left_after_destroy(assembly: Assembly) -> None:
    """With removal "destroy" only versions are retained, and they are deleted with the function.

    A repository is emptied first, or CloudFormation could not delete it; the log of a proxy is the
    stage's own, and no custom resource leaves its function's log group behind.
    """
    if assembly.config.removal == "retain":
        pytest.skip("the stage keeps its data")
    kept = {
        resource.type
        for resource in assembly.resources()
        if resource.body.get("DeletionPolicy", "").startswith("Retain")
    }
    assert kept == {"AWS::Lambda::Version"}
    for repository in assembly.resources("AWS::ECR::Repository"):
        assert repository.properties["EmptyOnDelete"] is True
    for database in assembly.resources("AWS::RDS::DBInstance"):
        assert database.properties["DeleteAutomatedBackups"] is True
    groups = {g.properties["LogGroupName"] for g in assembly.resources("AWS::Logs::LogGroup")}
    for proxy in assembly.resources("AWS::RDS::DBProxy"):
        assert f"/aws/rds/proxy/{proxy.properties['DBProxyName']}" in groups
    assert not [str(r) for r in assembly.resources() if r.type.startswith("Custom::")]


def test_nothing_deletes_images_without_knowing_what_runs(assembly: Assembly) -> None:
    """ECR's own rules count images and days: each would in the end delete one that is live.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html
    """
    for repository in assembly.resources("AWS::ECR::Repository"):
        assert "LifecyclePolicy" not in repository.properties, str(repository)


def test_every_log_group_has_a_name_and_ends(assembly: Assembly) -> None:
    """Every log group has a fixed name and the stage's retention."""
    for group in assembly.resources("AWS::Logs::LogGroup"):
        assert group.properties["RetentionInDays"] == assembly.config.logs.retention_days
        name = group.properties["LogGroupName"]
        assert f"airflow-lambda-{assembly.stage}" in name or (
            f"airflow-lambda/{assembly.stage}/" in name
        ), str(group)


def test_data_is_encrypted_at_rest(assembly: Assembly) -> None:
    """All stored data is encrypted, with the stage's key or AWS's."""
    own = assembly.config.encryption.key == "customer"
    for database in assembly.resources("AWS::RDS::DBInstance"):
        made_here = "DBSnapshotIdentifier" not in database.properties
        assert database.properties.get("StorageEncrypted", False) is made_here
        assert ("KmsKeyId" in database.properties) is (own and made_here)
    for queue in assembly.resources("AWS::SQS::Queue"):
        assert queue.properties.get("SqsManagedSseEnabled", False) is not own, str(queue)
        assert ("KmsMasterKeyId" in queue.properties) is own, str(queue)
    for bucket in assembly.resources("AWS::S3::Bucket"):
        (rule,) = bucket.properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        algorithm = rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"]
        assert algorithm == ("aws:kms" if own else "AES256"), str(bucket)
    for resource, setting in (
        *((r, "KmsKeyId") for r in assembly.resources("AWS::Logs::LogGroup")),
        *((r, "KmsKeyId") for r in assembly.resources("AWS::SecretsManager::Secret")),
        *((r, "KmsKeyArn") for r in assembly.resources("AWS::Lambda::Function")),
    ):
        assert (setting in resource.properties) is own, str(resource)
    for repository in assembly.resources("AWS::ECR::Repository"):
        assert ("EncryptionConfiguration" in repository.properties) is own


def test_key_of_the_stage_lets_its_logs_in_and_rotates(assembly: Assembly) -> None:
    """The key's policy lets CloudWatch use it for the stage's log groups only."""
    for key in assembly.resources("AWS::KMS::Key"):
        assert key.properties["EnableKeyRotation"] is True
    if not assembly.has("encryption"):
        return
    key = assembly.only("AWS::KMS::Key", "Key")
    account, of_logs = statements(key)
    assert ":root" in json.dumps(account["Principal"])
    assert "kms:PutKeyPolicy" in account["Action"]
    context = json.dumps(of_logs["Condition"]["ArnLike"])
    assert "kms:EncryptionContext:aws:logs:arn" in context
    assert f"/aws/lambda/airflow-lambda-{assembly.stage}*" in context
    assert f"/aws/rds/proxy/airflow-lambda-{assembly.stage}" in context


def test_policy_of_an_existing_key_is_documented(assembly_of: Callable[[str], Assembly]) -> None:
    """What the page says an existing key must allow is what the stage's own key allows."""
    _, of_logs = statements(assembly_of("much").only("AWS::KMS::Key", "Key"))
    of_logs = {key: of_logs[key] for key in sorted(of_logs.keys() - {"Sid"})}
    text = json.dumps(of_logs)
    for ours, placeholder in (
        ("eu-west-1", "<region>"),
        ("123456789012", "<account>"),
        ("airflow-lambda-dev", "airflow-lambda-<stage>"),
        ("airflow-lambda/dev/", "airflow-lambda/<stage>/"),
    ):
        text = text.replace(ours, placeholder)
    _, _, section = (ROOT / "docs/howto/network.md").read_text().partition("## An existing KMS key")
    documented = json.loads(section.partition("```json")[2].partition("```")[0])
    documented["Action"] = sorted(documented["Action"])
    assert documented == json.loads(text)


def test_queues_refuse_plain_http(assembly: Assembly) -> None:
    """Every queue refuses requests without TLS."""
    queues = {queue.logical_id for queue in assembly.resources("AWS::SQS::Queue")}
    denied = set()
    for policy in assembly.resources("AWS::SQS::QueuePolicy"):
        for statement in statements(policy):
            assert statement["Effect"] == "Deny"
            assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        denied |= {queue["Ref"] for queue in policy.properties["Queues"]}
    assert denied == queues


def test_buckets_are_closed(assembly: Assembly) -> None:
    """Every bucket refuses public access and plain HTTP, and its objects expire."""
    policies = {
        policy.properties["Bucket"]["Ref"]: policy
        for policy in assembly.resources("AWS::S3::BucketPolicy")
    }
    for bucket in assembly.resources("AWS::S3::Bucket"):
        assert set(bucket.properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket.properties["LifecycleConfiguration"]["Rules"], str(bucket)
        (statement,) = statements(policies[bucket.logical_id])
        assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert len(statement["Resource"]) == 2  # the bucket and the objects


def test_payloads_pass(assembly: Assembly) -> None:
    """Payloads expire, and the bucket keeps no old versions."""
    bucket = payload_bucket(assembly)
    assert "VersioningConfiguration" not in bucket.properties
    (rule,) = bucket.properties["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 1)
    assert not rule.keys() & {"Prefix", "TagFilters"}


def test_functions_read_the_bucket_that_the_executor_writes_to(assembly: Assembly) -> None:
    """The functions' variable and the executor's option name the same bucket, and no other."""
    bucket = payload_bucket(assembly).logical_id
    for _, function in functions(assembly):
        assert variables(function)[options.PAYLOAD_BUCKET.environment_variable] == {"Ref": bucket}
    assert wired(assembly)["payload_bucket"] == bucket


def test_database_is_private_and_takes_tls_only(assembly: Assembly) -> None:
    """The database has no public address, refuses plain connections and is in isolated subnets."""
    if not assembly.has("database"):
        assert not assembly.config.database.enabled
        return
    parameters = assembly.only("AWS::RDS::DBParameterGroup").properties["Parameters"]
    assert parameters == {"rds.force_ssl": "1"}
    database = assembly.only("AWS::RDS::DBInstance").properties
    assert database["Engine"] == "postgres"
    assert database["EngineVersion"] == assembly.config.database.postgres_version
    assert database["PubliclyAccessible"] is False
    assert "{{resolve:secretsmanager:" in json.dumps(database["MasterUserPassword"])
    for proxy in assembly.resources("AWS::RDS::DBProxy"):
        assert proxy.properties["RequireTLS"] is True
    isolated = json.dumps(assembly.config.network.isolated_subnet_ids)
    for subnet in assembly.only("AWS::RDS::DBSubnetGroup").properties["SubnetIds"]:
        assert "IsolatedSubnet" in json.dumps(subnet) or json.dumps(subnet) in isolated


def test_everybody_in_the_vpc_is_let_in_by_reference(assembly: Assembly) -> None:
    """Security groups name other groups, never addresses, with the load balancer's exception."""
    for rule in assembly.resources("AWS::EC2::SecurityGroupIngress"):
        assert "SourceSecurityGroupId" in rule.properties, str(rule)
        assert "CidrIp" not in rule.properties, str(rule)
    for group in assembly.resources("AWS::EC2::SecurityGroup"):
        if not group.logical_id.startswith("Entrance"):
            assert "SecurityGroupIngress" not in group.properties, str(group)


def test_every_new_vpc_has_the_way_to_s3_that_is_free(assembly: Assembly) -> None:
    """S3's gateway endpoint is in every route table, and closed only where nothing else is open.

    Image layers come from S3 too, and a NAT gateway charges for each GB:
    https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-s3.html
    """
    if not assembly.has("network"):
        return
    gateways = [
        endpoint.properties
        for endpoint in assembly.resources("AWS::EC2::VPCEndpoint")
        if endpoint.properties["VpcEndpointType"] == "Gateway"
    ]
    if assembly.config.network.vpc_id:
        assert gateways == []
        return
    (gateway,) = gateways
    assert json.dumps(gateway["ServiceName"]).endswith('".s3"]]}')
    tables = {table.logical_id for table in assembly.resources("AWS::EC2::RouteTable")}
    assert {table["Ref"] for table in gateway["RouteTableIds"]} == tables
    assert ("PolicyDocument" in gateway) is assembly.config.network.endpoints


def test_an_existing_vpc_gets_security_groups_alone(assembly: Assembly) -> None:
    """Nothing else of EC2 is made for it: no subnet, route, gateway or endpoint."""
    if not assembly.config.network.vpc_id:
        return
    made = {found.type for found in assembly.resources() if found.type.startswith("AWS::EC2::")}
    groups = {"", "Ingress", "Egress"}
    assert made <= {f"AWS::EC2::SecurityGroup{ending}" for ending in groups}
    assert "AWS::EC2::SecurityGroup" in made


def interface_endpoints(assembly: Assembly) -> set[str]:
    """The services that a VPC without a way to the Internet reaches, such as `ecr.api`."""
    return {
        endpoint.properties["ServiceName"]["Fn::Join"][1][-1].lstrip(".")
        for endpoint in assembly.resources("AWS::EC2::VPCEndpoint")
        if endpoint.properties["VpcEndpointType"] == "Interface"
    }


def test_the_control_plane_reaches_all_that_it_calls(
    assembly_of: Callable[[str], Assembly],
) -> None:
    """What Airflow, the executor and the doctor call has an endpoint, as documented."""
    needed = interface_endpoints(assembly_of("permitted"))
    assert needed == {
        *("ecr.api", "ecr.dkr", "lambda", "logs", "secretsmanager", "sqs"),
        *("ssm", "ssmmessages", "sts"),
    }
    page = (ROOT / "docs/howto/network.md").read_text()
    _, _, of_an_existing_vpc = page.partition("## An existing VPC")
    named = set(re.findall(r"^\| `([a-z0-9.]+)` \|", of_an_existing_vpc, re.MULTILINE))
    assert named == {*needed, "s3"}


@pytest.mark.parametrize("with_secrets", [False, True])
def test_micro_vms_inside_reach_their_secrets(with_secrets: bool, tmp_path: Path) -> None:
    """They are where the functions are, which here have no secrets."""
    target = {"kind": "microvm", "name": "long", "queues": ["long"]}
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf"
    secrets = {"secrets": {"PASSWORD": arn}}
    inside = synthesize(
        tmp_path,
        "dev",
        {
            "account": "123456789012",
            "region": "eu-west-1",
            "network": {"function_in_vpc": True, "endpoints": True, "nat_gateways": 0},
            "targets": [{**target, **(secrets if with_secrets else {})}],
            "control_plane": {"kind": "none"},
            "execution": {"execution_api_url": "https://airflow.example.com/execution/"},
        },
    )
    endpoints = [e.properties["ServiceName"] for e in inside.resources("AWS::EC2::VPCEndpoint")]
    assert "com.amazonaws.eu-west-1.sqs" in endpoints
    assert ("com.amazonaws.eu-west-1.secretsmanager" in endpoints) is with_secrets


def test_a_restored_database_has_what_its_snapshot_has(assembly: Assembly) -> None:
    """CloudFormation takes user, name and encryption from the snapshot, and refuses them beside it.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-rds-dbinstance.html
    """
    of_the_snapshot = {"DBName", "KmsKeyId", "MasterUsername", "StorageEncrypted"}
    for database in assembly.resources("AWS::RDS::DBInstance"):
        snapshot = assembly.config.database.snapshot_identifier
        assert database.properties.get("DBSnapshotIdentifier") == snapshot
        if snapshot:
            assert not of_the_snapshot & database.properties.keys()
        else:
            assert of_the_snapshot - {"KmsKeyId"} <= database.properties.keys()


def test_the_storage_of_the_database_grows(assembly: Assembly) -> None:
    """RDS enlarges the storage before it is full, up to a limit that it takes.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PIOPS.Autoscaling.html
    """
    for database in assembly.resources("AWS::RDS::DBInstance"):
        most, now = (
            int(database.properties[name]) for name in ("MaxAllocatedStorage", "AllocatedStorage")
        )
        assert most >= 1.1 * now
        assert most == (assembly.config.database.max_storage_gb or 5 * now)


def test_no_rule_of_a_security_group_is_there_twice(assembly: Assembly) -> None:
    """No two rules of all stacks are equal to EC2, which refuses the second and fails the deploy.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    """
    by_rule: dict[Rule, list[str]] = {}
    for rule in rules(assembly):
        by_rule.setdefault(rule, []).append(rule.where)
    assert [where for where in by_rule.values() if len(where) > 1] == []
    assert by_rule or not assembly.has("network")


def test_database_is_reached_by_its_clients_on_one_port(assembly: Assembly) -> None:
    """The database lets its clients and its proxy in, and the proxy lets the functions in."""
    if not assembly.has("database"):
        return
    ways = {
        (rule.logical_id.partition("from")[0], rule.properties["FromPort"])
        for rule in assembly.resources("AWS::EC2::SecurityGroupIngress")
        if rule.part == "network" and rule.logical_id.startswith("Database")
    }
    sources = {
        name
        for rule in assembly.resources("AWS::EC2::SecurityGroupIngress")
        if rule.logical_id.startswith("Database")
        for name in ("DatabaseClients", "DatabaseProxy", "Function")
        if name in json.dumps(rule.properties["SourceSecurityGroupId"])
    }
    assert {port for _, port in ways} == {5432}
    proxied = {"DatabaseProxy", "Function"} if assembly.config.database.proxy else set()
    assert sources == {"DatabaseClients", *proxied}


def test_lambda_never_starts_a_workload_twice(assembly: Assembly) -> None:
    """Alias and unpublished version have no retries and the configured event age."""
    configs = assembly.resources("AWS::Lambda::EventInvokeConfig")
    assert len(configs) == 2 * len(functions(assembly))
    unpublished = [c for c in configs if "$LATEST" in json.dumps(c.properties["Qualifier"])]
    assert len(unpublished) == len(functions(assembly))
    for config in configs:
        assert config.properties["MaximumRetryAttempts"] == 0
        age = config.properties["MaximumEventAgeInSeconds"]
        assert age == assembly.config.execution.event_age_s
        assert age <= assembly.config.execution.task_queued_timeout_s


def test_snapshots_are_of_published_versions_and_go_with_the_rest(assembly: Assembly) -> None:
    """A function with a snapshot is invoked by a version of it, and has nothing Lambda refuses.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html#snapstart-runtimes
    """
    aliases = {
        alias.properties["FunctionName"]["Ref"]: alias.properties
        for alias in assembly.resources("AWS::Lambda::Alias")
    }
    versions = {
        version.properties["FunctionName"]["Ref"]: version.logical_id
        for version in assembly.resources("AWS::Lambda::Version")
    }
    for settings, function in functions(assembly):
        wanted = assembly.config.starts_from_snapshot(settings)
        asked = function.properties.get("SnapStart")
        assert asked == ({"ApplyOn": "PublishedVersions"} if wanted else None), str(function)
        alias = aliases[function.logical_id]
        invoked = {"Fn::GetAtt": [versions[function.logical_id], "Version"]}
        assert alias["FunctionVersion"] == invoked
        if wanted:
            assert "ProvisionedConcurrencyConfig" not in alias
            assert "TenancyConfig" not in function.properties
            assert "FileSystemConfigs" not in function.properties
            assert function.properties["EphemeralStorage"] == {"Size": 512}


def test_a_deploy_with_snapshots_says_that_old_versions_cost_money(assembly: Assembly) -> None:
    """The CDK prints the output at its end; a stage without snapshots has none."""
    output = assembly.json("execution")["Outputs"].get("OldVersions")
    config = assembly.config
    micro_vms = any(target.kind == "microvm" for target in config.targets)
    if micro_vms or any(map(config.starts_from_snapshot, config.functions)):
        assert f"make prune STAGE={assembly.stage}" in output["Value"]
    else:
        assert output is None


def test_what_lambda_gives_up_on_is_told_twice(assembly: Assembly) -> None:
    """Lambda sends dead letters to the executor's queue and failure records to people's."""
    dead_letters = assembly.only("AWS::SQS::Queue", "ResultsQueueDeadLetters").logical_id
    failures = assembly.only("AWS::SQS::Queue", "ResultsQueueFailures").logical_id
    for _, function in functions(assembly):
        target = function.properties["DeadLetterConfig"]["TargetArn"]
        assert target == {"Fn::GetAtt": [dead_letters, "Arn"]}
    for config in assembly.resources("AWS::Lambda::EventInvokeConfig"):
        destination = config.properties["DestinationConfig"]["OnFailure"]["Destination"]
        assert destination == {"Fn::GetAtt": [failures, "Arn"]}
    assert wired(assembly)["dead_letter_queue_url"] == dead_letters
    assert failures not in json.dumps(wired(assembly))


def test_functions_stop_loops(assembly: Assembly) -> None:
    """A workload that invokes its own function through a queue or a bucket is stopped by Lambda."""
    for _, function in functions(assembly):
        assert function.properties["RecursiveLoop"] == "Terminate"


def test_aliases_point_at_published_versions(assembly: Assembly) -> None:
    """The alias points at a version, and old versions survive a deploy."""
    versions = {v.logical_id: v for v in assembly.resources("AWS::Lambda::Version")}
    aliases = assembly.resources("AWS::Lambda::Alias")
    assert len(aliases) == len(versions) == len(functions(assembly))
    for alias in aliases:
        (version, _) = alias.properties["FunctionVersion"]["Fn::GetAtt"]
        assert versions[version].body["DeletionPolicy"] == "RetainExceptOnCreate"
        assert alias.properties["Name"] == "live"


def test_functions_are_what_the_stage_says(assembly: Assembly) -> None:
    """Memory, time-out, /tmp, architecture, concurrency and tenancy reach each function."""
    for settings, function in functions(assembly):
        properties = function.properties
        assert properties["MemorySize"] == settings.memory_mb
        assert properties["Timeout"] == settings.timeout_s
        assert properties["EphemeralStorage"] == {"Size": settings.ephemeral_storage_mb}
        assert properties["Architectures"] == [settings.architecture]
        reserved = properties.get("ReservedConcurrentExecutions")
        assert reserved == settings.reserved_concurrency
        tenancy = {"TenantIsolationMode": "PER_TENANT"} if settings.tenant_isolation else None
        assert properties.get("TenancyConfig") == tenancy
        (alias,) = (
            alias.properties
            for alias in assembly.resources("AWS::Lambda::Alias")
            if alias.properties["FunctionName"] == {"Ref": function.logical_id}
        )
        warm = alias.get("ProvisionedConcurrencyConfig", {}).get("ProvisionedConcurrentExecutions")
        assert warm == settings.provisioned_concurrency


def test_functions_are_told_what_the_handler_reads(assembly: Assembly) -> None:
    """A function has exactly the variables that the stage needs, and no secret."""
    config = assembly.config
    remote = config.logs.remote != "none"
    for settings, function in functions(assembly):
        margins = settings.stop_margin_s is not None
        given_by_owner = config.workloads_of(settings)
        expected = {
            **dict.fromkeys(given_by_owner.environment, True),
            options.WORKLOAD_SECRETS.environment_variable: bool(given_by_owner.secrets),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": True,
            options.QUEUE_URL.environment_variable: True,
            options.PAYLOAD_BUCKET.environment_variable: True,
            options.STOP_MARGIN_S.environment_variable: margins,
            options.KILL_MARGIN_S.environment_variable: margins,
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": config.dags.source != "baked",
            "AIRFLOW__LOGGING__REMOTE_LOGGING": remote,
            "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": remote,
        }
        assert variables(function).keys() == {name for name, given in expected.items() if given}
        assert "resolve:secretsmanager" not in json.dumps(variables(function))
        assert not given_by_owner.secrets.keys() & variables(function).keys()


def test_every_allowed_log_retention_has_the_cdks_name() -> None:
    """Every allowed retention has a value of the CDK."""
    assert set(get_args(RetentionDays)) == set(RETENTION)


def test_functions_are_in_the_vpc_only_where_asked(assembly: Assembly) -> None:
    """A function is in the private subnets or outside the VPC, as configured."""
    network = assembly.config.network
    for _, function in functions(assembly):
        vpc = function.properties.get("VpcConfig")
        assert bool(vpc) == network.function_in_vpc
        for subnet in vpc["SubnetIds"] if vpc else ():
            assert "PrivateSubnet" in json.dumps(subnet) or subnet in network.private_subnet_ids
    assert assembly.has("network") == assembly.config.needs_vpc


def test_parameter_holds_every_wired_option(assembly: Assembly) -> None:
    """The SSM parameter is a JSON object of all wired options, each a text, none empty.

    Those of targets are there only with targets: unset, every task stays on the functions.
    """
    found = wired(assembly)
    of_targets = set() if assembly.config.targets else {options.TARGETS, options.OFFERS}
    assert list(found) == [
        option.name for option in options.WIRED_OPTIONS if option not in of_targets
    ]
    assert all(isinstance(value, str) and value for value in found.values())
    required = {option.name for option in options.OPTIONS if option.required}
    assert required <= found.keys()


def test_every_queue_of_airflow_leads_to_its_function(assembly: Assembly) -> None:
    """The parameter maps each queue to a function and its alias."""
    routes = json.loads(wired(assembly)["functions"])
    expected = {
        queue: FunctionTarget(
            function.logical_id, "live", queue if settings.tenant_isolation else None
        )
        for settings, function in functions(assembly)
        for queue in settings.queues
    }
    assert {q: FunctionTarget.parse(target, where=q) for q, target in routes.items()} == expected
    assert len(json.loads(wired(assembly)["queue_urls"])) == (
        assembly.config.execution.results_queues
    )


def test_parameter_takes_more_than_is_free(assembly: Assembly) -> None:
    """The parameter's tier allows more than 4 KB, and costs nothing below that."""
    parameter = assembly.only("AWS::SSM::Parameter", "Executor").properties
    assert parameter["Tier"] == "Intelligent-Tiering"


def test_config_line_is_the_whole_wiring(assembly: Assembly) -> None:
    """The line that wires an Airflow can be copied as it is."""
    line = assembly.json("execution")["Outputs"]["ConfigLine"]["Value"]
    joined = line if isinstance(line, str) else "".join(map(str, line["Fn::Join"][1]))
    parameter = assembly.only("AWS::SSM::Parameter", "Executor").logical_id
    assert joined == f"AIRFLOW__LAMBDA_EXECUTOR__CONFIG_PARAMETER={ {'Ref': parameter} }"


def test_outputs_are_the_agreed_ones(assembly_of: Callable[[str], Assembly]) -> None:
    """The stack has exactly the outputs that people and tools read."""
    local = assembly_of("local")
    outputs = {
        part: {
            key
            for key, output in local.json(part).get("Outputs", {}).items()
            if "Export" not in output
        }
        for part in local.parts
    }
    assert outputs == {
        "registry": set(),
        "network": {"DatabaseClientsSecurityGroupId"},
        "database": {"DatabaseHost", "DatabasePort", "DatabaseName", "DatabaseSecretArn"},
        "execution": {
            "ConfigLine",
            "ConfigParameterName",
            "DeadLetterQueueUrl",
            "EnvFileCommand",
            "FailuresQueueUrl",
            "FunctionAlias",
            "FunctionName",
            "FunctionRoleArn",
            "HelmValuesCommand",
            "LogGroupName",
            "OldVersions",
            "PagePolicyArn",
            "PayloadBucketName",
            "ResultsQueueUrl",
            "SchedulerPolicyArn",
            "SchedulerRoleArn",
            "SecretsPolicyArn",
        },
    }


def test_stacks_are_those_that_the_stage_needs(assembly: Assembly) -> None:
    """A stage has only the stacks that it needs."""
    config = assembly.config
    assert set(assembly.parts) == {
        part
        for part, needed in {
            "encryption": config.encryption.key == "customer" and not config.encryption.key_arn,
            "registry": config.image.uri is None,
            "network": config.needs_vpc,
            "database": config.database.enabled,
            "storage": config.logs.remote != "none"
            or config.dags.source == "s3"
            or config.shared_files.mount is not None,
            "execution": True,
            "control-plane": config.control_plane.kind == "fargate",
            "observability": config.observability.wanted,
        }.items()
        if needed
    }
