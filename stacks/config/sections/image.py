"""The container image: built from this repository, or an existing one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import Field

from stacks.config.sections.section import Section

_PATH = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"
_URI = re.compile(
    r"^(?P<account>[0-9]{12})\.dkr\.ecr\.(?P<region>[a-z]{2}(?:-[a-z]+)+-[0-9])\.amazonaws\.com"
    r"(?:\.cn)?/(?P<repository>[a-z0-9]+(?:[._/-][a-z0-9]+)*)@(?P<digest>sha256:[0-9a-f]{64})$"
)


@dataclass(frozen=True, slots=True)
class ExistingImage:
    """An image in ECR: the repository's account, Region and name, and the image's digest."""

    account: str
    region: str
    repository: str
    digest: str


class ImageConfig(Section):
    """The container image of the functions and of the control plane."""

    uri: str | None = Field(
        None,
        pattern=_URI.pattern,
        description="An existing image in ECR, by digest; null: it is built from this repository, "
        "which needs a container engine.",
        examples=[f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/airflow@sha256:{64 * '0'}"],
    )
    dags: str = Field(
        "dags",
        pattern=_PATH,
        description="Folder with the DAGs for an image that is built, relative to the root of the "
        "repository.",
        examples=["dags"],
    )
    requirements: str | None = Field(
        None,
        pattern=_PATH,
        description="File with more Python packages for an image that is built, in pip's format, "
        "relative to the root of the repository.",
        examples=["requirements-dags.txt"],
    )
    keep_images: int = Field(
        20,
        ge=2,
        le=1000,
        description="How many built images the repository keeps, the newest ones: so many deploys "
        "can be undone.",
    )

    @property
    def existing(self) -> ExistingImage | None:
        """The image in `uri`."""
        found = self.uri and _URI.fullmatch(self.uri)
        return ExistingImage(**found.groupdict()) if found else None
