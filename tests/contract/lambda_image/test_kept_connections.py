"""Connections of the real handler to the Execution API and SQS, counted by TLS fronts.

They are kept from one task to the next, and nothing but the connection is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from lambda_executor.contract.wire import Outcome
from tests.support.handler_process import HandlerProcess, Server, connection_test, task
from tests.support.https_front import HttpsFront, trusted
from tests.support.minors import python_of

DAGS = """
from airflow.sdk import Variable, dag, task

@dag(schedule=None)
def handled():
    @task
    def says():
        print("said by the task")
    @task
    def reads():
        print("read", Variable.get("v"))
    for each in (says, reads):
        each()

handled()
"""


@dataclass(frozen=True)
class World:
    """A warm environment, and the fronts of what it calls."""

    handler: HandlerProcess
    api: HttpsFront
    sqs: HttpsFront

    def runs(self, task_id: str = "says", token: str = "token") -> None:
        """Run a task, which has to succeed."""
        result, log = self.handler.run(task(task_id, token=token))
        assert (result.outcome, result.reason) == (Outcome.COMPLETED, ""), log
        assert self.handler.server.told_states() == ["success"]

    def handshakes(self) -> tuple[int, int]:
        """Since the last call: with the Execution API, and with SQS."""
        counted = self.api.handshakes, self.sqs.handshakes
        self.api.handshakes = self.sqs.handshakes = 0
        return counted


@pytest.fixture(scope="module")
def world(minor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for every supported version of Airflow."""
    folder = tmp_path_factory.mktemp("handler")
    (folder / "dags").mkdir()
    (folder / "dags" / "handled.py").write_text(DAGS)
    ca, trusting = trusted(folder)
    with contextlib.ExitStack() as stack:
        server = Server()
        stack.callback(server.close)
        port = urlsplit(server.url).port
        assert port is not None
        api = stack.enter_context(HttpsFront(port).serving(ca))
        sqs = stack.enter_context(HttpsFront(port).serving(ca))
        variables = {
            **trusting,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{api.url}/execution/",
            "AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URL": f"{sqs.url}/sqs/results",
            "AWS_ENDPOINT_URL": f"{sqs.url}/sqs",
        }
        handler = HandlerProcess(folder, folder / "dags", server, variables, [python_of(minor)])
        stack.callback(handler.close)
        made = World(handler, api, sqs)
        made.runs()
        assert made.handshakes() == (1, 1)
        yield made


@pytest.fixture(autouse=True)
def _connected(world: World) -> None:
    """Every test begins with connections that are kept."""
    world.runs()
    world.handshakes()
    world.api.tokens.clear()
    world.api.cookies.clear()


def test_tasks_share_one_connection(world: World) -> None:
    """Ten tasks of a warm environment make no handshake, whatever they ask Airflow for."""
    world.handler.server.found = {"/variables/v": {"key": "v", "value": "1"}}
    for number in range(10):
        world.runs("reads" if number % 2 else "says")
    assert world.handshakes() == (0, 0)


def test_connections_that_were_closed_while_idle_are_replaced(world: World) -> None:
    """A server closes an idle connection: the next task takes one handshake, and no repetition."""
    world.api.close_idle()
    world.sqs.close_idle()
    world.api.requests.clear()
    world.runs()
    assert world.handshakes() == (1, 1)
    requests = [path for path in world.api.requests if not path[1].endswith("/heartbeat")]
    assert len(set(requests)) == len(requests)


@pytest.mark.parametrize("end", ["/run", "/state"])
def test_a_reset_costs_no_task(world: World, end: str) -> None:
    """The start and the end of a task are called again when their connection is reset."""
    world.api.resets.append(end)
    world.runs()
    assert world.api.resets == []
    assert world.handshakes() == (1, 0)


def test_a_read_is_repeated_at_once_on_a_new_connection(world: World) -> None:
    """A GET changes nothing, so it needs none of the attempts that Airflow allows for it."""
    world.handler.server.found = {"/variables/v": {"key": "v", "value": "1"}}
    world.api.resets.append("/variables/v")  # The handler's Airflow makes a single attempt.
    world.runs("reads")
    assert world.api.resets == []
    assert world.handshakes() == (1, 0)


def test_no_task_has_the_token_of_another(world: World) -> None:
    """A token that Airflow renews belongs to its task alone, and so do the server's cookies."""
    world.api.headers += [b"Refreshed-API-Token: renewed\r\n", b"Set-Cookie: of=the-first\r\n"]
    world.runs(token="first")
    assert world.api.tokens[0] == "first"
    assert set(world.api.tokens[1:]) == {"renewed"}
    assert set(world.api.cookies) == {"of=the-first"}
    world.api.tokens.clear()
    world.api.cookies.clear()
    world.runs(token="second")
    assert set(world.api.tokens) == {"second"}
    assert world.api.cookies == []
    assert world.handshakes() == (0, 0)


def test_a_workload_in_a_child_leaves_the_connection_alone(minor: str, world: World) -> None:
    """A connection test calls the API from its own process, over its own connection."""
    if minor < "3.3":
        pytest.skip("connection tests came with Airflow 3.3")
    world.handler.run(connection_test())
    assert world.handshakes() == (1, 0)
    world.runs()
    assert world.handshakes() == (0, 0)
