"""Airflow's own programs on Fargate: how they start, who may reach them, what they may do."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk._shared.module_loading import import_string

from airflow_lambda_constructs.airflow.airflow_control_plane import HEALTH_COMMANDS
from lambda_executor.contract.names import (
    ADMIN_PASSWORD,
    CONTAINER_PREFIX,
    DATABASE,
    DATABASE_PASSWORD,
    DATABASE_USERNAME,
    FERNET_KEY,
    SIGNING_KEY,
)
from tests.synth.assembly import Assembly, Resource, new_app, synthesize
from tests.synth.stacks.test_synth import findings

PROGRAMS = {"api-server", "scheduler", "dag-processor", "triggerer"}

_CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
_FARGATE: Mapping[str, Any] = {
    "network": {"function_in_vpc": True, "nat_gateways": 1, "endpoints": False},
    "execution": {"execution_api_url": None, "results_queues": 2},
    "logs": {"remote": "s3"},
    "dags": {"source": "s3"},
    "control_plane": {
        "kind": "fargate",
        "entrance": "load_balancer",
        "one_task": False,
        "spot": False,
        "public_addresses": False,
        "schedulers": 2,
        "sizes": {"scheduler": {"cpu": 2048, "memory_mb": 8192}},
        "certificate_arn": None,
        "execute_command": False,
    },
}
_PUBLIC: Mapping[str, Any] = {
    **_FARGATE,
    "account": "123456789012",
    "region": "eu-west-1",
    "control_plane": {
        **_FARGATE["control_plane"],
        "schedulers": 1,
        "triggerers": 0,
        "execute_command": True,
        "certificate_arn": _CERTIFICATE,
        "domain_name": "airflow.example.com",
        "allowed_cidrs": ["51.15.0.0/16"],
    },
}


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """A stage whose UI is opened from inside the VPC."""
    return synthesize(tmp_path_factory.mktemp("inside"), "dev", _FARGATE)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """A stage whose UI is on the Internet, for some."""
    return synthesize(tmp_path_factory.mktemp("public"), "dev", _PUBLIC)


def containers(assembly: Assembly) -> dict[str, dict[str, Any]]:
    """Every container by its name."""
    return {
        container["Name"]: container
        for task in assembly.resources("AWS::ECS::TaskDefinition")
        for container in task.properties["ContainerDefinitions"]
    }


def service(assembly: Assembly, name: str) -> Resource:
    """The service of a program."""
    return assembly.only("AWS::ECS::Service", f"ControlPlane{name}")


def variables(container: Mapping[str, Any]) -> dict[str, Any]:
    """The plain variables of a container."""
    return {variable["Name"]: variable["Value"] for variable in container["Environment"]}


def secrets(container: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a container that refer to Secrets Manager, as text."""
    return {secret["Name"]: json.dumps(secret["ValueFrom"]) for secret in container["Secrets"]}


