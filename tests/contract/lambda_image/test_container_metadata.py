"""What a container learns of itself from the metadata endpoint of Amazon ECS."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from lambda_image.machine import container
from lambda_image.machine.container import METADATA, Container
from tests.support.job_process import LOG_STREAM, TASK_ARN, TASK_ID, JobServer


@pytest.fixture
def server() -> Iterator[JobServer]:
    """An endpoint for one container."""
    server = JobServer()
    yield server
    server.close()


def test_a_container_knows_its_task_its_log_and_its_memory(server: JobServer) -> None:
    """The container has no memory of its own here, so the task's is its limit."""
    found = Container.read({METADATA: f"{server.url}/container"})
    assert found == Container(TASK_ARN, LOG_STREAM, 4096)
    assert (found.task_id, found.region) == (TASK_ID, "eu-west-1")


def test_its_own_memory_comes_first(server: JobServer) -> None:
    """A container may have less than its task."""
    server.container = {"Limits": {"CPU": 256, "Memory": 512}, "LogDriver": "json-file"}
    found = Container.read({METADATA: f"{server.url}/container"})
    assert (found.memory_mb, found.log_stream) == (512, None)


@pytest.mark.parametrize("strange", [[], "text", {"Limits": 3}, {"LogOptions": []}, None])
def test_a_strange_answer_tells_nothing(server: JobServer, strange: Any) -> None:
    """A job runs without a log stream rather than not at all."""
    server.container = server.task = strange
    assert Container.read({METADATA: f"{server.url}/container"}) == Container()


def test_an_endpoint_that_fails_is_asked_again(
    server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an instance nothing else tells the Region, without which there is no result."""
    monkeypatch.setattr(container, "_PAUSE_S", 0.0)
    server.metadata_failures = 2
    found = Container.read({METADATA: f"{server.url}/container"})
    assert (found.log_stream, found.region) == (LOG_STREAM, "eu-west-1")
    server.metadata_failures = 3  # As many as there are attempts at its first address.
    found = Container.read({METADATA: f"{server.url}/container"})
    assert (found.log_stream, found.region) == (None, "eu-west-1")


def test_without_an_endpoint_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable, or nobody who listens there."""
    monkeypatch.setattr(container, "_PAUSE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert Container.read({METADATA: address}) == Container.read({}) == Container()
    assert (Container().task_id, Container().region) == (None, None)
