"""The container image: built from this repository, or an existing one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from stacks.config.sections.section import Section, rule

_URI = re.compile(
    r"^(?P<account>[0-9]{12})\.dkr\.ecr\.(?P<region>[a-z]{2}(?:-[a-z]+)+-[0-9])\.amazonaws\.com"
    r"(?:\.cn)?/(?P<repository>[a-z0-9]+(?:[._/-][a-z0-9]+)*)@(?P<digest>sha256:[0-9a-f]{64})$"
)

#: A registry, the path of a repository in it, perhaps a tag, and a digest.
_BASE = re.compile(
    r"^[a-z0-9.-]+\.[a-z]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?@sha256:[0-9a-f]{64}$"
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
        "which needs a container engine. The digest must be that of a single image: Lambda refuses "
        "an index, which docker pushes unless it builds with `--provenance=false --sbom=false` for "
        "one platform (docs/howto/image.md).",
        examples=[f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/airflow@sha256:{64 * '0'}"],
        json_schema_extra=rule("an image in ECR with its digest"),
    )
    dags: str = Field(
        "dags",
        min_length=1,
        description="Folder with the DAG files for an image that is built: relative to the root of "
        "the repository, absolute, or from your home folder (`~`); it may lie outside the "
        "repository.",
        examples=["../my-repo/dags"],
        json_schema_extra=rule("the path of a folder"),
    )
    requirements: str | None = Field(
        None,
        min_length=1,
        description="File with more Python packages for an image that is built, in pip's format; "
        "its path is like that of `dags`.",
        examples=["../my-repo/requirements.txt"],
        json_schema_extra=rule("the path of a file"),
    )
    airflow_version: str = Field(
        "3.3.2",
        pattern=r"^3\.[0-4]\.[0-9]+((a|b|rc)[0-9]+)?$",
        description="The version of Airflow in an image that is built, best that of your "
        "schedulers; its packages are in `lambda_image/locks`.",
        examples=["3.2.2"],
        json_schema_extra=rule("a version of Airflow from 3.0 to 3.4"),
    )
    python_version: Literal["3.12", "3.13"] = Field(
        "3.12", description="The version of Python in an image that is built."
    )
    base_image: str | None = Field(
        None,
        pattern=_BASE.pattern,
        description="The base of an image that is built, by digest: it changes only when you raise "
        "the digest. null: AWS's image of that Python by its tag, so that two builds may differ.",
        examples=[f"public.ecr.aws/lambda/python:3.12@sha256:{64 * '0'}"],
        json_schema_extra=rule("an image with its digest"),
    )
    keep_images: int = Field(
        20,
        ge=2,
        le=1000,
        description="How many built images `make prune` keeps besides those in use, the newest "
        "ones; a deploy pushes one for each architecture. Nothing else deletes an image.",
    )

    @property
    def python_of_base(self) -> str | None:
        """The Python that the tag of `base_image` names, as AWS's tags do."""
        found = self.base_image and _BASE.fullmatch(self.base_image)
        named = found and re.match(r"[0-9]+\.[0-9]+", found["tag"] or "")
        return named[0] if named else None

    @property
    def existing(self) -> ExistingImage | None:
        """The image in `uri`."""
        found = self.uri and _URI.fullmatch(self.uri)
        return ExistingImage(**found.groupdict()) if found else None
