"""The phases of an execution environment on the embedded AWS: init, invoke, frozen, reset."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.local_aws import Function, Server, eventually

SERVERS = ("local_aws", "strict_aws")


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """A server with each kind of sandbox that works here."""
    found: Server = request.getfixturevalue(request.param)
    return found


def with_init(server: Server, tmp_path: Path, plan: str, timeout_s: int = 10) -> Function:
    """A function whose init phases follow a plan."""
    return server.function(
        "local_aws_init_handlers.handle",
        Timeout=timeout_s,
        Environment={"Variables": {"INIT": plan, "ATTEMPTS": str(tmp_path / "attempts")}},
    )


def messages(function: Function) -> list[str]:
    """The messages in the function's log group."""
    return [message for _, message in function.log_lines()]


def test_the_invocation_repeats_a_slow_init(strict_aws: Server, tmp_path: Path) -> None:
    """After an init phase times out, another begins within the function's time-out."""
    function = with_init(strict_aws, tmp_path, "slow")
    answer = function.invoke()["Payload"]
    assert answer["attempts"] == 2
    # The second init phase was part of the invocation, which has that much less left.
    assert answer["remaining_ms"] < 9_990
    first, start, *_, report = messages(function)
    assert re.fullmatch(
        r"INIT_REPORT Init Duration: 1\d\d\d\.\d\d ms\tPhase: init\tStatus: timeout\t"
        r"Error Type: Sandbox\.Timedout",
        first,
    )
    assert start.startswith("START")
    assert "Init Duration" not in report


def test_an_init_that_never_ends_times_out(strict_aws: Server, tmp_path: Path) -> None:
    """The init phase within the invocation ends with the function's time-out."""
    function = with_init(strict_aws, tmp_path, "slow slow", timeout_s=1)
    answer = function.invoke()
    assert answer["Payload"]["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert (tmp_path / "attempts").read_text().count("begun") == 2
    assert function.processes() == []


@pytest.mark.parametrize(
    ("step", "error_type", "message"),
    [
        ("exit", "Runtime.ExitError", "Error: Runtime exited with error: exit status 7"),
        ("raise", "ValueError", "no init today"),
    ],
)
def test_a_failing_init_is_tried_twice(
    local_aws: Server, tmp_path: Path, step: str, error_type: str, message: str
) -> None:
    """An init phase that fails is tried again by the invocation, which fails with its reason."""
    function = with_init(local_aws, tmp_path, f"{step} {step}")
    answer = function.invoke()
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"]["errorType"] == error_type
    assert answer["Payload"]["errorMessage"].endswith(message)
    phases = re.findall(r"INIT_REPORT .*Phase: (\w+)\tStatus: error", "\n".join(messages(function)))
    assert phases == ["init", "invoke"]


def test_an_init_that_fails_once_fails_no_invocation(local_aws: Server, tmp_path: Path) -> None:
    """An init phase that fails before the first invocation and then succeeds is not an error."""
    assert with_init(local_aws, tmp_path, "exit").invoke()["Payload"]["attempts"] == 2


def test_an_environment_is_frozen_between_invocations(server: Server, tmp_path: Path) -> None:
    """Every process, even one with its own session, is stopped between invocations."""
    function, gate = server.function(), tmp_path / "gate"
    function.invoke({"leave_child": str(tmp_path / "child")})
    wait_until_frozen(function)
    with ThreadPoolExecutor() as threads:
        answer = function.gated(threads, gate)
        assert "T" not in function.states()
        gate.touch()
        assert answer.result()["Payload"]["invocations"] == 2
    wait_until_frozen(function)


def wait_until_frozen(function: Function) -> None:
    """Wait until all processes have stopped, which they do when they next get a CPU."""
    eventually(lambda: function.states() == ["T", "T"] or None)


def test_a_reset_keeps_tmp_and_log_stream(server: Server) -> None:
    """After a crash another runtime starts in the same environment, with the same /tmp."""
    function = server.function()
    function.invoke({"write": "left-over", "exit": 1})
    answer = function.invoke()["Payload"]
    assert answer["invocations"] == 1
    assert "left-over" in answer["temporary"]
    assert {stream for stream, _ in function.log_lines()} == {
        answer["environment"]["AWS_LAMBDA_LOG_STREAM_NAME"]
    }
    assert not [line for line in messages(function)[-3:] if "Init Duration" in line]


def test_an_environment_has_its_own_tmp(server: Server, tmp_path: Path) -> None:
    """Environments do not share /tmp, neither within a function nor between functions."""
    function, gate = server.function(), tmp_path / "gate"
    with ThreadPoolExecutor() as threads:
        first = function.gated(threads, gate)
        assert "mine" in function.invoke({"write": "mine"})["Payload"]["temporary"]
        gate.touch()
        assert "mine" not in first.result()["Payload"]["temporary"]
