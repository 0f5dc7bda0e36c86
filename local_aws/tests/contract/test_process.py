"""The start and the end of the embedded AWS as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.local_aws import (
    CLEAN_ENVIRONMENT,
    ROOT,
    SERVER_PYTHON,
    Server,
    wait_for_exit,
)


@pytest.fixture
def server(local_aws: Server, tmp_path: Path) -> Iterator[Server]:
    """A server for one test."""
    assert local_aws.process.poll() is None
    made = Server(tmp_path / "state")
    yield made
    if made.process.poll() is None:
        made.stop()


def start_processes(server: Server, tmp_path: Path) -> list[int]:
    """Start a runtime and a child in another session; return the process ids."""
    function = server.function()
    function.invoke({"leave_child": str(tmp_path / "child")})
    processes = function.processes()
    assert len(processes) == 2
    return processes


def test_a_stop_is_clean(server: Server, tmp_path: Path) -> None:
    """Ctrl-C ends every process of every environment, then the server, with 0.

    The other tests' fixtures stop their servers with SIGTERM.
    """
    processes = start_processes(server, tmp_path)
    assert server.stop(signal.SIGINT) == 0
    for pid in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_stop_does_not_wait_for_long_polls(server: Server) -> None:
    """A long poll of twenty seconds does not delay the stop."""
    queue = server.queue()
    sqs = server.client("sqs")
    with ThreadPoolExecutor() as threads:
        poll = threads.submit(sqs.receive_message, QueueUrl=queue.url, WaitTimeSeconds=20)
        sqs.list_queues()
        began_s = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began_s < 10
        assert poll.exception() is not None
    log = (server.state_dir / "local-aws.log").read_text()
    assert "Traceback" not in log


def test_a_killed_server_leaves_no_process(server: Server, tmp_path: Path) -> None:
    """Environments end by themselves when the server is killed."""
    processes = start_processes(server, tmp_path)
    server.stop(signal.SIGKILL)
    wait_for_exit(processes)


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the program, which is expected to fail."""
    return subprocess.run(
        [str(SERVER_PYTHON), "-m", "local_aws", *options],
        cwd=ROOT,
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_taken_port_is_reported(local_aws: Server, tmp_path: Path) -> None:
    """A port that is in use ends the program with a message, not a traceback."""
    port = local_aws.url.rpartition(":")[2]
    done = run("--state-dir", str(tmp_path), "--port", port)
    assert done.returncode == 1
    assert done.stderr.startswith("the embedded AWS cannot start: ")
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_directory_has_one_server(server: Server) -> None:
    """A second server names the first one's process and what to do; it changes nothing."""
    log = server.state_dir / "local-aws.log"
    before = log.read_text()
    done = run("--state-dir", str(server.state_dir), "--port", "0")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"the embedded AWS cannot start: {server.state_dir} is in use by process "
        f"{server.process.pid}: end that process, or give another --state-dir\n"
    )
    assert log.read_text().startswith(before)
    assert server.client("sqs").list_queues()


def test_a_killed_server_leaves_its_state_directory_free(server: Server, tmp_path: Path) -> None:
    """The lock ends with the process, although one of its environments was running."""
    start_processes(server, tmp_path)
    server.stop(signal.SIGKILL)
    assert Server(server.state_dir).stop() == 0


def test_an_unknown_fix_is_reported(local_aws: Server, tmp_path: Path) -> None:
    """`--without-fix` with an unknown name lists the known ones."""
    assert local_aws.process.poll() is None
    done = run("--state-dir", str(tmp_path), "--port", "0", "--without-fix", "nothing")
    assert done.returncode == 1
    assert "there is no fix nothing: choose from " in done.stderr
    assert "Traceback" not in done.stderr
