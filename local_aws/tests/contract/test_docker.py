"""The stand-in for docker supports the commands that the CDK CLI uses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.local_aws import (
    CLEAN_ENVIRONMENT,
    REGISTRY,
    ROOT,
    RUNTIME_PYTHON,
    SERVER_PYTHON,
    Server,
)

STAND_IN = ROOT / "local_aws/src/local_aws/images/bin/docker"

BUILDER = """
import json, os, pathlib, sys
arguments = sys.argv[1:]
output = pathlib.Path(arguments[arguments.index("--output") + 1])
(output / "arguments.json").write_text(json.dumps(arguments))
(output / "folder").write_text(os.getcwd())
(output / "image.json").write_text(json.dumps({image}))
"""


@dataclass(frozen=True)
class Docker:
    """The stand-in, with the settings of a server and a builder."""

    server: Server
    builder: Path
    context: Path

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command like the CDK CLI, in the image's context."""
        return subprocess.run(
            [str(STAND_IN), *arguments],
            cwd=self.context,
            env={
                **CLEAN_ENVIRONMENT,
                "AWS_ENDPOINT_URL": self.server.url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "LOCAL_AWS_STATE_DIR": str(self.server.state_dir),
                "LOCAL_AWS_PYTHON": str(SERVER_PYTHON),
                "LOCAL_AWS_IMAGE_BUILDER": f"{sys.executable} {self.builder}",
            },
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


@pytest.fixture
def docker(local_aws: Server, tmp_path: Path) -> Docker:
    """A stand-in whose images run the tests' handler."""
    image = {
        "command": [str(RUNTIME_PYTHON), "-m", "awslambdaric", "local_aws_handlers.handle"],
        "working_directory": str(ROOT / "tests/support"),
        "environment": {},
        "readable": [str(ROOT)],
    }
    builder, context = tmp_path / "builder.py", tmp_path / "context"
    builder.write_text(BUILDER.format(image=image))
    context.mkdir()
    return Docker(local_aws, builder, context)


def test_a_pushed_image_can_run(docker: Docker) -> None:
    """After build, login, tag and push, ECR has the image and a function can run it."""
    server, uri = docker.server, f"{REGISTRY}/pushed:1"
    server.client("ecr").create_repository(repositoryName="pushed")
    assert docker("build", "--tag", "asset-1", "--build-arg", "A=b", ".").returncode == 0
    login = docker("login", "--username", "AWS", "--password-stdin", REGISTRY, stdin="secret")
    assert login.returncode == 0
    assert docker("tag", "asset-1", uri).returncode == 0
    push = docker("push", uri)
    assert push.returncode == 0, push.stderr
    (image,) = server.client("ecr").describe_images(
        repositoryName="pushed", imageIds=[{"imageTag": "1"}]
    )["imageDetails"]
    for reference in (uri, f"{REGISTRY}/pushed@{image['imageDigest']}"):
        function = server.function(Code={"ImageUri": reference})
        assert function.invoke()["Payload"]["invocations"] == 1


def test_the_builder_gets_the_arguments_of_docker(docker: Docker) -> None:
    """The builder gets context, file and build arguments, with absolute paths."""
    docker("build", "--tag", "asset-2", "--file", "sub/F", "--build-arg", "A=b c", ".")
    (name,) = (docker.server.state_dir / "images" / "names").glob("asset-2")
    arguments = json.loads((name / "arguments.json").read_text())
    assert arguments == [
        *("--context", str(docker.context), "--file", str(docker.context / "sub" / "F")),
        *("--output", str(name.resolve()), "--build-arg", "A=b c"),
    ]


def test_the_builder_runs_in_the_folder_of_its_caller(docker: Docker) -> None:
    """The builder starts where docker was called, wherever the embedded AWS is installed."""
    docker("build", "--tag", "asset-6", ".")
    folder = docker.server.state_dir / "images" / "names" / "asset-6" / "folder"
    assert folder.read_text() == str(docker.context)


def test_it_says_that_no_container_is_built(docker: Docker) -> None:
    """The output says that this is not docker, and which builder runs."""
    said = docker("build", "--tag", "asset-3", ".").stderr
    assert "No container is built" in said
    assert str(docker.builder) in said


def test_inspect_tells_whether_an_image_exists(docker: Docker) -> None:
    """`inspect` fails for an unknown image, so that the CDK CLI builds it."""
    assert docker("inspect", "asset-4").returncode == 1
    docker("build", "--tag", "asset-4", ".")
    assert docker("inspect", "asset-4").returncode == 0


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit(7)", "the image builder failed with exit status 7"),
        ("", "image.json does not describe an image"),
        (BUILDER.format(image={"command": [], "working_directory": "/"}), "non-empty list"),
    ],
)
def test_a_bad_build_fails_with_the_reason(docker: Docker, program: str, reason: str) -> None:
    """A builder that fails or leaves an invalid description fails the build."""
    docker.builder.write_text(program)
    done = docker("build", "--tag", "asset-5", ".")
    assert done.returncode == 1
    assert reason in done.stderr
    assert docker("inspect", "asset-5").returncode == 1
