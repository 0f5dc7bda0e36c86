"""The image of this suite, built once for all tests by podman from the real Dockerfile."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.container import base
from tests.container.emulated import Emulated
from tests.container.engine import ROOT, EngineError, Podman, missing
from tests.support.handler_process import Server

DOCKERFILE = ROOT / "lambda_image" / "Dockerfile"

#: Seconds of one test; the first holds the builds of both images.
_TIMEOUT_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test enough time to build the images."""
    for item in items:
        if item.path.parent == ROOT / "tests" / "container":
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.fixture(scope="session")
def podman() -> Podman:
    """Podman with its own storage for this suite."""
    reason = missing()
    if reason is None:
        return Podman.prepare()
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def base_image(podman: Podman) -> str:
    """The stand-in for AWS's base image, and the proof that containers run here."""
    name = base.stand_in(podman)
    try:
        podman.call("run", "--rm", "--network=none", "--memory=64m", "--entrypoint=true", name)
    except EngineError as e:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"podman cannot run a container with a memory limit here: {e}")
    return name


@pytest.fixture(scope="session")
def image(podman: Podman, base_image: str) -> str:
    """The image with this suite's DAGs and requirements; nothing of the Dockerfile is changed."""
    arguments = {
        "BASE_IMAGE": base_image,
        "DAGS": "tests/container/dags",
        "REQUIREMENTS": "tests/container/requirements.txt",
    }
    return podman.build("localhost/airflow-lambda:suite", ROOT, DOCKERFILE, arguments)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The world outside the function."""
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def emulated(
    podman: Podman, image: str, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Emulated]:
    """A warm execution environment in a container."""
    log = tmp_path_factory.mktemp("emulated") / "log"
    environment = Emulated(podman, image, server, log, {})
    yield environment
    environment.close()
