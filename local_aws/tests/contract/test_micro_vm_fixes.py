"""The fixes of ministack for MicroVMs work, and are still needed (see `test_fixes.py`)."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.local_aws import ACCOUNT, REGION, Server, client
from tests.support.micro_vms import (
    BASE,
    HOOKS,
    SERVICE,
    artifact,
    built_image,
    role_for_lambda,
    settings,
)
from tests.support.service_model import assert_fits_model

ALLOWED = "allowed"
DENIED = "AccessDeniedException"


def outcome(call: Any, **request: Any) -> str:
    """The error code of a call; `ALLOWED`: it succeeds."""
    try:
        call(**request)
    except ClientError as e:
        return str(e.response["Error"]["Code"])
    return ALLOWED


def api_as(server: Server, *allowed: tuple[str, str]) -> Any:
    """A client of a new role that may do these actions on these resources."""
    iam, name = server.client("iam"), f"r-{uuid.uuid4().hex[:12]}"

    def policy(*statements: dict[str, Any]) -> str:
        return json.dumps({"Version": "2012-10-17", "Statement": statements})

    root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    trust = policy({"Effect": "Allow", "Principal": root, "Action": "sts:AssumeRole"})
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    statements = [{"Effect": "Allow", "Action": a, "Resource": r} for a, r in allowed]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(*statements))
    session = server.client("sts").assume_role(RoleArn=arn, RoleSessionName="s")["Credentials"]
    keys = session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"]
    return client(SERVICE, server.url, *keys)


def test_a_micro_vm_is_permitted_by_its_image(
    enforcing_aws: Server, bare_enforcing_aws: Server
) -> None:
    """micro_vm_permission: also what it passes, its role and its network connectors."""
    connector = f"arn:aws:lambda:{REGION}:aws:network-connector:aws-network-connector:NO_INGRESS"

    def run(server: Server, *needless: str) -> list[str]:
        image = built_image(server)
        needed = [
            ("lambda:RunMicrovm", image.arn),
            ("lambda:GetMicrovm", image.arn),
            ("lambda:TerminateMicrovm", image.arn),
            ("iam:PassRole", image.role),
            ("lambda:PassNetworkConnector", connector),
        ]
        api = api_as(server, ("sqs:*", "*"), *(p for p in needed if p[0] not in needless))
        request = {
            "imageIdentifier": image.arn,
            "executionRoleArn": image.role,
            "ingressNetworkConnectors": [connector],
        }
        made = image.run({"wait": True})
        return [
            outcome(api.run_microvm, **request),
            outcome(api.get_microvm, microvmIdentifier=made.id),
            outcome(api.terminate_microvm, microvmIdentifier=made.id),
        ]

    assert run(enforcing_aws) == [ALLOWED] * 3
    assert run(enforcing_aws, "lambda:RunMicrovm") == [DENIED, ALLOWED, ALLOWED]
    assert run(enforcing_aws, "iam:PassRole") == [DENIED, ALLOWED, ALLOWED]
    assert run(enforcing_aws, "lambda:PassNetworkConnector") == [DENIED, ALLOWED, ALLOWED]
    others = run(enforcing_aws, "lambda:GetMicrovm", "lambda:TerminateMicrovm")
    assert others == [ALLOWED, DENIED, DENIED]
    nothing = ("lambda:RunMicrovm", "lambda:GetMicrovm", "lambda:TerminateMicrovm", "iam:PassRole")
    assert run(bare_enforcing_aws, *nothing) == [ALLOWED] * 3


def test_images_are_made_by_a_permission(enforcing_aws: Server, bare_enforcing_aws: Server) -> None:
    """micro_vm_permission: of the image's ARN, and of the build role."""

    def create(server: Server, *, pass_role: bool, name: str = "") -> str:
        name = name or f"i-{uuid.uuid4().hex[:12]}"
        role = role_for_lambda(server)
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:microvm-image:{name}"
        passing = [("iam:PassRole", role)] if pass_role else []
        api = api_as(server, ("lambda:CreateMicrovmImage", arn), *passing)
        return outcome(api.create_microvm_image, name=name, **settings(server, role))

    assert create(enforcing_aws, pass_role=True) == ALLOWED
    assert create(enforcing_aws, pass_role=False) == DENIED
    assert create(bare_enforcing_aws, pass_role=False) == ALLOWED


def test_the_image_of_aws_has_one_version(enforcing_aws: Server) -> None:
    """A permission on it lets a role see that."""
    images = enforcing_aws.client(SERVICE).list_managed_microvm_images()
    assert_fits_model(SERVICE, "ListManagedMicrovmImages", images)
    assert [image["imageArn"] for image in images["items"]] == [BASE]
    api = api_as(enforcing_aws, ("lambda:ListManagedMicrovmImageVersions", BASE))
    versions = api.list_managed_microvm_image_versions(imageIdentifier=BASE)
    assert_fits_model(SERVICE, "ListManagedMicrovmImageVersions", versions)
    assert [(v["imageVersion"], v["status"]) for v in versions["items"]] == [("1", "AVAILABLE")]
    other = f"{BASE}-other"
    assert outcome(api.list_managed_microvm_image_versions, imageIdentifier=other) == DENIED
    root = enforcing_aws.client(SERVICE).list_managed_microvm_image_versions
    assert outcome(root, imageIdentifier=other) == "ResourceNotFoundException"


