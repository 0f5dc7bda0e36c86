"""The function's image as an asset: what it is built from, and so what changes its tag.

An allow-list, and the build context is the repository's root: a change of the wire, the handler or
a DAG makes another image, a change of anything else does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aws_cdk import IgnoreMode
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_lambda as lambda_

from stacks.config_loading import StageConfigError

if TYPE_CHECKING:
    from stacks.config import Architecture, ImageConfig

_PLATFORMS = {
    "x86_64": ecr_assets.Platform.LINUX_AMD64,
    "arm64": ecr_assets.Platform.LINUX_ARM64,
}


def image_code(
    root: Path, image: ImageConfig, architecture: Architecture
) -> lambda_.DockerImageCode:
    """The code of an image function, built from the repository at `root`.

    Raises:
        StageConfigError: There is no folder of DAGs where the configuration says.
    """
    if not any((root / image.dags).glob("*")):
        raise StageConfigError(
            f'image.dags is "{image.dags}", allowed is a folder of this repository with something '
            f"in it: make {root / image.dags} and put the DAGs there, or name the folder that has "
            "them"
        )
    return lambda_.DockerImageCode.from_image_asset(
        str(root),
        file="lambda_image/Dockerfile",
        build_args={"DAGS": image.dags},
        platform=_PLATFORMS[architecture],
        ignore_mode=IgnoreMode.DOCKER,
        exclude=[
            "**",
            "!lambda_image/**",
            "!executor/src/**",
            f"!{image.dags}/**",
            "**/__pycache__",
            "**/*.pyc",
            "**/*.egg-info",
            "**/.*_cache",
        ],
    )
