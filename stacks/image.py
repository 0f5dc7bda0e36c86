"""The stage's image: built from this repository as an asset, or one that is in ECR already.

For an asset an allow-list says what it is built from, and so what changes its tag; the build
context is the repository's root: a change of the wire, the handler or a DAG makes another image, a
change of anything else does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.config import Architecture, ExistingImage, ImageConfig
from stacks.config_loading import StageConfigError

_PLATFORMS: Mapping[Architecture, ecr_assets.Platform] = {
    "x86_64": ecr_assets.Platform.LINUX_AMD64,
    "arm64": ecr_assets.Platform.LINUX_ARM64,
}


@dataclass(frozen=True, slots=True)
class StageImage:
    """What functions and control plane run from; one image for each processor architecture.

    Attributes:
        root: The root of the repository.
        config: Which image it is, or what is in it.

    Raises:
        StageConfigError: What is to be in the image is not in the repository.
    """

    root: Path
    config: ImageConfig

    def __post_init__(self) -> None:
        if self.config.existing:
            return
        dags, requirements = self.config.dags, self.config.requirements
        if not any((self.root / dags).glob("*")):
            raise StageConfigError(
                f'image.dags is "{dags}", allowed is a folder of this repository with something '
                f"in it: make {self.root / dags} and put the DAGs there, or name the folder that "
                "has them"
            )
        if requirements and not (self.root / requirements).is_file():
            raise StageConfigError(
                f'image.requirements is "{requirements}", allowed is a file of this repository: '
                f"make {self.root / requirements}, or name the file that has the packages"
            )

    def code(self, scope: Construct, architecture: Architecture) -> lambda_.DockerImageCode:
        """As the code of an image function."""
        existing = self.config.existing
        if existing:
            return lambda_.DockerImageCode.from_ecr(
                _repository(scope, existing), tag_or_digest=existing.digest
            )
        return lambda_.DockerImageCode.from_image_asset(str(self.root), **self._asset(architecture))

    def container(self, scope: Construct, architecture: Architecture) -> ecs.ContainerImage:
        """As the image of a container on ECS."""
        existing = self.config.existing
        if existing:
            return ecs.ContainerImage.from_ecr_repository(
                _repository(scope, existing), existing.digest
            )
        return ecs.ContainerImage.from_asset(str(self.root), **self._asset(architecture))

    def _asset(self, architecture: Architecture) -> dict[str, Any]:
        arguments = {"DAGS": self.config.dags}
        mine = [f"!{self.config.dags}/**"]
        if self.config.requirements:
            arguments["REQUIREMENTS"] = self.config.requirements
            mine.append(f"!{self.config.requirements}")
        return {
            "file": "lambda_image/Dockerfile",
            "build_args": arguments,
            "platform": _PLATFORMS[architecture],
            "ignore_mode": cdk.IgnoreMode.DOCKER,
            "exclude": [
                "**",
                "!lambda_image/**",
                "!executor/pyproject.toml",
                "!executor/README.md",
                "!executor/src/**",
                *mine,
                "**/__pycache__",
                "**/*.pyc",
                "**/*.egg-info",
                "**/.*_cache",
            ],
        }


def _repository(scope: Construct, image: ExistingImage) -> ecr.IRepository:
    stack = cdk.Stack.of(scope)
    return ecr.Repository.from_repository_attributes(
        scope,
        "Repository",
        repository_name=image.repository,
        repository_arn=stack.format_arn(
            service="ecr",
            region=image.region,
            account=image.account,
            resource="repository",
            resource_name=image.repository,
        ),
    )
