"""How the hooks of a MicroVM are answered, whatever each of them does."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from lambda_executor.contract.micro_vm import HOOK_PATH
from lambda_image.machine.hook_server import DONE, Answer, HookServer

HERE = ("127.0.0.1", 0)


def fails(_: bytes) -> Answer:
    """Fail as a hook of a library may."""
    raise ValueError("no disk for the cache")


@pytest.fixture
def server() -> Iterator[HookServer]:
    """A server that answers on another thread."""
    hooks = {
        "run": lambda body: (200, f"got {body.decode()}"),
        "ready": lambda _: (503, "not yet"),
        "validate": fails,
    }
    with HookServer(HERE) as server, server.in_background(hooks):
        yield server


def post(server: HookServer, path: str, body: bytes = b"", method: str = "POST") -> tuple[int, str]:
    """The status and the text of the answer to a request."""
    url = f"http://127.0.0.1:{server.server_address[1]}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def test_a_hook_gets_the_body_and_gives_the_answer(server: HookServer) -> None:
    """Its status is the answer's."""
    assert post(server, HOOK_PATH + "run", b"this") == (200, "got this")
    assert post(server, HOOK_PATH + "ready") == (503, "not yet")


def test_a_hook_that_fails_tells_why(
    server: HookServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """AWS and the log, and the next hook is answered."""
    assert post(server, HOOK_PATH + "validate") == (500, "ValueError: no disk for the cache")
    assert (
        '"hook": "validate", "reason": "ValueError: no disk for the cache"'
        in capsys.readouterr().out
    )
    assert post(server, HOOK_PATH + "ready") == (503, "not yet")


@pytest.mark.parametrize(
    "path", [HOOK_PATH + "suspend", "/run", "/", HOOK_PATH, HOOK_PATH + "a/run"]
)
def test_nothing_else_is_a_hook(server: HookServer, path: str) -> None:
    """The answer says what is."""
    status, reason = post(server, path)
    assert (status, reason) == (404, "there is no such hook; there are run, ready, validate")


def test_only_posts_are_hooks(server: HookServer) -> None:
    """A look at the address does nothing."""
    assert post(server, HOOK_PATH + "run", method="GET")[0] == 501


@pytest.mark.parametrize("length", ["-1", "many", "65537"])
def test_a_body_without_a_usable_length_is_refused(server: HookServer, length: str) -> None:
    """Nothing is read that nobody sends, and no more than a body has."""
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as connection:
        connection.sendall(
            f"POST {HOOK_PATH}run HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        assert b" 400 " in connection.makefile("rb").readline()


def test_a_connection_that_breaks_is_no_end(server: HookServer) -> None:
    """AWS may stop waiting for an answer."""
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as connection:
        connection.sendall(b"POST")
    assert post(server, HOOK_PATH + "ready") == (503, "not yet")


def test_no_thread_is_left_and_the_same_address_is_served_on() -> None:
    """In the background first, and then on the thread of the caller."""
    before = threading.active_count()
    with HookServer(HERE) as server:
        with server.in_background({"ready": lambda _: (503, "not yet")}):
            assert post(server, HOOK_PATH + "ready")[0] == 503
        assert threading.active_count() == before
        server.hooks = {"ready": lambda _: DONE}
        answers: list[tuple[int, str]] = []
        asked = threading.Thread(target=lambda: answers.append(post(server, HOOK_PATH + "ready")))
        asked.start()
        server.handle_request()
        asked.join()
    assert answers == [(200, "")]
