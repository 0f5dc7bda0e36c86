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
from stacks.config.loading import StageConfigError

_PLATFORMS: Mapping[Architecture, ecr_assets.Platform] = {
    "x86_64": ecr_assets.Platform.LINUX_AMD64,
    "arm64": ecr_assets.Platform.LINUX_ARM64,
}

_ECS_ARCHITECTURES: Mapping[Architecture, ecs.CpuArchitecture] = {
    "x86_64": ecs.CpuArchitecture.X86_64,
    "arm64": ecs.CpuArchitecture.ARM64,
}

#: The files that the Dockerfile copies for every stage.
_FOLDERS = ("lambda_image", "executor/src")
_FILES = ("executor/README.md", "executor/pyproject.toml")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", ".*_cache")

#: Construct id of an existing repository in a stack.
_REPOSITORY = "Repository"


@dataclass(frozen=True, slots=True)
class StageImage:
    """The image of the functions and the control plane, one for each processor architecture.

    Raises:
        StageConfigError: A file or folder for the image is missing in the repository.
    """

    root: Path
    config: ImageConfig

    def __post_init__(self) -> None:
        if self.config.existing:
            return
        dags, requirements = self.config.dags, self.config.requirements
        if not any((self.root / dags).glob("*")):
            raise StageConfigError(
                f'image.dags is "{dags}", allowed is a folder of this repository that is not '
                f"empty: create {self.root / dags} and put the DAGs there, or name their folder"
            )
        if requirements and not (self.root / requirements).is_file():
            raise StageConfigError(
                f'image.requirements is "{requirements}", allowed is a file of this repository: '
                f"create {self.root / requirements}, or name the file with the packages"
            )

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

    def _asset(self, architecture: Architecture) -> dict[str, Any]:
        arguments = {"DAGS": self.config.dags}
        if self.config.requirements:
            arguments["REQUIREMENTS"] = self.config.requirements
        return {
            "directory": str(_context(self.root, self.config.dags, self.config.requirements)),
            "file": "lambda_image/Dockerfile",
            "build_args": arguments,
            "platform": _PLATFORMS[architecture],
            "follow_symlinks": cdk.SymlinkFollowMode.NEVER,  # As `docker build` does.
        }


def _context(root: Path, dags: str, requirements: str | None) -> Path:
    """Make a folder with the files that the Dockerfile copies; it is removed when the app ends.

    With ignore patterns instead, the CDK would walk through everything beside a nested folder of
    DAGs, virtual environments and caches included, and follow the links there.
    """
    context = Path(tempfile.mkdtemp(prefix="airflow-lambda-image-"))
    atexit.register(shutil.rmtree, context, ignore_errors=True)
    for folder in (*_FOLDERS, dags):
        shutil.copytree(
            root / folder, context / folder, symlinks=True, dirs_exist_ok=True, ignore=_LEFT_OUT
        )
    for file in (*_FILES, *filter(None, [requirements])):
        (context / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, context / file)
    return context


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
