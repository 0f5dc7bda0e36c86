"""MicroVMs of AWS Lambda: each task gets a virtual machine of its own, restored from a snapshot.

Lambda builds the snapshot from the functions' own image, by a Dockerfile of two lines: nothing is
installed a second time. That image is one for arm64, the only processor of MicroVMs.
https://docs.aws.amazon.com/lambda/latest/dg/microvms-images.html
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge_registry_login
from airflow_lambda_constructs.execution.permissions import read_log
from airflow_lambda_constructs.execution.target import (
    Offer,
    TargetNetwork,
    TargetSettings,
    TargetSurroundings,
    allow,
)
from airflow_lambda_constructs.targets.micro_vm_network import egress_connector, managed_connector
from lambda_executor.contract.lambda_limits import LONGEST_LIFE_S
from lambda_executor.contract.micro_vm import COMMAND, HOOK_PORT, time_for_workload_s

#: The disk of each size, in GB, by the memory in MiB. Each 2048 MiB have one virtual processor.
#: https://docs.aws.amazon.com/lambda/latest/dg/microvms-images.html
DISK_GB: Mapping[int, int] = {512: 8, 1024: 8, 2048: 8, 4096: 16, 8192: 32}
_MB_OF_A_CPU = 2048

#: AWS's own image of the operating system around the container.
_BASE_IMAGE = "al2023-1"

#: The most variables that an image may have (same page).
MOST_VARIABLES = 50

#: Seconds that Lambda waits for the answers to its hooks. Those of the build include the import of
#: Airflow on a cold machine; for the others Lambda allows no more.
_BUILD_HOOK_S, _RUN_HOOK_S = 900, 60
_ENABLED = "ENABLED"

_LAMBDA = "lambda.amazonaws.com"

_NO_RESOURCE = (
    "lambda:ListMicrovms finds MicroVMs by their image and has no resource-level permission."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroVmTargetProps(TargetSettings):
    """The settings of a target that runs MicroVMs.

    Attributes:
        image_uri: The functions' image in ECR, built for arm64, with its tag or digest. Its account
            and Region must be known when the app is synthesized.
        repository: The image's repository.
        memory_mb: Memory of a task: 512, 1024, 2048, 4096 or 8192 MiB.
        timeout: The longest that one try may take, at most eight hours.
        base_version: Version of AWS's base image. AWS deprecates it when a newer one is there, and
            90 days later nothing runs on it any more:
            `aws lambda-microvms list-managed-microvm-image-versions`.
        network: Private subnets through which its MicroVMs reach all that they call; None: they
            reach the Internet, and nothing inside a VPC. All targets of an environment that have
            one have the same.
    """

    image_uri: str
    repository: ecr.IRepository
    memory_mb: int = 2048
    timeout: cdk.Duration = field(default_factory=lambda: cdk.Duration.seconds(LONGEST_LIFE_S))
    base_version: str
    network: TargetNetwork | None = None

    def make(self, scope: Construct, id: str, around: TargetSurroundings) -> MicroVmTarget:
        """Make the target."""
        return MicroVmTarget(scope, id, self, around)


class MicroVmTarget(Construct):
    """The image of a target's MicroVMs, its log group, and the roles to build and to run it."""

    service = "microvm"

    def __init__(
        self, scope: Construct, id: str, props: MicroVmTargetProps, around: TargetSurroundings
    ) -> None:
        super().__init__(scope, id)
        self.queues = props.queues
        duration_s = round(props.timeout.to_seconds())
        self.offer = Offer(
            timeout_s=time_for_workload_s(duration_s),
            memory_mb=props.memory_mb,
            cpu=props.memory_mb / _MB_OF_A_CPU,
            disk_gb=DISK_GB[props.memory_mb],
        )
        self.log_group = around.log_group(self, self.service, props.name)
        self.role = props.role(self, around, _principal())
        self.log_group.grant_write(self.role)
        artifact = s3_assets.Asset(
            self, "Artifact", path=str(_artifact(image_uri_in_the_clear(self, props.image_uri)))
        )
        # Known before the deploy: a scheduler goes on when the image is replaced.
        self.image_arn = _arn(self, "microvm-image", f"{around.name}-{props.name}")
        self._image(props, around, artifact)
        # Without NO_INGRESS, a MicroVM has an address on the Internet.
        ingress = [managed_connector(self, "NO_INGRESS")]
        egress = [egress_connector(scope, around.name, props.network)]
        self._connectors = ingress + egress
        self.request = {
            "imageIdentifier": self.image_arn,
            "executionRoleArn": self.role.role_arn,
            "maximumDurationInSeconds": duration_s,
            "ingressNetworkConnectors": ingress,
            "egressNetworkConnectors": egress,
            "logging": {"cloudWatch": {"logGroup": self.log_group.log_group_name}},
        }

    def _image(
        self, props: MicroVmTargetProps, around: TargetSurroundings, artifact: s3_assets.Asset
    ) -> None:
        build_role = _build_role(self, self.log_group, artifact, props.repository)
        of = lambda_.CfnMicrovmImage
        # CloudFormation requires all properties, also empty ones.
        image = of(
            self,
            "Image",
            name=f"{around.name}-{props.name}",
            description="Runs one Airflow workload in each MicroVM",
            base_image_arn=_base_image(self),
            base_image_version=props.base_version,
            build_role_arn=build_role.role_arn,
            code_artifact=of.CodeArtifactProperty(uri=artifact.s3_object_url),
            cpu_configurations=[of.CpuConfigurationProperty(architecture="ARM_64")],
            resources=[of.ResourcesProperty(minimum_memory_in_mib=props.memory_mb)],
            additional_os_capabilities=[],
            egress_network_connectors=[],  # The build needs no network of ours.
            environment_variables=[
                of.EnvironmentVariableProperty(key=key, value=value)
                for key, value in self._variables(props, around).items()
            ],
            hooks=of.HooksProperty(
                port=HOOK_PORT,
                microvm_image_hooks=of.MicrovmImageHooksProperty(
                    ready=_ENABLED,
                    ready_timeout_in_seconds=_BUILD_HOOK_S,
                    validate=_ENABLED,
                    validate_timeout_in_seconds=_BUILD_HOOK_S,
                ),
                # Its defaults are a second.
                microvm_hooks=of.MicrovmHooksProperty(
                    run=_ENABLED,
                    run_timeout_in_seconds=_RUN_HOOK_S,
                    terminate=_ENABLED,
                    terminate_timeout_in_seconds=_RUN_HOOK_S,
                ),
            ),
            logging=of.LoggingProperty(
                cloud_watch=of.CloudWatchLoggingProperty(log_group=self.log_group.log_group_name)
            ),
        )
        image.apply_removal_policy(cdk.RemovalPolicy.DESTROY)  # It is built again from the same.
        # The build begins at once, and its role needs its policy then.
        image.node.add_dependency(build_role)

    def _variables(
        self, props: MicroVmTargetProps, around: TargetSurroundings
    ) -> Mapping[str, str]:
        # Lambda sets AWS_REGION in a MicroVM. That it does so in the build is documented nowhere,
        # and without a Region the image cannot prepare itself.
        variables = {
            "AWS_DEFAULT_REGION": cdk.Stack.of(self).region,
            **props.variables(self, around),
        }
        if len(variables) > MOST_VARIABLES:
            cdk.Annotations.of(self).add_error(
                f"the target {props.name} has {len(variables)} variables, and an image of MicroVMs "
                f"may have {MOST_VARIABLES}: remove some, or put several into one"
            )
        return variables

    def grant_dispatch(self, policy: iam.ManagedPolicy) -> None:
        """Let a scheduler run MicroVMs, find and terminate them, read their log, and check it all.

        https://docs.aws.amazon.com/service-authorization/latest/reference/list_lambda.html
        """
        own = ["GetMicrovm", "GetMicrovmImage", "GetMicrovmImageVersion"]
        own += ["RunMicrovm", "TerminateMicrovm"]
        allow(policy, [f"lambda:{action}" for action in own], [self.image_arn])
        allow(policy, ["lambda:ListManagedMicrovmImageVersions"], [_base_image(self)])
        allow(policy, ["lambda:ListMicrovms"], ["*"], why=_NO_RESOURCE)
        # AWS's reference names no resource for it, but its refusals name the connector:
        # https://github.com/alienplatform/alien ("... is not authorized to perform:
        # lambda:PassNetworkConnector on resource: arn:...:aws-network-connector:INTERNET_EGRESS").
        allow(policy, ["lambda:PassNetworkConnector"], self._connectors)
        # Others were refused with a condition on iam:PassedToService.
        allow(policy, ["iam:PassRole"], [self.role.role_arn])
        read_log(self.log_group, policy)


