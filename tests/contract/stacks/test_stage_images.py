"""`make prune`: which images of a stage's repository it deletes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3
import pytest

import prune
import stage_images
from stacks.config.loading import load
from stage_images import Image
from tests.support.local_aws import ACCOUNT, REGION, Server, eventually
from tests.synth.variants import CONTEXT

REPOSITORY = "airflow-lambda-dev"
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def images(*digests: str) -> list[Image]:
    """Images, each pushed an hour after the one before; the tag of `a` is `tag-a`."""
    return [
        Image(digest, (f"tag-{digest}",), NOW + timedelta(hours=number))
        for number, digest in enumerate(digests)
    ]


@pytest.mark.parametrize(
    ("used", "keep", "deleted"),
    [
        (set(), 2, ["a", "b"]),
        (set(), 9, []),
        (set(), 0, ["a", "b", "c", "d"]),
        ({"a"}, 2, ["b"]),
        ({"tag-b"}, 1, ["a", "c"]),
        ({"a", "b", "c", "d"}, 0, []),
    ],
)
def test_what_is_used_and_what_is_new_stays(used: set[str], keep: int, deleted: list[str]) -> None:
    """However old a used image is, and whether it is named by its digest or its tag."""
    found = stage_images.unused(list(reversed(images("a", "b", "c", "d"))), used, keep)
    assert [image.digest for image in found] == deleted


class Deployed:
    """The stage `dev`: a function with three versions and a service, an image for each and more."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ecr = server.client("ecr")
        self._stack("registry", "AWS::ECR::Repository", {"RepositoryName": REPOSITORY})
        for tag in ("v1", "v2", "v3", "service", "unused", "latest"):
            self.ecr.put_image(repositoryName=REPOSITORY, imageManifest=tag, imageTag=tag)
        self._function()
        self._service()

    def tags(self) -> set[str]:
        """The tags of the images in the repository."""
        return {
            tag
            for image in self.ecr.describe_images(repositoryName=REPOSITORY)["imageDetails"]
            for tag in image["imageTags"]
        }

    def uri(self, tag: str) -> str:
        """How a function or a container names an image."""
        return f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}:{tag}"

    def delete(self) -> None:
        """Delete the stacks."""
        for image in self.ecr.list_images(repositoryName=REPOSITORY)["imageIds"]:
            self.ecr.batch_delete_image(repositoryName=REPOSITORY, imageIds=[image])
        for part in ("control-plane", "execution", "registry"):
            stack = f"airflow-lambda-dev-{part}"
            self.server.client("cloudformation").delete_stack(StackName=stack)
            eventually(partial(self._is, stack, "DELETE_COMPLETE"))

    def _function(self) -> None:
        properties = {
            "FunctionName": REPOSITORY,
            "Role": f"arn:aws:iam::{ACCOUNT}:role/any",
            "PackageType": "Image",
            "Code": {"ImageUri": self.uri("v1")},
        }
        self._stack("execution", "AWS::Lambda::Function", properties)
        client = self.server.client("lambda")
        for version in ("v1", "v2", "v3"):
            client.update_function_code(FunctionName=REPOSITORY, ImageUri=self.uri(version))
            client.publish_version(FunctionName=REPOSITORY)
        client.update_function_code(FunctionName=REPOSITORY, ImageUri=self.uri("latest"))
        client.create_alias(FunctionName=REPOSITORY, Name="live", FunctionVersion="3")

    def _service(self) -> None:
        ecs = self.server.client("ecs")
        ecs.create_cluster(clusterName="c")
        ecs.register_task_definition(
            family="airflow",
            containerDefinitions=[{"name": "a", "image": self.uri("service"), "memory": 512}],
        )
        properties = {"Cluster": "c", "TaskDefinition": "airflow", "DesiredCount": 0}
        self._stack(
            "control-plane", "AWS::ECS::Service", {**properties, "ServiceName": "scheduler"}
        )

    def _stack(self, part: str, kind: str, properties: dict[str, Any]) -> None:
        template = {"Resources": {"Resource": {"Type": kind, "Properties": properties}}}
        stack = f"airflow-lambda-dev-{part}"
        self.server.client("cloudformation").create_stack(
            StackName=stack, TemplateBody=json.dumps(template)
        )
        eventually(partial(self._is, stack, "CREATE_COMPLETE"))

    def _is(self, stack: str, status: str) -> bool | None:
        listed = self.server.client("cloudformation").list_stacks()["StackSummaries"]
        # The last of several with the same name is the newest.
        return {s["StackName"]: s["StackStatus"] for s in listed}.get(stack) == status or None


@pytest.fixture
def deployed(local_aws: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """The stage `dev`, which keeps two images that nothing uses."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    image = {"image": {"keep_images": 2}}
    monkeypatch.setattr(prune, "config_of", lambda stage: load(CONTEXT["stages"], stage, image))
    stock = stage_images.images_in

    def in_order(session: boto3.Session, repository: str) -> list[Image]:
        # The embedded AWS counts whole seconds, and all are pushed in one.
        return [
            replace(image, pushed_at=NOW + timedelta(hours=number))
            for number, image in enumerate(stock(session, repository))
        ]

    monkeypatch.setattr(stage_images, "images_in", in_order)
    stage = Deployed(local_aws)
    yield stage
    stage.delete()


def test_the_images_of_what_runs_or_may_be_rolled_back_to_stay(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    """The function's old version goes, and with it the only use of its image."""
    assert prune.main(["dev", "--keep", "1"]) == 0
    assert deployed.tags() == {"v2", "v3", "service", "unused", "latest"}
    assert f"{REPOSITORY}: 5 of 6 images stay\n  deleting image v1, pushed on 20" in (
        capsys.readouterr().out
    )


def test_a_dry_run_deletes_no_image(deployed: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    """It counts the versions that it would delete as gone."""
    assert prune.main(["dev", "--keep", "0", "--dry-run"]) == 0
    assert len(deployed.tags()) == 6
    printed = capsys.readouterr().out
    assert f"{REPOSITORY}: 4 of 6 images stay\n  would delete image v1" in printed
    assert "  would delete image v2" in printed


def test_an_image_that_ecr_does_not_delete_is_an_error(deployed: Deployed) -> None:
    """The message has the image, the repository and ECR's reason."""
    (missing,) = images("sha256:" + 64 * "0")
    assert deployed
    with pytest.raises(stage_images.StageImagesError, match=f"{REPOSITORY} was not deleted: "):
        stage_images.delete(boto3.Session(), REPOSITORY, [missing])