def allowed(assembly: Assembly, role: str) -> set[tuple[str, str]]:
    """Every action of a role's own policy, with its resources."""
    pairs = set()
    policies = [
        policy
        for policy in assembly.resources("AWS::IAM::Policy")
        if policy.part == "control-plane" and role in json.dumps(policy.properties["Roles"])
    ]
    for policy in policies:
        for statement in policy.properties["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            actions, resources = statement["Action"], statement["Resource"]
            actions = actions if isinstance(actions, list) else [actions]
            resources = resources if isinstance(resources, list) else [resources]
            pairs |= {(action, short(resource)) for action in actions for resource in resources}
    return pairs


def short(reference: object) -> str:
    """The name in a reference, without the hash of the logical id."""
    text = json.dumps(reference)
    named = re.search(r"(?:ExportsOutput(?:FnGetAtt|Ref))?([A-Za-z]+?)[0-9A-F]{8}", text)
    in_text = re.search(r":(repository/[^\"]*|log-group:[^\"]*)", text)
    return named[1] if named else in_text[1] if in_text else text.strip('"')


def test_each_program_is_a_service_that_takes_a_bad_version_back(inside: Assembly) -> None:
    """Services have the configured count, run in private subnets and replace healthy tasks only."""
    counts = {"ApiServer": 1, "Scheduler": 2, "DagProcessor": 1, "Triggerer": 1}
    assert len(inside.resources("AWS::ECS::Service")) == len(counts)
    for name, count in counts.items():
        properties = service(inside, name).properties
        assert properties["DesiredCount"] == count
        assert properties["CapacityProviderStrategy"] == [
            {"CapacityProvider": "FARGATE", "Weight": 1}
        ]
        assert properties["DeploymentConfiguration"] == {
            "DeploymentCircuitBreaker": {"Enable": True, "Rollback": True},
            "MinimumHealthyPercent": 100,
            "MaximumPercent": 150 if count > 1 else 200,
        }
        providers = inside.only("AWS::ECS::ClusterCapacityProviderAssociations").logical_id
        assert providers in service(inside, name).body["DependsOn"]
        network = properties["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert network["AssignPublicIp"] == "DISABLED"
        assert all("PrivateSubnet" in json.dumps(subnet) for subnet in network["Subnets"])


def test_programs_start_from_the_functions_image(inside: Assembly) -> None:
    """The control plane runs the functions' image, so one Airflow parses and runs a DAG."""
    function = inside.only("AWS::Lambda::Function").properties["Code"]["ImageUri"]
    found = containers(inside)
    assert found.keys() == PROGRAMS
    for container in found.values():
        assert container["Image"] == function
        assert container["EntryPoint"] == ["python", "-m", "lambda_image.control_plane"]
        assert container["LinuxParameters"]["InitProcessEnabled"] is True
        assert container["LogConfiguration"]["LogDriver"] == "awslogs"


def test_every_start_of_an_api_server_migrates_first(inside: Assembly) -> None:
    """The api-server's own entry point migrates: if it fails, the task does, and ECS counts it."""
    found = containers(inside)
    assert found["api-server"]["Command"][:2] == ["--migrate", "api-server"]
    for name in PROGRAMS - {"api-server"}:
        assert found[name]["Command"] == [name]
        assert not found[name].get("DependsOn")


def test_others_are_replaced_after_the_api_server_is_healthy(inside: Assembly) -> None:
    """Every program starts after the database is migrated, and one after the other."""
    names = ["ApiServer", "Scheduler", "DagProcessor", "Triggerer"]
    for before, name in pairwise(names):
        assert service(inside, before).logical_id in service(inside, name).body["DependsOn"]


def test_office_hours_start_the_database_first_and_stop_it_last(
    assembly_of: Callable[[str], Assembly],
) -> None:
    """Each call is EventBridge Scheduler's own, with the request of the service's API.

    A late one is not made: it would start in the night what the day has stopped.
    """
    stage = assembly_of("encrypted")
    schedules = [s.properties for s in stage.resources("AWS::Scheduler::Schedule")]
    calls = set()
    for schedule in schedules:
        target = json.dumps(schedule["Target"])
        api = re.search(r"aws-sdk:\w+:\w+", target)
        count = re.search(r"DesiredCount\W+(\d)", target)
        assert api
        for key in ("Cluster", "Service") if "ecs" in api[0] else ("DbInstanceIdentifier",):
            assert f'\\"{key}\\":' in target
        assert schedule["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"] == 900
        calls.add(
            (
                schedule["ScheduleExpression"],
                schedule["ScheduleExpressionTimezone"],
                api[0],
                count and count[1],
            )
        )
    zone = "Europe/Berlin"
    assert calls == {
        ("cron(30 7 ? * MON-FRI *)", zone, "aws-sdk:rds:startDBInstance", None),
        ("cron(45 7 ? * MON-FRI *)", zone, "aws-sdk:ecs:updateService", "2"),
        ("cron(45 7 ? * MON-FRI *)", zone, "aws-sdk:ecs:updateService", "1"),
        ("cron(0 19 ? * MON-FRI *)", zone, "aws-sdk:ecs:updateService", "0"),
        ("cron(15 19 ? * MON-FRI *)", zone, "aws-sdk:rds:stopDBInstance", None),
    }
    assert len(schedules) == 2 + 2 * len(PROGRAMS)


def test_a_service_may_have_a_size_of_its_own(inside: Assembly) -> None:
    """`sizes` changes one program, `cpu` and `memory_mb` all others."""
    sizes = {
        task.properties["ContainerDefinitions"][0]["Name"]: (
            task.properties["Cpu"],
            task.properties["Memory"],
        )
        for task in inside.resources("AWS::ECS::TaskDefinition")
    }
    config = inside.config.control_plane
    assert sizes.pop("scheduler") == ("2048", "8192")
    assert set(sizes.values()) == {(str(config.cpu), str(config.memory_mb))}


def test_all_programs_may_share_one_task(dev: Assembly) -> None:
    """The others start when the api-server, which migrates, is healthy."""
    (task,) = dev.resources("AWS::ECS::TaskDefinition")
    assert {c["Name"] for c in task.properties["ContainerDefinitions"]} == PROGRAMS
    assert all(c["Essential"] for c in task.properties["ContainerDefinitions"])
    found = containers(dev)
    assert not found["api-server"].get("DependsOn")
    for name in PROGRAMS - {"api-server"}:
        assert found[name]["DependsOn"] == [{"ContainerName": "api-server", "Condition": "HEALTHY"}]
    (service,) = dev.resources("AWS::ECS::Service")
    assert service.properties["CapacityProviderStrategy"] == [
        {"CapacityProvider": "FARGATE_SPOT", "Weight": 1}
    ]
    network = service.properties["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "ENABLED"
    assert all("PublicSubnet" in json.dumps(subnet) for subnet in network["Subnets"])


def test_a_missing_api_server_is_not_remembered_for_long(inside: Assembly) -> None:
    """Clients ask again for the name, and for its absence, after ten seconds."""
    namespace = inside.only("AWS::ServiceDiscovery::PrivateDnsNamespace").properties
    assert namespace["Properties"]["DnsProperties"]["SOA"]["TTL"] == 10
    (record,) = inside.only("AWS::ServiceDiscovery::Service").properties["DnsConfig"]["DnsRecords"]
    assert record == {"Type": "A", "TTL": 10}


def test_functions_outside_the_vpc_call_through_an_api_gateway(dev: Assembly) -> None:
    """Only the Execution API is reached, and only API Gateway reaches the programs."""
    function = dev.only("AWS::Lambda::Function").properties
    assert "VpcConfig" not in function
    url = function["Environment"]["Variables"]["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
    _, (address, path) = url["Fn::Join"]
    assert "ApiEndpoint" in json.dumps(address)
    assert path == "/execution/"
    route = dev.only("AWS::ApiGatewayV2::Route").properties
    assert route["RouteKey"] == "ANY /execution/{proxy+}"
    integration = dev.only("AWS::ApiGatewayV2::Integration").properties
    assert short(integration["IntegrationUri"]) == "ApiServerDiscovery"
    assert integration["RequestParameters"] == {"overwrite:path": "$request.path"}
    (registered,) = dev.only("AWS::ECS::Service").properties["ServiceRegistries"]
    assert short(registered.pop("RegistryArn")) == "ApiServerDiscovery"
    assert registered == {"ContainerName": "api-server", "ContainerPort": 8080}
    link = dev.only("AWS::ApiGatewayV2::VpcLink").properties
    assert all("PublicSubnet" in json.dumps(subnet) for subnet in link["SubnetIds"])
    assert [short(group) for group in link["SecurityGroupIds"]] == ["ApiGatewaySecurityGroup"]
    assert dev.only("AWS::ApiGatewayV2::Stage").properties["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": 500,
        "ThrottlingBurstLimit": 1000,
    }
    record = dev.only("AWS::ServiceDiscovery::Service").properties["DnsConfig"]["DnsRecords"]
    assert record == [{"Type": "SRV", "TTL": 10}]
    rules = {
        (rule.properties["FromPort"], short(rule.properties["SourceSecurityGroupId"]))
        for rule in dev.resources("AWS::EC2::SecurityGroupIngress")
        if rule.part == "control-plane"
    }
    assert rules == {(8080, "ApiGatewaySecurityGroup"), (8794, "ControlPlaneSecurityGroup")}
    outputs = dev.json("control-plane")["Outputs"]
    assert outputs["AirflowUrl"]["Value"] == "http://localhost:8080"


def test_the_ui_may_be_open_to_everybody_through_the_api_gateway(tmp_path: Path) -> None:
    """`allowed_cidrs` with everybody's range leads all requests to the api-servers."""
    open_to_all = {"control_plane": {"allowed_cidrs": ["0.0.0.0/0"], "execute_command": False}}
    stage = synthesize(tmp_path, "dev", open_to_all)
    assert stage.only("AWS::ApiGatewayV2::Route").properties["RouteKey"] == "$default"
    url = stage.json("control-plane")["Outputs"]["AirflowUrl"]["Value"]
    assert "ApiEndpoint" in json.dumps(url)
    for container in containers(stage).values():
        assert variables(container)["AIRFLOW__API__BASE_URL"] == url


def test_execution_roles_may_read_secrets_that_a_key_of_the_stage_encrypts(
    assembly_of: Callable[[str], Assembly],
) -> None:
    """Without it ECS starts no task."""
    stage = assembly_of("encrypted")
    secrets = [
        secret
        for secret in stage.resources("AWS::SecretsManager::Secret")
        if secret.part == "control-plane"
    ]
    service = ["secretsmanager.", {"Ref": "AWS::Region"}, ".amazonaws.com"]
    decrypt = {
        "Action": "kms:Decrypt",
        "Effect": "Allow",
        "Condition": {"StringEquals": {"kms:ViaService": {"Fn::Join": ["", service]}}},
        "Resource": secrets[0].properties["KmsKeyId"],
    }
    policies = [
        policy.properties["PolicyDocument"]["Statement"]
        for policy in stage.resources("AWS::IAM::Policy")
        if policy.part == "control-plane" and "ExecutionRole" in policy.logical_id
    ]
    assert len(policies) == len(PROGRAMS)
    assert all(decrypt in statements for statements in policies)


def test_every_program_has_the_health_check_that_is_tested(inside: Assembly) -> None:
    """The commands are those that `tests/contract` runs on real programs."""
    for name in PROGRAMS:
        check = containers(inside)[name]["HealthCheck"]
        assert check["Command"] == ["CMD", *HEALTH_COMMANDS[name]]
        assert check["Retries"] * check["Interval"] >= 300  # longer than a failover of the database


def test_load_balancer_waits_for_as_long_as_the_container_check(inside: Assembly) -> None:
    """The load balancer does not count against an api-server that still starts."""
    waits = {
        service.logical_id: service.properties.get("HealthCheckGracePeriodSeconds")
        for service in inside.resources("AWS::ECS::Service")
    }
    checks = [
        container["HealthCheck"]["StartPeriod"]
        for task in inside.resources("AWS::ECS::TaskDefinition")
        for container in task.properties["ContainerDefinitions"]
        if container["Name"] == "api-server"
    ]
    assert [seconds for seconds in waits.values() if seconds] == checks
    assert [name for name in waits if waits[name]] == [
        name for name in waits if "ApiServer" in name
    ]


def test_containers_get_what_their_entry_point_asks_for(inside: Assembly) -> None:
    """Stack and image name secrets alike; only the api-server gets the admin's password."""
    for name, container in containers(inside).items():
        given = {*variables(container), *secrets(container)}
        assert {variable for variable in given if variable.startswith(CONTAINER_PREFIX)} == {
            *DATABASE,
            FERNET_KEY,
            SIGNING_KEY,
            *([ADMIN_PASSWORD] if name == "api-server" else []),
        }


def test_secrets_are_references_each_to_one_secret(inside: Assembly) -> None:
    """Plain variables contain no secret."""
    for container in containers(inside).values():
        text = json.dumps(variables(container))
        made = [s.logical_id for s in inside.resources("AWS::SecretsManager::Secret")]
        assert not [word for word in (*made, "resolve:") if word in text]
        references = secrets(container)
        for variable, field in (
            (DATABASE_USERNAME, ":username::"),
            (DATABASE_PASSWORD, ":password::"),
        ):
            assert "DatabaseSecret" in references[variable]
            assert field in references[variable]
        assert "FernetKey" in references[FERNET_KEY]
        assert "SigningKey" in references[SIGNING_KEY]


def test_start_of_a_container_may_read_its_own_secrets_and_its_image(inside: Assembly) -> None:
    """ECS's own role may use one repository, one log group and the task's secrets."""
    every = {
        ("ecr:GetAuthorizationToken", "*"),
        *(
            (f"ecr:{action}", "repository/airflow-lambda-dev")
            for action in (
                "BatchCheckLayerAvailability",
                "BatchGetImage",
                "GetDownloadUrlForLayer",
            )
        ),
        ("logs:CreateLogStream", "ControlPlaneLog"),
        ("logs:PutLogEvents", "ControlPlaneLog"),
        *(
            (f"secretsmanager:{action}", secret)
            for action in ("DescribeSecret", "GetSecretValue")
            for secret in ("FernetKey", "DatabaseSecret", "ControlPlaneSigningKey")
        ),
    }
    assert allowed(inside, "SchedulerTaskExecutionRole") == every
    assert allowed(inside, "ApiServerTaskExecutionRole") - every == {
        (f"secretsmanager:{action}", "ControlPlaneAdminPassword")
        for action in ("DescribeSecret", "GetSecretValue")
    }


def test_programs_may_do_what_they_do_and_nothing_else(inside: Assembly) -> None:
    """Each program's role allows only what the program needs."""
    read_logs = {("s3:GetObject", "TaskLogs"), ("s3:ListBucket", "TaskLogs")}
    function_log = "log-group:/aws/lambda/airflow-lambda-dev:*"
    assert allowed(inside, "SchedulerTaskTaskRole") == set()
    assert allowed(inside, "ApiServerTaskTaskRole") == {
        *read_logs,
        ("logs:FilterLogEvents", function_log),
        ("logs:GetLogEvents", function_log),
    }
    assert allowed(inside, "TriggererTaskTaskRole") == {
        *read_logs,
        ("s3:PutObject", "TaskLogs"),
    }
    assert allowed(inside, "DagProcessorTaskTaskRole") == {
        ("s3:GetObject", "DagBucketDags"),
        ("s3:GetObjectVersion", "DagBucketDags"),
        ("s3:ListBucket", "DagBucketDags"),
    }
    managed = {
        role.logical_id: [short(policy) for policy in role.properties.get("ManagedPolicyArns", [])]
        for role in inside.resources("AWS::IAM::Role")
        if role.part == "control-plane" and "TaskTaskRole" in role.logical_id
    }
    assert sorted(managed.values()) == [
        ["SchedulerPolicy"],
        *[["SecretsPolicy"]] * 2,
        ["SecretsPolicy", "PagePolicy"],
    ]


def test_functions_are_told_where_the_api_server_is(inside: Assembly) -> None:
    """The functions' URL is the service's name in the VPC's private domain, and its port."""
    url = inside.only("AWS::Lambda::Function").properties["Environment"]["Variables"][
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
    ]
    domain = inside.only("AWS::ServiceDiscovery::PrivateDnsNamespace").properties["Name"]
    name = inside.only("AWS::ServiceDiscovery::Service").properties["Name"]
    (port,) = containers(inside)["api-server"]["PortMappings"]
    assert url == f"http://{name}.{domain}:{port['ContainerPort']}/execution/"
    (registered,) = service(inside, "ApiServer").properties["ServiceRegistries"]
    assert short(registered["RegistryArn"]) == "ApiServerDiscovery"


def test_only_functions_and_the_load_balancer_reach_the_programs(inside: Assembly) -> None:
    """Only functions and load balancer reach the API, only the programs reach the log server."""
    rules = {
        (rule.properties["FromPort"], short(rule.properties["SourceSecurityGroupId"]))
        for rule in inside.resources("AWS::EC2::SecurityGroupIngress")
        if rule.part == "control-plane"
    }
    assert rules == {
        (8080, "Function"),
        (8080, "EntranceSecurityGroup"),
        (8794, "ControlPlaneSecurityGroup"),
    }
    group = inside.only("AWS::EC2::SecurityGroup", "ControlPlaneSecurityGroup")
    assert "SecurityGroupIngress" not in group.properties


def test_without_a_certificate_the_ui_is_for_the_vpc_only(inside: Assembly) -> None:
    """Without a certificate the UI has a private address and is open to the VPC only."""
    load_balancer = inside.only("AWS::ElasticLoadBalancingV2::LoadBalancer").properties
    assert load_balancer["Scheme"] == "internal"
    assert all("PrivateSubnet" in json.dumps(subnet) for subnet in load_balancer["Subnets"])
    group = inside.only("AWS::EC2::SecurityGroup", "EntranceSecurityGroup").properties
    assert [(rule["CidrIp"], rule["FromPort"]) for rule in group["SecurityGroupIngress"]] == [
        (inside.config.network.cidr, 80)
    ]
    listener = inside.only("AWS::ElasticLoadBalancingV2::Listener").properties
    assert (listener["Protocol"], listener["Port"]) == ("HTTP", 80)


def test_with_a_certificate_http_leads_to_https(public: Assembly) -> None:
    """On the Internet the UI is open to the named ranges, and HTTP redirects to HTTPS."""
    load_balancer = public.only("AWS::ElasticLoadBalancingV2::LoadBalancer").properties
    assert load_balancer["Scheme"] == "internet-facing"
    assert all("PublicSubnet" in json.dumps(subnet) for subnet in load_balancer["Subnets"])
    group = public.only("AWS::EC2::SecurityGroup", "EntranceSecurityGroup").properties
    assert {(rule["CidrIp"], rule["FromPort"]) for rule in group["SecurityGroupIngress"]} == {
        (cidr, port) for cidr in (public.config.network.cidr, "51.15.0.0/16") for port in (80, 443)
    }
    listeners = {
        listener.properties["Port"]: listener.properties
        for listener in public.resources("AWS::ElasticLoadBalancingV2::Listener")
    }
    (redirect,) = listeners[80]["DefaultActions"]
    assert (redirect["Type"], redirect["RedirectConfig"]["Protocol"]) == ("redirect", "HTTPS")
    assert listeners[443]["SslPolicy"].startswith("ELBSecurityPolicy-TLS13")
    outputs = public.json("control-plane")["Outputs"]
    assert outputs["AirflowUrl"]["Value"] == "https://airflow.example.com"


def test_execution_api_is_not_to_be_had_through_the_load_balancer(inside: Assembly) -> None:
    """The load balancer answers requests for the Execution API with 404."""
    rule = inside.only("AWS::ElasticLoadBalancingV2::ListenerRule").properties
    (condition,) = rule["Conditions"]
    assert condition["PathPatternConfig"]["Values"] == ["/execution", "/execution/*"]
    (action,) = rule["Actions"]
    assert action["FixedResponseConfig"]["StatusCode"] == "404"


def test_both_sides_are_told_the_same_of_logs_and_timeouts(inside: Assembly) -> None:
    """Scheduler and functions share the settings for logs and time-outs."""
    functions = inside.only("AWS::Lambda::Function").properties["Environment"]["Variables"]
    for name in PROGRAMS:
        told = variables(containers(inside)[name])
        for setting in ("REMOTE_LOGGING", "REMOTE_BASE_LOG_FOLDER"):
            variable = f"AIRFLOW__LOGGING__{setting}"
            assert told[variable] == functions[variable]
        assert told["AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT"] == "600"
        assert told["AIRFLOW__CORE__PARALLELISM"] == "32"
        # For the 64 workloads of two schedulers.
        assert told["AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW"] == "39"
        assert told["AIRFLOW__CORE__EXECUTOR"] == "lambda_executor.LambdaExecutor"


@pytest.mark.parametrize(
    ("version", "lifetime"), [("3.1.8", "7200"), ("3.2.2", None), ("3.3.2", None)]
)
def test_tokens_live_as_long_as_tasks_may_wait(
    version: str, lifetime: str | None, tmp_path: Path
) -> None:
    """Before Airflow 3.2 by an option of their own; later that is the life of renewed tokens."""
    override = {
        **_FARGATE,
        "image": {"airflow_version": version},
        "execution": {**_FARGATE["execution"], "task_queued_timeout_s": 7200},
    }
    told = variables(containers(synthesize(tmp_path, "dev", override))["scheduler"])
    assert told["AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT"] == "7200"
    assert told.get("AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME") == lifetime


def test_dag_files_are_parsed_from_where_functions_fetch_them(inside: Assembly) -> None:
    """The dag-processor's bundle is that of the functions, and a class that exists."""
    setting = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
    functions = inside.only("AWS::Lambda::Function").properties["Environment"]["Variables"]
    told = variables(containers(inside)["dag-processor"])
    assert told[setting] == functions[setting]
    _, parts = told[setting]["Fn::Join"]
    (bundle,) = json.loads("".join(p if isinstance(p, str) else "bucket" for p in parts))
    made = import_string(bundle["classpath"])(name=bundle["name"], **bundle["kwargs"])
    assert (made.name, str(made.location)) == ("dags-folder", "s3://bucket/dags/")


def test_password_is_a_command_away_and_nowhere_else(inside: Assembly) -> None:
    """The outputs have the URL and the command that prints the generated password."""
    outputs = inside.json("control-plane")["Outputs"]
    command = json.dumps(outputs["AdminPasswordCommand"]["Value"])
    assert "aws secretsmanager get-secret-value --region " in command
    assert "ControlPlaneAdminPassword" in command
    assert "DNSName" in json.dumps(outputs["AirflowUrl"]["Value"])
    for secret in inside.resources("AWS::SecretsManager::Secret"):
        assert "SecretString" not in secret.properties, str(secret)


def test_nothing_stays_of_the_logs(inside: Assembly) -> None:
    """The programs' output goes to one log group, which is deleted with the stack.

    Container Insights would make another one by itself.
    """
    group = inside.only("AWS::Logs::LogGroup", "ControlPlaneLog")
    assert group.properties["LogGroupName"] == "/airflow-lambda/dev/control-plane"
    assert group.body["DeletionPolicy"] == "Delete"
    (setting,) = inside.only("AWS::ECS::Cluster").properties["ClusterSettings"]
    assert setting == {"Name": "containerInsights", "Value": "disabled"}


def test_a_tunnel_is_there_only_where_it_is_asked_for(inside: Assembly, public: Assembly) -> None:
    """`execute_command` opens api-servers and schedulers, and no other program."""
    assert "TunnelCommand" not in inside.json("control-plane")["Outputs"]
    for assembly, opened in ((inside, set()), (public, {"ApiServer", "Scheduler"})):
        open_services = {
            name
            for name in ("ApiServer", "Scheduler", "DagProcessor")
            if service(assembly, name).properties.get("EnableExecuteCommand")
        }
        assert open_services == opened
    messages = {
        action for action, _ in allowed(public, "ApiServerTaskTaskRole") if "ssmmessages" in action
    }
    assert len(messages) == 4
    _, parts = public.json("control-plane")["Outputs"]["TunnelCommand"]["Value"]["Fn::Join"]
    command = "".join(part if isinstance(part, str) else "x" for part in parts)
    assert subprocess.run(["bash", "-n", "-c", command], check=False).returncode == 0
    assert "--target ecs:airflow-lambda-dev_${task##*/}_$container " in command


def test_no_triggerer_means_no_triggerer(public: Assembly) -> None:
    """With triggerers 0 there is neither the service nor its role."""
    ids = [r.logical_id for r in public.resources() if r.part == "control-plane"]
    assert not [id for id in ids if "Triggerer" in id]


def test_rule_pack_has_no_finding_on_the_internet(tmp_path: Path) -> None:
    """cdk-nag AwsSolutions finds nothing that is not acknowledged on its construct."""
    open_to_all = {**_PUBLIC["control_plane"], "allowed_cidrs": ["0.0.0.0/0"]}
    assert findings(new_app(tmp_path, "dev", {**_PUBLIC, "control_plane": open_to_all})) == []