def image_uri_in_the_clear(scope: Construct, image_uri: str) -> str:
    """Return an image's URI as the line FROM of a Dockerfile needs it, without tokens.

    Raises:
        ValueError: The stack's account or Region is not known yet.
    """
    stack = cdk.Stack.of(scope)
    resolved = stack.resolve(image_uri)
    text = resolved["Fn::Sub"] if isinstance(resolved, dict) and "Fn::Sub" in resolved else resolved
    known = {"AWS::AccountId": stack.account, "AWS::Region": stack.region}
    if not cdk.Token.is_unresolved(stack.region):
        suffix = "amazonaws.com.cn" if stack.region.startswith("cn-") else "amazonaws.com"
        known["AWS::URLSuffix"] = suffix
    for name, value in known.items():
        if isinstance(text, str) and not cdk.Token.is_unresolved(value):
            text = text.replace(f"${{{name}}}", value)
    if not isinstance(text, str) or "${" in text:
        raise ValueError(
            f"the image {json.dumps(text)} of a MicroVM has parts that are known only at deploy, "
            "and Lambda builds from a file that is written now: give the stack an account and a "
            "Region (`env`)"
        )
    return text


def _artifact(image_uri: str) -> Path:
    """Return a folder with the Dockerfile; it is removed when the app ends."""
    folder = Path(tempfile.mkdtemp(prefix="airflow-lambda-microvm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "Dockerfile").write_text(f"FROM {image_uri}\nCMD {json.dumps([COMMAND])}\n")
    return folder


def _base_image(scope: Construct) -> str:
    return _arn(scope, "microvm-image", _BASE_IMAGE, account="aws")


def _arn(scope: Construct, resource: str, name: str, account: str | None = None) -> str:
    return cdk.Stack.of(scope).format_arn(
        service="lambda",
        account=account,
        resource=resource,
        resource_name=name,
        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
    )


def _principal() -> iam.IPrincipal:
    """Lambda, which also tags its sessions.

    https://docs.aws.amazon.com/lambda/latest/dg/microvms-security.html

    Without the condition `aws:SourceAccount`: with it, one project's every RunMicrovm was refused
    (`iam:PassRole ... not authorized`), and ran after it was removed. Another project reports runs
    with it. Nobody reports a run that failed without it.
    https://github.com/aws-samples/sample-autonomous-cloud-coding-agents/issues/736
    https://github.com/alejandro-cedeno-10/rayito (infra/iam.yaml)
    """
    return iam.ServicePrincipal(_LAMBDA).with_session_tags()


def _build_role(
    scope: Construct,
    log_group: logs.ILogGroup,
    artifact: s3_assets.Asset,
    repository: ecr.IRepository,
) -> iam.Role:
    """Make the role with which Lambda reads the artifact and pulls the image."""
    role = iam.Role(scope, "BuildRole", assumed_by=_principal())
    log_group.grant_write(role)
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["s3:GetObject"],
            resources=[artifact.bucket.arn_for_objects(artifact.s3_object_key)],
        )
    )
    repository.grant_pull(role)
    acknowledge_registry_login(role)
    return role
