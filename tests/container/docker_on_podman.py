"""The docker CLI for `cdk deploy`, with a real engine and a real registry: `CDK_DOCKER` of a test.

`build`, `tag` and `inspect` are podman's own. `push` goes to a registry on this machine instead of
ECR, and gives the manifest to the embedded AWS's ECR and image store. `login` ignores its password.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3

from local_aws.images.store import DESCRIPTION, ImageStore
from tests.container.emulated import LIMITS
from tests.container.engine import FOLDER, Podman

#: Set by the test.
REGISTRY = "SUITE_REGISTRY"
STATE_DIR = "LOCAL_AWS_STATE_DIR"


def in_registry(image: str) -> str:
    """Where an image of ECR is on this machine, as skopeo and podman name it."""
    _, _, name = image.partition("/")
    return f"docker://{os.environ[REGISTRY]}/{name}"


def main(argv: list[str]) -> int:
    """Run one docker command."""
    podman = Podman.prepare()
    if argv[0] == "login":
        sys.stdin.read()
        return 0
    if argv[0] == "push":
        _push(podman, argv[-1])
        return 0
    network = ["--network=host", "--layers"] if argv[0] == "build" else []
    command = podman.command(argv[0], *network, *argv[1:])
    return subprocess.run(command, env=podman.environment, check=False).returncode


def _push(podman: Podman, image: str) -> None:
    podman.call("push", "--tls-verify=false", image, in_registry(image), timeout_s=300)
    look = ["skopeo", "inspect", "--tls-verify=false", "--raw", in_registry(image)]
    manifest = subprocess.check_output(look, text=True)
    registry, _, name = image.partition("/")
    repository, _, tag = name.rpartition(":")
    account, region = registry.split(".")[0], registry.split(".")[3]
    pushed = boto3.client("ecr", region_name=region).put_image(
        registryId=account,
        repositoryName=repository,
        imageTag=tag,
        imageManifest=manifest,
        imageManifestMediaType=json.loads(manifest)["mediaType"],
    )
    digest = pushed["image"]["imageId"]["imageDigest"]
    _tell_data_plane(podman, name, f"{repository}@{digest}", image)


def _tell_data_plane(podman: Podman, by_tag: str, by_digest: str, image: str) -> None:
    """Let functions of this image be containers of what the registry has, as confined as Lambda."""
    store = ImageStore(Path(os.environ[STATE_DIR]) / "images")
    directory = store.new_directory()
    passed = ["--env=AWS_*", "--env=AIRFLOW__*", "--env=TMPDIR=/tmp"]
    trusted = os.environ["AWS_CA_BUNDLE"]
    passed += [f"--volume={trusted}:{trusted}:ro"]
    pulled = in_registry(image).removeprefix("docker://")
    podman.call("pull", "--tls-verify=false", pulled, timeout_s=300)
    run = ["run", "--rm", "--network=host", *LIMITS, *passed, pulled]
    described = {
        "command": podman.command(*run),
        "working_directory": str(FOLDER),
        "environment": {"PATH": os.environ["PATH"], **podman.variables},
    }
    (directory / DESCRIPTION).write_text(json.dumps(described))
    store.name(by_tag, directory)
    store.name(by_digest, directory)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
