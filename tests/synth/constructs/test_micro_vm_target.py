"""A target of MicroVMs, in an app without a stage or its configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk.assertions import Annotations, Match, Template

from airflow_lambda_constructs.execution.target import TargetNetwork, TargetSurroundings
from airflow_lambda_constructs.targets.micro_vm_target import (
    MOST_VARIABLES,
    MicroVmTarget,
    MicroVmTargetProps,
    image_uri_in_the_clear,
)
from tests.synth.policies import listed

ACCOUNT, REGION = "123456789012", "eu-west-1"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/theirs@sha256:{64 * 'a'}"


def new_stack(folder: Path, env: cdk.Environment | None) -> cdk.Stack:
    """A stack of somebody else's app."""
    return cdk.Stack(cdk.App(outdir=str(folder)), "Theirs", env=env)


@pytest.fixture
def stack(tmp_path: Path) -> cdk.Stack:
    """A stack in a known account and Region."""
    return new_stack(tmp_path, cdk.Environment(account=ACCOUNT, region=REGION))


def private_network(stack: cdk.Stack, *, public_addresses: bool = False) -> TargetNetwork:
    """Two subnets of somebody's VPC."""
    vpc = ec2.Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id="vpc-1",
        availability_zones=["eu-west-1a", "eu-west-1b"],
        private_subnet_ids=["subnet-1", "subnet-2"],
    )
    group = ec2.SecurityGroup.from_security_group_id(stack, "Group", "sg-1")
    return TargetNetwork(
        vpc=vpc,
        subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
        public_addresses=public_addresses,
        security_groups=(group,),
    )


#: What an environment gives to its targets.
AROUND = TargetSurroundings(
    name="theirs",
    environment={"AIRFLOW__X": "y"},
    permit_workload=lambda _role: None,
    log_retention=logs.RetentionDays.ONE_WEEK,
    removal_policy=cdk.RemovalPolicy.DESTROY,
    encryption_key=None,
    network=None,
)


def made(stack: cdk.Stack, id: str = "Long", **settings: Any) -> MicroVmTarget:
    """A target in a stack."""
    known = stack.node.try_find_child("Images")
    images = known or ecr.Repository.from_repository_name(stack, "Images", "theirs")
    defaults = {"name": id.lower(), "queues": (id.lower(),), "image_uri": IMAGE}
    props = MicroVmTargetProps(
        **{**defaults, "repository": images, "base_version": "1", **settings}
    )
    return props.make(stack, id, AROUND)


def image_of(template: Template) -> Mapping[str, Any]:
    """The one image of MicroVMs."""
    (image,) = template.find_resources("AWS::Lambda::MicrovmImage").values()
    return image


def test_image_runs_the_functions_image_as_a_micro_vm(stack: cdk.Stack, tmp_path: Path) -> None:
    """Its artifact is a Dockerfile that begins with that image, and gives it the command."""
    made(stack)
    template = Template.from_stack(stack)
    (dockerfile,) = tmp_path.glob("asset.*/Dockerfile")
    assert dockerfile.read_text() == f'FROM {IMAGE}\nCMD ["microvm"]\n'
    uri = json.dumps(image_of(template)["Properties"]["CodeArtifact"]["Uri"])
    assert f"/{dockerfile.parent.name.removeprefix('asset.')}.zip" in uri


def test_a_changed_image_is_built_again(tmp_path: Path) -> None:
    """The artifact's key follows the image, so that CloudFormation sees a change."""
    uris = []
    for name in ("a", "b"):
        env = cdk.Environment(account=ACCOUNT, region=REGION)
        stack = new_stack(tmp_path / name, env)
        made(stack, image_uri=IMAGE.replace("a" * 64, name * 64))
        uris.append(image_of(Template.from_stack(stack))["Properties"]["CodeArtifact"]["Uri"])
    assert uris[0] != uris[1]


def test_an_image_that_is_built_is_named_without_tokens(stack: cdk.Stack, tmp_path: Path) -> None:
    """A Dockerfile cannot have references of CloudFormation in it."""
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text("FROM scratch\n")
    asset = ecr_assets.DockerImageAsset(stack, "Built", directory=str(tmp_path / "context"))
    assert image_uri_in_the_clear(stack, asset.image_uri) == (
        f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/"
        f"cdk-hnb659fds-container-assets-{ACCOUNT}-{REGION}:{asset.asset_hash}"
    )


@pytest.mark.parametrize("env", [None, cdk.Environment(region=REGION)])
def test_a_stack_in_an_unknown_place_is_refused(
    tmp_path: Path, env: cdk.Environment | None
) -> None:
    """The reason says what is missing."""
    stack = new_stack(tmp_path / "out", env)
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text("FROM scratch\n")
    asset = ecr_assets.DockerImageAsset(stack, "Built", directory=str(tmp_path / "context"))
    with pytest.raises(ValueError, match="give the stack an account and a Region"):
        made(stack, image_uri=asset.image_uri)


def test_hooks_have_time_to_answer(stack: cdk.Stack) -> None:
    """The ones that the image serves are on, on its port, and no others."""
    made(stack)
    hooks = image_of(Template.from_stack(stack))["Properties"]["Hooks"]
    assert hooks == {
        "Port": 9000,
        "MicrovmImageHooks": {
            "Ready": "ENABLED",
            "ReadyTimeoutInSeconds": 900,
            "Validate": "ENABLED",
            "ValidateTimeoutInSeconds": 900,
        },
        "MicrovmHooks": {
            "Run": "ENABLED",
            "RunTimeoutInSeconds": 60,
            "Terminate": "ENABLED",
            "TerminateTimeoutInSeconds": 60,
        },
    }


