"""Which images of a stage's repository nothing uses, and their deletion.

ECR's own lifecycle rules know when an image was pushed or pulled, and not that Lambda or ECS runs
it: each of them would in the end delete a live image (docs/decisions/0046-images-are-pruned.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import boto3
from botocore.exceptions import ClientError

from stacks.stage.names import prefix

#: The most that BatchDeleteImage takes, and that DescribeServices takes.
_IMAGES_AT_ONCE, _SERVICES_AT_ONCE = 100, 10
#: ECR does not delete the parts of an index that stays.
_PART_OF_AN_INDEX = "ImageReferencedByManifestList"


class StageImagesError(Exception):
    """ECR did not delete an image; the message is for the person who asked."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image in ECR."""

    digest: str
    tags: tuple[str, ...]
    pushed_at: datetime

    def __str__(self) -> str:
        return f"{', '.join(self.tags) or self.digest}, pushed on {self.pushed_at:%Y-%m-%d}"


def unused(images: Collection[Image], used: Collection[str], keep: int) -> list[Image]:
    """Return the images that may be deleted, oldest first.

    The `keep` newest stay, used or not: a deploy may have pushed them for what it makes next.

    Args:
        images: All images of the repository.
        used: The digests and tags by which something names an image.
        keep: A number of images.
    """
    newest_last = sorted(images, key=lambda image: image.pushed_at)
    return [
        image
        for image in newest_last[: max(len(newest_last) - keep, 0)]
        if not {image.digest, *image.tags} & set(used)
    ]


def repositories_of(session: boto3.Session, stage: str) -> list[str]:
    """Return the names of the stage's repositories: one, or none if its image is not built."""
    return resources_of(session, f"{prefix(stage)}-registry", "AWS::ECR::Repository")


def images_in(session: boto3.Session, repository: str) -> list[Image]:
    """Return the images of a repository."""
    pages = session.client("ecr").get_paginator("describe_images")
    return [
        Image(found["imageDigest"], tuple(found.get("imageTags", ())), found["imagePushedAt"])
        for page in pages.paginate(repositoryName=repository)
        for found in page["imageDetails"]
    ]


def names_in_use(
    session: boto3.Session,
    stage: str,
    repository: str,
    versions: Mapping[str, Collection[int]],
) -> set[str]:
    """Return the digests and tags by which functions and services name images of a repository.

    Args:
        session: For the stage's account.
        stage: Its name.
        repository: The repository's name.
        versions: The versions of each function that stay. `$LATEST` counts too.
    """
    uris = {*_of_functions(session, versions), *_of_services(session, stage)}
    found = set()
    for uri in uris:
        _, _, path = uri.partition("/")
        if path.startswith((f"{repository}@", f"{repository}:")):
            found.add(path[len(repository) + 1 :])
    return found


def delete(session: boto3.Session, repository: str, images: Sequence[Image]) -> None:
    """Delete images.

    Raises:
        StageImagesError: ECR refuses, except for the parts of an index that stays.
    """
    client = session.client("ecr")
    for first in range(0, len(images), _IMAGES_AT_ONCE):
        answer = client.batch_delete_image(
            repositoryName=repository,
            imageIds=[
                {"imageDigest": image.digest} for image in images[first : first + _IMAGES_AT_ONCE]
            ],
        )
        for failure in answer.get("failures", ()):
            if failure.get("failureCode") != _PART_OF_AN_INDEX:
                digest = failure.get("imageId", {}).get("imageDigest")
                raise StageImagesError(
                    f"The image {digest} of {repository} was not deleted: "
                    f"{failure.get('failureReason')}"
                )


def resources_of(session: boto3.Session, stack: str, kind: str) -> list[str]:
    """Return the physical ids of a stack's resources of one type; none without the stack."""
    pages = session.client("cloudformation").get_paginator("list_stack_resources")
    try:
        return sorted(
            resource["PhysicalResourceId"]
            for page in pages.paginate(StackName=stack)
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == kind and resource["ResourceStatus"] != "DELETE_COMPLETE"
        )
    except ClientError as e:
        if "does not exist" not in str(e):
            raise
        return []


def _of_functions(session: boto3.Session, versions: Mapping[str, Collection[int]]) -> Iterator[str]:
    client = session.client("lambda")
    for function, numbers in versions.items():
        for qualifier in ("$LATEST", *map(str, numbers)):
            code = client.get_function(FunctionName=function, Qualifier=qualifier)["Code"]
            yield from (code.get("ImageUri", ""), code.get("ResolvedImageUri", ""))


def _of_services(session: boto3.Session, stage: str) -> Iterator[str]:
    """The images of all deployments of the control plane's services."""
    client = session.client("ecs")
    services = resources_of(session, f"{prefix(stage)}-control-plane", "AWS::ECS::Service")
    definitions: set[str] = set()
    for first in range(0, len(services), _SERVICES_AT_ONCE):
        some = services[first : first + _SERVICES_AT_ONCE]
        cluster = some[0].split("/")[-2]  # arn:aws:ecs:<Region>:<account>:service/<cluster>/<name>
        for service in client.describe_services(cluster=cluster, services=some)["services"]:
            definitions.add(service["taskDefinition"])
            definitions.update(each["taskDefinition"] for each in service.get("deployments", ()))
    for definition in sorted(definitions):
        described = client.describe_task_definition(taskDefinition=definition)["taskDefinition"]
        for container in described["containerDefinitions"]:
            yield container.get("image", "")
