"""The embedded Lambda service answers like AWS's own Runtime Interface Emulator.

Both run the same handler under the unmodified `awslambdaric`. The emulator is AWS's code for the
inside of one execution environment, so ours must answer the same.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.local_aws import ROOT, RUNTIME_PYTHON, Function, Server
from tests.support.rie import emulator

HERE = ROOT / "tests/support"
TIMEOUT_S = 2
MEMORY_MB = 256
HANDLER = "local_aws_handlers.handle"
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Emulator:
    """A running Runtime Interface Emulator."""

    url: str
    log: Path

    def invoke(self, event: Any) -> str:
        """Invoke the handler; the answer's body."""
        return httpx.post(self.url, json=event, timeout=30).text


@contextmanager
def emulating(folder: Path, handler: str) -> Iterator[Emulator]:
    """Run the emulator with a handler."""
    program, log = emulator(), folder / "rie.log"
    front, runtime_api = (f"127.0.0.1:{port}" for port in free_ports(2))
    variables = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(TIMEOUT_S),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
        # Of a role's session, as a container gets them; the emulator hands them on.
        **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "test"),
        "AWS_SESSION_TOKEN": "test",
        "AWS_REGION": "us-east-1",
    }
    addresses = ["--runtime-interface-emulator-address", front]
    addresses += ["--runtime-api-address", runtime_api]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *addresses, RUNTIME_PYTHON, "-m", "awslambdaric", handler],
            cwd=HERE,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until_open(front)
            yield Emulator(f"http://{front}/2015-03-31/functions/function/invocations", log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def free_ports(count: int) -> list[int]:
    """Free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_until_open(address: str) -> None:
    """Wait until the port accepts connections."""
    host, port = address.split(":")
    give_up_s = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            assert time.monotonic() < give_up_s, f"nobody listens on {address}"
            time.sleep(0.01)
        else:
            return


@pytest.fixture(scope="module")
def rie(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The emulator with the handler of these tests."""
    with emulating(tmp_path_factory.mktemp("rie"), HANDLER) as running:
        yield running


@pytest.fixture
def function(local_aws: Server) -> Function:
    """A function with the emulator's settings."""
    return local_aws.function(Timeout=TIMEOUT_S, MemorySize=MEMORY_MB)


def ours(function: Function, event: Any) -> str:
    """The answer's body from the embedded Lambda service."""
    answer = function.client.invoke(FunctionName=function.name, Payload=json.dumps(event))
    body: bytes = answer["Payload"].read()
    return body.decode()


def both(rie: Emulator, function: Function) -> tuple[Callable[[Any], str], Callable[[Any], str]]:
    """Functions that invoke ours and the emulator."""
    return rie.invoke, partial(ours, function)


def masked(body: str) -> Any:
    """An answer's JSON without the ids of its invocation."""
    return json.loads(_ID.sub("<id>", body))


@pytest.mark.parametrize(
    "event",
    [
        {"raise": "broken"},
        {"exit": 3},
        {"exit": 0},
        {"kill": int(signal.SIGKILL)},
        {"return_mb": 7},
    ],
    ids=lambda event: next(iter(event.items())),
)
def test_failures_give_the_same_error(
    rie: Emulator, function: Function, event: dict[str, Any]
) -> None:
    """An exception, an exit, a signal and too large an answer give the same JSON object."""
    theirs, mine = (masked(invoke(event)) for invoke in both(rie, function))
    assert mine == theirs
    assert mine["errorType"]


def test_after_a_crash_the_next_invocation_starts_a_runtime(
    rie: Emulator, function: Function
) -> None:
    """After a reset the handler answers from a new process, after another init phase."""
    for invoke in both(rie, function):
        invoke({"exit": 1})
        assert json.loads(invoke({}))["invocations"] == 1
        assert json.loads(invoke({}))["invocations"] == 2


def test_a_time_out_gives_the_same_error_and_resets(rie: Emulator, function: Function) -> None:
    """The time-out's message is the emulator's, with time and request id in front, as on Lambda."""
    theirs, mine = (invoke({"sleep_s": 30}) for invoke in both(rie, function))
    assert json.loads(mine)["errorMessage"].endswith(f" {theirs}")
    for invoke in both(rie, function):
        assert json.loads(invoke({}))["invocations"] == 1


@pytest.mark.parametrize(
    "call",
    [
        ["GET", "invocation/next"],
        ["POST", "init/error"],
        ["POST", "invocation/another-id/response"],
        ["POST", "invocation/another-id/error"],
    ],
    ids=" ".join,
)
def test_the_runtime_api_answers_out_of_turn_alike(
    rie: Emulator, function: Function, call: list[str]
) -> None:
    """A task cannot take the next event, report a failed init phase or answer another invocation.

    The next event is the open invocation's own; the others are refused. The environment then
    answers the open invocation, and the one after it, as if nothing had happened.
    """
    event = {"runtime_api": call}
    theirs, mine = (json.loads(invoke(event)) for invoke in both(rie, function))
    assert mine["did"] == theirs["did"]
    assert mine["did"] == [200, event] or mine["did"][0] in {400, 403}
    for invoke in both(rie, function):
        assert json.loads(invoke({}))["invocations"] > 1


def test_a_large_answer_arrives_whole(rie: Emulator, function: Function) -> None:
    """Five megabytes are returned unchanged."""
    theirs, mine = (invoke({"return_mb": 5}) for invoke in both(rie, function))
    assert len(mine) == 5 * 1024 * 1024 + 2
    assert mine == theirs


def test_the_context_has_the_same_fields(rie: Emulator, function: Function) -> None:
    """The context has the same kinds of memory size, ARN, request id and deadline."""
    for invoke in both(rie, function):
        invoke({})  # so that the next one has no init phase in its time
    theirs, mine = (json.loads(invoke({})) for invoke in both(rie, function))
    assert mine["memory_mb"] == theirs["memory_mb"] == str(MEMORY_MB)
    assert mine["arn"].split(":")[:3] == theirs["arn"].split(":")[:3]
    assert mine["arn"].count(":") == theirs["arn"].count(":")
    for told in (theirs, mine):
        assert _ID.fullmatch(told["request_id"])
        assert 0 < told["remaining_ms"] <= TIMEOUT_S * 1000


def test_the_handler_gets_at_least_the_emulators_variables(
    rie: Emulator, function: Function
) -> None:
    """Every variable that the emulator sets is set."""
    theirs, mine = (json.loads(invoke({}))["environment"] for invoke in both(rie, function))
    # It hands on how it was started itself; and we have no metadata endpoint.
    not_ours = {
        "AWS_LAMBDA_FUNCTION_TIMEOUT",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
    }
    assert set(theirs) - not_ours <= set(mine)


def test_the_log_has_the_same_lines(rie: Emulator, function: Function) -> None:
    """START, END and REPORT of a warm invocation differ only in their numbers."""
    for invoke in both(rie, function):
        invoke({})
        invoke({})
    platform = re.compile(r"^(?:START|END|REPORT) .*", re.MULTILINE)
    mine = "\n".join(message for _, message in function.log_lines())
    theirs = rie.log.read_text()
    last_mine, last_theirs = (
        [re.sub(r"\d+(?:\.\d+)?", "N", _ID.sub("<id>", line)).rstrip() for line in found[-3:]]
        for found in (platform.findall(mine), platform.findall(theirs))
    )
    assert last_mine == last_theirs


@pytest.mark.parametrize("handler", ["no_such_module.handle", "local_aws_handlers.no_such_name"])
def test_a_failed_init_gives_the_same_error(
    local_aws: Server, tmp_path: Path, handler: str
) -> None:
    """A missing handler gives the runtime's own error."""
    function = local_aws.function(handler, Timeout=TIMEOUT_S, MemorySize=MEMORY_MB)
    with emulating(tmp_path, handler) as running:
        theirs, mine = (masked(invoke({})) for invoke in both(running, function))
    assert mine == theirs
    assert mine["errorType"].startswith("Runtime.")