def test_build_starts_after_its_role_has_its_permissions(stack: cdk.Stack) -> None:
    """Otherwise the build of a first deploy cannot read its artifact."""
    made(stack)
    waits_for = image_of(Template.from_stack(stack))["DependsOn"]
    assert any("BuildRoleDefaultPolicy" in each for each in waits_for)


def test_both_roles_are_lambdas_without_a_condition(stack: cdk.Stack) -> None:
    """Lambda also tags its sessions. With `aws:SourceAccount` others could run no MicroVM."""
    made(stack)
    template = Template.from_stack(stack)
    assert len(template.find_resources("AWS::IAM::Role")) == 2
    for role in template.find_resources("AWS::IAM::Role").values():
        assert role["Properties"]["AssumeRolePolicyDocument"]["Statement"] == [
            {
                "Effect": "Allow",
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Principal": {"Service": "lambda.amazonaws.com"},
            }
        ]


def test_request_says_where_and_how_long(stack: cdk.Stack) -> None:
    """Nobody reaches the MicroVM, and it reaches the Internet if there is no VPC."""
    target = made(stack, memory_mb=8192, timeout=cdk.Duration.hours(2))
    request = stack.resolve(target.request)
    connector = f":lambda:{REGION}:aws:network-connector:aws-network-connector:"
    assert request["maximumDurationInSeconds"] == 7200
    assert f"{connector}NO_INGRESS" in json.dumps(request["ingressNetworkConnectors"])
    assert f"{connector}INTERNET_EGRESS" in json.dumps(request["egressNetworkConnectors"])
    assert set(request) == {
        "imageIdentifier",
        "executionRoleArn",
        "maximumDurationInSeconds",
        "ingressNetworkConnectors",
        "egressNetworkConnectors",
        "logging",
    }
    assert target.offer.as_json() == {
        "timeout_s": 7195,  # The restore takes the rest.
        "memory_mb": 8192,
        "cpu": 4,
        "disk_gb": 32,
    }


def test_targets_in_private_subnets_share_one_connector(stack: cdk.Stack) -> None:
    """Its role may make network interfaces in these subnets only."""
    network = private_network(stack)
    first, second = (made(stack, id, network=network) for id in ("Long", "Large"))
    template = Template.from_stack(stack)
    (connector,) = template.find_resources("AWS::Lambda::NetworkConnector").values()
    assert connector["Properties"]["Configuration"]["VpcEgressConfiguration"] == {
        "AssociatedComputeResourceTypes": ["MicroVm"],
        "NetworkProtocol": "IPv4",
        "SecurityGroupIds": ["sg-1"],
        "SubnetIds": ["subnet-1", "subnet-2"],
    }
    egress = [stack.resolve(each.request)["egressNetworkConnectors"] for each in (first, second)]
    assert egress[0] == egress[1]
    assert egress[0][0]["Fn::GetAtt"][1] == "Arn"
    (policy,) = template.find_resources(
        "AWS::IAM::Policy",
        {"Properties": {"PolicyName": Match.string_like_regexp("microvmconnector.*")}},
    ).values()
    create, _ = policy["Properties"]["PolicyDocument"]["Statement"]
    assert "subnet/subnet-1" in json.dumps(create["Resource"])
    assert ":subnet/*" not in json.dumps(create["Resource"])


def test_public_subnets_are_refused(stack: cdk.Stack) -> None:
    """A MicroVM has no public address there, so it would reach nothing."""
    with pytest.raises(ValueError, match="give them private subnets, or no network"):
        made(stack, network=private_network(stack, public_addresses=True))


@pytest.mark.parametrize("inside", [False, True])
def test_schedulers_may_run_find_and_terminate(stack: cdk.Stack, inside: bool) -> None:
    """The image is the resource of MicroVMs; only its own connectors may be given to them."""
    target = made(stack, network=private_network(stack) if inside else None)
    policy = iam.ManagedPolicy(stack, "Scheduler")
    target.grant_dispatch(policy)
    (found,) = Template.from_stack(stack).find_resources("AWS::IAM::ManagedPolicy").values()
    allowed = {
        action: statement["Resource"]
        for statement in found["Properties"]["PolicyDocument"]["Statement"]
        for action in listed(statement["Action"])
    }
    arn = stack.resolve(target.image_arn)
    for name in ("RunMicrovm", "GetMicrovm", "TerminateMicrovm"):
        assert allowed[f"lambda:{name}"] == arn
    assert allowed["lambda:ListMicrovms"] == "*"
    request = stack.resolve(target.request)
    given = request["ingressNetworkConnectors"] + request["egressNetworkConnectors"]
    assert allowed["lambda:PassNetworkConnector"] == given
    assert allowed["iam:PassRole"] == stack.resolve(target.role.role_arn)


def test_the_build_of_an_image_knows_its_region(stack: cdk.Stack) -> None:
    """Lambda's own variable is documented only for the MicroVMs; one of the user's counts."""
    made(stack)
    made(stack, "Other", environment={"AWS_DEFAULT_REGION": "eu-west-9"})
    images = Template.from_stack(stack).find_resources("AWS::Lambda::MicrovmImage").values()
    regions = [
        each["Value"]
        for image in images
        for each in image["Properties"]["EnvironmentVariables"]
        if each["Key"] == "AWS_DEFAULT_REGION"
    ]
    assert regions == [stack.resolve(stack.region), "eu-west-9"]


def test_too_many_variables_are_refused(stack: cdk.Stack) -> None:
    """The message has both numbers; one of the variables is the environment's, one the Region."""
    made(stack, environment={f"V{number}": "x" for number in range(MOST_VARIABLES - 1)})
    Annotations.from_stack(stack).has_error(
        "/Theirs/Long",
        Match.string_like_regexp(f"has {MOST_VARIABLES + 1} variables.*may have {MOST_VARIABLES}"),
    )