def template(name: str, uri: str, role: str, variable: str) -> dict[str, Any]:
    """A stack with an image and a network connector."""
    hooks = {
        "Port": HOOKS["port"],
        "MicrovmImageHooks": {"Ready": "ENABLED", "ReadyTimeoutInSeconds": 20},
        "MicrovmHooks": {"Run": "ENABLED", "RunTimeoutInSeconds": 20},
    }
    egress = {"SubnetIds": ["subnet-1"], "AssociatedComputeResourceTypes": ["MicroVm"]}
    return {
        "Resources": {
            "Image": {
                "Type": "AWS::Lambda::MicrovmImage",
                "Properties": {
                    "Name": name,
                    "BaseImageArn": BASE,
                    "BuildRoleArn": role,
                    "CodeArtifact": {"Uri": uri},
                    "Hooks": hooks,
                    "EnvironmentVariables": [{"Key": "BEFORE", "Value": variable}],
                    "Resources": [{"MinimumMemoryInMiB": 512}],
                    "Logging": {"Disabled": False, "CloudWatch": {"LogGroup": f"/{name}"}},
                    "Tags": [{"Key": "k", "Value": "v"}],
                },
            },
            "Connector": {
                "Type": "AWS::Lambda::NetworkConnector",
                "Properties": {
                    "Name": name,
                    "Configuration": {"VpcEgressConfiguration": egress},
                    "Tags": [{"Key": "k", "Value": "v"}],
                },
            },
        },
        "Outputs": {
            "Ref": {"Value": {"Ref": "Image"}},
            "Version": {"Value": {"Fn::GetAtt": ["Image", "LatestActiveImageVersion"]}},
            "Connector": {"Value": {"Fn::GetAtt": ["Connector", "Arn"]}},
            "ConnectorRef": {"Value": {"Ref": "Connector"}},
        },
    }


def test_images_and_connectors_are_resources(local_aws: Server, bare_aws: Server) -> None:
    """micro_vm_resources: built, changed and deleted with the stack; a failure has its reason."""
    name, role, uri = f"i-{uuid.uuid4().hex[:12]}", role_for_lambda(local_aws), artifact(local_aws)
    deployed = local_aws.deploy(template(name, uri, role, "nothing"))
    arn = deployed.output("Ref")
    assert arn == f"arn:aws:lambda:{REGION}:{ACCOUNT}:microvm-image:{name}"
    assert deployed.output("Version") == "1"
    api = local_aws.client(SERVICE)
    described = api.get_microvm_image(imageIdentifier=arn)
    assert (described["state"], described["tags"]) == ("CREATED", {"k": "v"})
    version = api.get_microvm_image_version(imageIdentifier=arn, imageVersion="1")
    assert version["logging"] == {"cloudWatch": {"logGroup": f"/{name}"}}
    connector = deployed.output("Connector")
    assert connector == deployed.output("ConnectorRef")
    core = local_aws.client("lambda-core")
    assert core.get_network_connector(Identifier=connector)["State"] == "ACTIVE"

    formation = local_aws.client("cloudformation")
    for variable, status, newest in (
        ("more", "UPDATE_COMPLETE", "2"),
        ("exit", "UPDATE_ROLLBACK_COMPLETE", "2"),
    ):
        changed = template(name, uri, role, variable)
        formation.update_stack(StackName=deployed.name, TemplateBody=json.dumps(changed))
        assert deployed.status == status
        described = api.get_microvm_image(imageIdentifier=arn)
        assert described["latestActiveImageVersion"] == newest
    assert deployed.delete() == "DELETE_COMPLETE"
    assert outcome(api.get_microvm_image, imageIdentifier=arn) == "ResourceNotFoundException"
    gone = outcome(core.get_network_connector, Identifier=connector)
    assert gone == "ResourceNotFoundException"

    failed = local_aws.deploy(template(name, uri, role, "exit"))
    assert failed.status == "ROLLBACK_COMPLETE"
    events = formation.describe_stack_events(StackName=failed.name)["StackEvents"]
    reasons = [event.get("ResourceStatusReason", "") for event in events]
    assert any("did not stabilize: CREATE_FAILED: the process ended" in r for r in reasons)
    assert outcome(api.get_microvm_image, imageIdentifier=arn) == "ResourceNotFoundException"
    with pytest.raises(ClientError, match="Unrecognized resource types"):
        bare_aws.deploy(template(name, uri, role, ""))
