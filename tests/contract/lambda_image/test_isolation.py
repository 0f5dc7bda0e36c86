"""What a workload leaves to the next one in a warm environment, in the real handler: nothing.

As root the kernel lets any process read any other's memory, so the handler runs without root's
capabilities, as it does in Lambda.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.wire import Outcome
from tests.support.handler_process import (
    HandlerProcess,
    connection_test,
    processes_with,
    running,
    task,
)
from tests.support.machine import without_capabilities

#: How long a process would sleep that a task leaves behind: it tells it from all others.
NAP = "86312.5"

#: What the tokens of earlier workloads look like; the scan must find them without having one.
EARLIER = "earlier-token-"

DAGS = f"""
import ctypes, json, os, re, signal, subprocess, tempfile, uuid
from pathlib import Path
from airflow.sdk import dag, task
from airflow.sdk.log import mask_secret

def found(pattern, memory):
    # As a task would that means it: a process may always read its own memory.
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
    count = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if not rights.startswith("rw") or "[vvar" in line:
            continue
        begin, end = (int(edge, 16) for edge in span.split("-"))
        memory.seek(begin)
        count += len(pattern.findall(memory.read(end - begin)))
    return count

def opened(path):
    try:
        open(path, "rb").close()
    except PermissionError:
        return "denied"
    return "opened"

@dag(schedule=None)
def handled():
    @task
    def leaves_things_behind():
        os.environ["LEFT_BEHIND"] = "left behind"
        os.chdir("/")
        os.umask(0)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        json.left_behind = True
        mask_secret("a-word-that-was-secret-once")
        folder = Path(tempfile.gettempdir())
        (folder / "left-file").write_text("left")
        (folder / "left-folder").mkdir()
        (folder / "left-folder" / "file").write_text("left")
        (folder / "left-link").symlink_to("/")
        for locked in ("left-folder/locked", "left-locked"):
            (folder / locked).mkdir()
            (folder / locked / "file").touch()
            (folder / locked).chmod(0)
        subprocess.run("mkdir -p ~/.cache && touch ~/.cache/left ~/left", shell=True, check=True)
        subprocess.Popen(["sleep", "{NAP}"], start_new_session=True)
    @task
    def looks_around():
        folder = Path(tempfile.gettempdir())
        seen = dict(
            variable=os.environ.get("LEFT_BEHIND"),
            directory=os.getcwd(),
            umask=os.umask(0o022),
            ignores=signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN,
            module=hasattr(json, "left_behind"),
            files=[path.name for path in folder.iterdir() if path.name.startswith("left")],
            home=os.environ["HOME"],
            is_home=str(Path.home()) == os.path.expanduser("~") == os.environ["HOME"],
            at_home=[str(path) for path in Path.home().rglob("*")],
            home_is_of="%o" % Path.home().stat().st_mode,
            word="a-word-that-was-secret-once",
        )
        print("seen", json.dumps(seen))
    @task
    def reads_memory():
        control = "control-token-" + uuid.uuid4().hex
        zygote = os.getppid()
        handler = int(Path(f"/proc/{{zygote}}/stat").read_text().rpartition(")")[2].split()[1])
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            seen = dict(
                control=found(re.compile(b"control-token[-][0-9a-f]{{32}}"), memory),
                earlier=found(re.compile(b"earlier-token[-][0-9a-f]{{32}}"), memory),
            )
        seen["others"] = [opened(f"/proc/{{pid}}/{{name}}")
            for pid in (zygote, handler) for name in ("mem", "environ")]
        print("seen", json.dumps(seen), control[:7])
    for each in (leaves_things_behind, looks_around, reads_memory):
        each()

handled()
"""


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """One warm environment of a user without privileges."""
    folder = tmp_path_factory.mktemp("isolation")
    program = [*without_capabilities(), sys.executable]
    with running(folder, DAGS, program=program) as process:
        yield process


def seen(handler: HandlerProcess, task_id: str) -> dict[str, Any]:
    """A task's output about what it sees."""
    result, log = handler.run(task(task_id))
    assert result.outcome is Outcome.COMPLETED, log
    (line,) = [line for line in log.splitlines() if '"seen ' in line]
    said: dict[str, Any] = json.JSONDecoder().raw_decode(json.loads(line)["event"][5:])[0]
    return said


def large_connection_test(token: str) -> dict[str, Any]:
    """A workload without a supervisor: its process gets the token from the handler.

    Large: what is freed of one that is small is soon overwritten.
    """
    return connection_test("c" * 5000, token)


def test_a_task_leaves_nothing_to_the_next(handler: HandlerProcess) -> None:
    """Variables, directory, umask, signals, changed modules, masked words, files: all as before."""
    before = seen(handler, "looks_around")
    handler.run(task("leaves_things_behind"))
    assert seen(handler, "looks_around") == before
    assert before["files"] == []
    assert before["at_home"] == []
    assert before["word"] == "a-word-that-was-secret-once"


def test_a_task_has_a_home_of_its_own(handler: HandlerProcess) -> None:
    """Lambda sets none: the handler makes one below the temporary folder, for this user only."""
    around = seen(handler, "looks_around")
    assert Path(around["home"]).parent == handler.temporary
    assert around["is_home"]
    assert around["home_is_of"] == "40700"


def test_a_background_process_ends_with_its_task(handler: HandlerProcess) -> None:
    """Otherwise it would be frozen with the environment and resume during another task."""
    result, _ = handler.run(task("leaves_things_behind"))
    assert result.run_ms is not None
    assert result.run_ms < 20_000  # Airflow alone waits for a minute for the pipes it holds.
    assert processes_with(NAP) == []


def test_no_token_of_an_earlier_workload_is_in_a_tasks_memory(handler: HandlerProcess) -> None:
    """A task that searches all its memory finds its own marker, and no token."""
    for _ in range(3):
        handler.run(task("looks_around", token=EARLIER + uuid.uuid4().hex))
        handler.run(large_connection_test(EARLIER + uuid.uuid4().hex))
    said = seen(handler, "reads_memory")
    assert said["control"] >= 1
    assert said["earlier"] == 0


def test_a_task_cannot_read_the_memory_of_handler_and_zygote(handler: HandlerProcess) -> None:
    """Their memory holds tokens and the environment variables of the start."""
    assert seen(handler, "reads_memory")["others"] == ["denied"] * 4


def test_a_runtime_finds_nothing_of_one_that_died(handler: HandlerProcess, tmp_path: Path) -> None:
    """The next process gets the same /tmp, and empties it at its start and after each task."""
    dags = handler.output.parent / "dags"
    first = HandlerProcess(tmp_path / "first", dags, handler.server)
    until_s = time.monotonic() + 30
    while not list(first.temporary.glob("airflow-*")) and time.monotonic() < until_s:
        time.sleep(0.01)
    (first.temporary / "left-by-the-dead").touch()
    os.kill(first.pid, signal.SIGKILL)
    first.close()
    second = HandlerProcess(
        tmp_path / "second", dags, handler.server, {"TMPDIR": str(first.temporary)}
    )
    assert seen(second, "looks_around")["files"] == []
    second.run(task("leaves_things_behind"))
    assert seen(second, "looks_around")["files"] == []
    second.close()
    assert list(first.temporary.iterdir()) == []
