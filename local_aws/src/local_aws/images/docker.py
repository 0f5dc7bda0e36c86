"""The stand-in for the docker CLI: the commands that the CDK CLI uses, without a container engine.

`build` runs a builder that makes a directory in place of the image; `push` registers the directory
with the embedded AWS's ECR. Settings are environment variables, because the CDK CLI decides the
arguments: `LOCAL_AWS_STATE_DIR`, `LOCAL_AWS_IMAGE_BUILDER` and those of the AWS client.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_aws.images.store import DESCRIPTION, Image, ImageError, ImageStore, image_name

#: The type of the manifest for ECR, which has no layers.
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def main(argv: list[str]) -> int:
    """Run one docker command; on failure print the reason to stderr and return 1."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace, ImageStore], None] = arguments.run
    try:
        run(arguments, ImageStore(Path(_setting("LOCAL_AWS_STATE_DIR")) / "images"))
    except ImageError as e:
        print(e, file=sys.stderr)
        return 1
    return 0


def _build(arguments: argparse.Namespace, store: ImageStore) -> None:
    context = Path(arguments.context).resolve()
    dockerfile = (context / (arguments.file or "Dockerfile")).resolve()
    builder = shlex.split(_setting("LOCAL_AWS_IMAGE_BUILDER"))
    print(
        "No container is built: this is the stand-in for docker of the embedded AWS. "
        f"{dockerfile.name} is not executed; in its place runs: {shlex.join(builder)}",
        file=sys.stderr,
        flush=True,
    )
    output = store.new_directory()
    command = [*builder, "--context", str(context), "--file", str(dockerfile)]
    command += ["--output", str(output)]
    for build_arg in arguments.build_arg:
        command += ["--build-arg", build_arg]
    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if status:
        shutil.rmtree(output)
        raise ImageError(f"the image builder failed with exit status {status}")
    Image.read(output)
    for tag in arguments.tag:
        store.name(tag, output)


def _tag(arguments: argparse.Namespace, store: ImageStore) -> None:
    store.name(arguments.target, store.find(arguments.source))


def _inspect(arguments: argparse.Namespace, store: ImageStore) -> None:
    directory = store.find(arguments.image)
    print(json.dumps([{"Id": _digest(directory), "RepoTags": [arguments.image]}]))


def _push(arguments: argparse.Namespace, store: ImageStore) -> None:
    import botocore.session  # noqa: PLC0415 - slow to import, and used only here

    directory = store.find(arguments.image)
    registry, _, _ = arguments.image.partition("/")
    name = image_name(arguments.image)
    repository, _, tag = name.rpartition(":")
    if not repository or not tag:
        raise ImageError(f"{arguments.image} cannot be pushed: expected <registry>/<name>:<tag>")
    # <account>.dkr.ecr.<region>.amazonaws.com
    account, region = registry.split(".")[0], registry.split(".")[3]
    client: Any = botocore.session.Session().create_client("ecr", region_name=region)
    answer = client.put_image(
        registryId=account,
        repositoryName=repository,
        imageTag=tag,
        imageManifest=_manifest(directory),
        imageManifestMediaType=_MANIFEST_TYPE,
        imageDigest=_digest(directory),
    )
    digest = answer["image"]["imageId"]["imageDigest"]
    store.name(name, directory)
    store.name(f"{repository}@{digest}", directory)
    print(f"{tag}: digest: {digest}")


def _nothing(arguments: argparse.Namespace, _store: ImageStore) -> None:
    if arguments.command == "login":
        sys.stdin.read()  # the password, which is not needed


def _manifest(directory: Path) -> str:
    """A manifest that is unique to the build, so that its digest identifies the build."""
    description = (directory / DESCRIPTION).read_bytes()
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "config": {"digest": f"sha256:{hashlib.sha256(description).hexdigest()}"},
            "layers": [],
            "annotations": {"local-aws.build": directory.name},
        },
        sort_keys=True,
    )


def _digest(directory: Path) -> str:
    return f"sha256:{hashlib.sha256(_manifest(directory).encode()).hexdigest()}"


def _setting(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ImageError(f"{name} is not set: the stand-in for docker needs it")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="docker", description="The embedded AWS's stand-in for docker: no container engine."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    build = commands.add_parser("build")
    build.add_argument("--tag", "-t", action="append", default=[])
    build.add_argument("--file", "-f")
    build.add_argument("--build-arg", action="append", default=[])
    # Accepted and ignored: they only matter to a container engine.
    for ignored in (
        *("platform", "target", "network", "cache-from", "cache-to", "output"),
        *("build-context", "secret", "ssh"),
    ):
        build.add_argument(f"--{ignored}", action="append")
    build.add_argument("--no-cache", action="store_true")
    build.add_argument("context")
    build.set_defaults(run=_build)

    tag = commands.add_parser("tag")
    tag.add_argument("source")
    tag.add_argument("target")
    tag.set_defaults(run=_tag)

    for verb, run in (("inspect", _inspect), ("push", _push)):
        command = commands.add_parser(verb)
        command.add_argument("image")
        command.set_defaults(run=run)

    login = commands.add_parser("login")
    login.add_argument("--username", "-u")
    login.add_argument("--password-stdin", action="store_true")
    login.add_argument("server", nargs="?")
    login.set_defaults(run=_nothing)

    images = commands.add_parser("images")
    images.add_argument("--format")
    images.add_argument("--filter")
    images.set_defaults(run=_nothing)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
