"""`cdk deploy` builds the image with podman, pushes it to a registry, and functions run from it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from demo import paths
from demo.installation.cdk_cli import SYNTH_TIMEOUT_S, Cdk
from demo.machine import embedded_aws
from demo.machine.embedded_aws import EmbeddedAws
from demo.machine.processes import Children, Program
from lambda_executor.contract.wire import Invocation, InvocationId, Outcome, Result
from tests.container.docker_on_podman import REGISTRY
from tests.container.emulated import USER
from tests.container.engine import FOLDER, ROOT, Podman
from tests.support.handler_process import Server, task

REGION = "eu-west-1"
HOME = paths.Home(FOLDER / "publishing")
REPOSITORY = "airflow-lambda-local"
#: What the Dockerfile is built on where nothing else is said.
BASE_IMAGE = "public.ecr.aws/lambda/python:3.12"


@dataclass(frozen=True)
class Deployed:
    """The stacks, deployed; the image they are of is in `registry`."""

    aws: EmbeddedAws
    outputs: dict[str, str]
    registry: str

    def function(self) -> dict[str, Any]:
        """Lambda's description of the function."""
        name = self.outputs["FunctionName"]
        answer: dict[str, Any] = self.aws.client("lambda").get_function(FunctionName=name)
        return answer


class PodmanCdk(Cdk):
    """The CDK CLI with a container engine."""

    def _program(self, *arguments: str, name: str, aws: EmbeddedAws | None = None) -> Program:
        program = super()._program(*arguments, name=name, aws=aws)
        engine = {"CDK_DOCKER": str(HOME.path / "docker"), REGISTRY: os.environ[REGISTRY]}
        return replace(program, environment={**program.environment, **engine})


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    """The programs of these tests."""
    HOME.make_empty()
    children = Children(HOME.logs, outlive_us=False)
    yield children
    children.end_all()


@pytest.fixture(scope="module")
def registry(children: Children) -> Iterator[str]:
    """A registry on this machine, as host and port."""
    for program in ("docker-registry", "skopeo"):
        if shutil.which(program) is None:
            reason = f"there is no {program}: apt-get install {program} (Debian, Ubuntu)"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(HOME.path / "registry")}}
    settings = {"version": "0.1", "storage": storage, "http": {"addr": address}}
    configuration = HOME.path / "registry.json"  # JSON is YAML.
    configuration.write_text(json.dumps(settings))
    children.start(
        Program(
            name="registry",
            argv=["docker-registry", "serve", configuration],
            environment=embedded_aws.bare_environment(),
            cwd=ROOT,
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(REGISTRY, address)
        yield address


@pytest.fixture(scope="module")
def docker(podman: Podman, base_image: str, image: str, children: Children) -> Iterator[Children]:
    """`docker` for the CDK CLI: podman, which has the Dockerfile's own base image already."""
    assert image  # Its layers are in the cache.
    podman.call("tag", base_image, BASE_IMAGE)
    program = shlex.join([sys.executable, "-m", "tests.container.docker_on_podman"])
    modules = shlex.quote(f"{ROOT}:{ROOT}/executor/src:{ROOT}/local_aws/src")
    script = HOME.path / "docker"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={modules} exec {program} "$@"\n')
    script.chmod(0o755)
    yield children
    children.end_all()  # First: it freezes containers, and frozen ones cannot be removed.
    podman.call("rm", "--force", "--all", "--time=0")


@pytest.fixture(scope="module")
def deployed(docker: Children, registry: str, server: Server) -> Deployed:
    """All stacks of the local stage, by `cdk deploy --all`."""
    cdk = PodmanCdk(docker, HOME)
    synth = cdk.start_synth(
        {
            "image": {
                "dags": "tests/container/dags",
                "requirements": "tests/container/requirements.txt",
            },
            "execution": {"execution_api_url": f"{server.url}/execution/"},
        }
    )
    # The container is the sandbox; there is none in another.
    aws = embedded_aws.start(docker, HOME, REGION, "--sandbox", "process")
    docker.finish(synth, SYNTH_TIMEOUT_S)
    cdk.bootstrap(aws, lambda _: None)
    return Deployed(aws, cdk.deploy(aws, lambda _: None), registry)


def test_the_registry_has_what_ecr_and_the_function_name(deployed: Deployed) -> None:
    """Registry, ECR and the function's image URI have the same digest."""
    uri = deployed.function()["Code"]["ImageUri"]
    tag = uri.rpartition(":")[2]
    assert uri.partition("/")[2] == f"{REPOSITORY}:{tag}"
    (known,) = deployed.aws.client("ecr").describe_images(repositoryName=REPOSITORY)["imageDetails"]
    assert known["imageTags"] == [tag]
    name = f"docker://{deployed.registry}/{REPOSITORY}:{tag}"
    look = ["skopeo", "inspect", "--tls-verify=false", name]
    found = json.loads(subprocess.check_output(look, text=True))
    assert found["Digest"] == known["imageDigest"]
    assert (
        found["Architecture"]
        == {"x86_64": "amd64", "arm64": "arm64"}[
            deployed.function()["Configuration"]["Architectures"][0]
        ]
    )


def test_the_function_runs_a_task_in_a_container_of_that_image(
    deployed: Deployed, server: Server
) -> None:
    """Invoked by the embedded AWS under its role; the result is in the deployed queue."""
    queue = deployed.outputs["ResultsQueueUrl"]
    sent = Invocation.for_workload(
        InvocationId(uuid.uuid4().hex), json.dumps(task("tells")), reply_to=queue
    )
    deployed.aws.client("lambda").invoke(
        FunctionName=deployed.outputs["FunctionName"],
        InvocationType="Event",
        Payload=sent.encode(),
    )
    result = _received(deployed.aws, queue)
    assert (result.id, result.outcome) == (sent.id, Outcome.COMPLETED), result
    (found,) = (body for _, path, body in server.calls if path.endswith("/return_value"))
    assert f"{found['uid']}:{found['gid']}" == USER


def _received(aws: EmbeddedAws, queue: str) -> Result:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        answer = aws.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=10)
        if messages := answer.get("Messages"):
            return Result.decode(messages[0]["Body"])
    raise AssertionError("no result in time")
