"""The stage's image: built from this repository as an asset, or an existing one in ECR.

The asset and its tag depend only on the files that the Dockerfile copies: a change of the wire, the
handler or a DAG makes another image, any other change does not.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from airflow_lambda_constructs.airflow.airflow_service import AirflowImage
from stacks.config import Architecture, ExistingImage, ImageConfig
from stacks.stage import image_context
from stacks.stage.image_context import Sources

_PLATFORMS: Mapping[Architecture, ecr_assets.Platform] = {
    "x86_64": ecr_assets.Platform.LINUX_AMD64,
    "arm64": ecr_assets.Platform.LINUX_ARM64,
}

_ECS_ARCHITECTURES: Mapping[Architecture, ecs.CpuArchitecture] = {
    "x86_64": ecs.CpuArchitecture.X86_64,
    "arm64": ecs.CpuArchitecture.ARM64,
}

#: AWS's base image for functions in Python.
_BASE_IMAGE = "public.ecr.aws/lambda/python"

#: Construct ids of an existing repository and of the image of MicroVMs in a stack.
_REPOSITORY, _MICRO_VM_IMAGE = "Repository", "MicroVmImage"


@dataclass(frozen=True)
class MicroVmImage:
    """An image with its tag or digest, and the repository that it is in."""

    uri: str
    repository: ecr.IRepository


@dataclass(frozen=True)
class StageImage:
    """The image of the functions and the control plane, one for each processor architecture.

    Raises:
        StageConfigError: A file or folder for the image cannot be used.
    """

    root: Path
    config: ImageConfig

    def __post_init__(self) -> None:
        if not self.config.existing:
            self._sources  # noqa: B018 - checks them

    def code(self, scope: Construct, architecture: Architecture) -> lambda_.DockerImageCode:
        """Return the image as the code of a function."""
        existing = self.config.existing
        if existing:
            return lambda_.DockerImageCode.from_ecr(
                _repository(scope, existing), tag_or_digest=existing.digest
            )
        return lambda_.DockerImageCode.from_image_asset(**self._asset(architecture))

    def container(self, scope: Construct, architecture: Architecture) -> AirflowImage:
        """Return the image as that of Airflow's programs on ECS."""
        existing = self.config.existing
        image: ecs.ContainerImage = (
            ecs.ContainerImage.from_ecr_repository(_repository(scope, existing), existing.digest)
            if existing
            else ecs.ContainerImage.from_asset(**self._asset(architecture))
        )
        return AirflowImage(image=image, architecture=_ECS_ARCHITECTURES[architecture])

    def micro_vm(self, scope: Construct) -> MicroVmImage:
        """Return the image as that of MicroVMs, whose only processor is arm64."""
        existing = self.config.existing
        if existing:
            return MicroVmImage(str(self.config.uri), _repository(scope, existing))
        asset = scope.node.try_find_child(_MICRO_VM_IMAGE)
        if asset is None:
            asset = ecr_assets.DockerImageAsset(scope, _MICRO_VM_IMAGE, **self._asset("arm64"))
        built = cast("ecr_assets.DockerImageAsset", asset)
        return MicroVmImage(built.image_uri, built.repository)

    @cached_property
    def _sources(self) -> Sources:
        return Sources.of(self.root, self.config)

    @cached_property
    def _context(self) -> Path:
        """A folder with the files that the Dockerfile copies; it is removed when the app ends.

        With ignore patterns instead, the CDK would walk through everything beside a nested folder
        of DAGs, virtual environments and caches included, and follow the links there.
        """
        context = Path(tempfile.mkdtemp(prefix="airflow-lambda-image-"))
        atexit.register(shutil.rmtree, context, ignore_errors=True)
        self._sources.copy_to(context)
        return context

    def _asset(self, architecture: Architecture) -> dict[str, Any]:
        arguments = {
            "AIRFLOW_VERSION": self.config.airflow_version,
            "BASE_IMAGE": self.config.base_image or f"{_BASE_IMAGE}:{self.config.python_version}",
        }
        if self._sources.requirements:
            arguments["REQUIREMENTS"] = image_context.REQUIREMENTS
        return {
            "directory": str(self._context),
            "file": image_context.DOCKERFILE,
            "build_args": arguments,
            "platform": _PLATFORMS[architecture],
            "follow_symlinks": cdk.SymlinkFollowMode.NEVER,  # As `docker build` does.
        }


def _repository(scope: Construct, image: ExistingImage) -> ecr.IRepository:
    """Return the repository as one construct of the stack, made at the first call."""
    known = scope.node.try_find_child(_REPOSITORY)
    if known:
        return cast("ecr.IRepository", known)
    stack = cdk.Stack.of(scope)
    return ecr.Repository.from_repository_attributes(
        scope,
        _REPOSITORY,
        repository_name=image.repository,
        repository_arn=stack.format_arn(
            service="ecr",
            region=image.region,
            account=image.account,
            resource="repository",
            resource_name=image.repository,
        ),
    )
