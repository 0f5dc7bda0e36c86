"""The image's process on a developer's machine, with Airflow's real task runtime.

The Execution API is a fake one; `tests/contract/executor/test_local_run.py` has a real one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from lambda_executor.contract.local_run import Order
from lambda_executor.ops.local_run import walls
from lambda_executor.ops.local_run.programs import ImageSide, Seen
from lambda_executor.ops.terminal import Say
from tests.support.handler_process import ROOT, Server, environment_of, task

DAGS = """
import os, subprocess, time
from pathlib import Path
from airflow.sdk import dag, task

@dag(schedule=None)
def handled():
    @task
    def leaves_things():
        print("said by the task")
        Path(os.environ["TMPDIR"], "file").write_bytes(bytes(5 * 2**20))
        Path(os.environ["OUTSIDE"]).write_text("outside")
    @task
    def needs_memory():
        held = bytearray(b"x" * (1500 * 2**20))
        time.sleep(60)
    @task
    def sleeps():
        time.sleep(60)
    @task
    def fills_the_disk():
        for path in (os.environ["OUTSIDE"], "/tmp/file"):
            try:
                Path(path).write_bytes(bytes(40 * 2**20))
            except OSError as e:
                print("refused", path, e.strerror)
    @task
    def stops():
        value = 41
        breakpoint()
        print("value is", value)
    for each in (leaves_things, needs_memory, sleeps, fills_the_disk, stops):
        each()

handled()
"""
#: A time-out that leaves a task three seconds.
SHORT = {
    "AIRFLOW__LAMBDA_EXECUTOR__STOP_MARGIN_S": "3",
    "AIRFLOW__LAMBDA_EXECUTOR__KILL_MARGIN_S": "2",
}


@dataclass
class Machine:
    """A developer's machine, on which one task runs.

    Attributes:
        outside: A file that is not in /tmp.
        tmp_mb: The size of /tmp; None: without walls.
    """

    folder: Path
    server: Server
    outside: Path
    tmp_mb: int | None = None

    def run(
        self,
        task_id: str,
        *,
        memory_mb: int = 1769,
        timeout_s: float = 900,
        debugger: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Seen:
        """Run a task to its end."""
        temporary = self.folder / "tmp" if self.tmp_mb is None else Path("/tmp")
        given = environment_of(self.server, self.folder / "dags", self.folder / "tmp") | {
            "OUTSIDE": str(self.outside),
            "TMPDIR": str(temporary),
            **(variables or {}),
        }
        order = Order(json.dumps(task(task_id)), memory_mb, timeout_s, debugger)
        with (self.folder / "said").open("w", encoding="utf-8") as answers:
            program = ImageSide(order, Say(answers), given)
            if (size := self.tmp_mb) is not None:
                found = walls.program()
                assert found is not None
                readable = [str(self.folder), str(ROOT)]
                program.behind(lambda argv: walls.command(found, size, readable, argv))
            return program.run()

    @property
    def said(self) -> str:
        """What the terminal got."""
        return (self.folder / "said").read_text(encoding="utf-8")

    @property
    def states(self) -> list[str]:
        """The states that Airflow was told."""
        return [body["state"] for _, path, body in self.server.calls if path.endswith("/state")]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine with DAG files, and an Execution API."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "dags" / "handled.py").write_text(DAGS, encoding="utf-8")
    server = Server()
    yield Machine(tmp_path, server, ROOT / "build" / f"outside-{os.getpid()}")
    server.close()
    (ROOT / "build" / f"outside-{os.getpid()}").unlink(missing_ok=True)


@pytest.fixture
def with_stdin() -> Iterator[Callable[[str], None]]:
    """Gives this process, and so its children, a text as stdin."""
    before = os.dup(0)

    def give(text: str) -> None:
        read, write = os.pipe()
        os.write(write, text.encode())
        os.close(write)
        os.dup2(read, 0)
        os.close(read)

    yield give
    os.dup2(before, 0)
    os.close(before)


def test_what_a_task_needs_and_writes_is_measured(machine: Machine) -> None:
    """Without walls a write outside of /tmp succeeds, and is reported."""
    seen = machine.run("leaves_things")
    assert (seen.ended.outcome, seen.ended.return_code, seen.ended.reason) == ("completed", 0, "")
    assert machine.states == ["success"]
    assert "said by the task" in machine.said
    assert 5 <= seen.ended.tmp_mb < 10
    assert seen.written == (str(machine.outside),)
    assert machine.outside.read_text(encoding="utf-8") == "outside"
    assert 50 < seen.ended.largest_mb < seen.ended.memory_mb + 50
    assert not seen.ended.was_killed_for_memory


def test_a_task_that_needs_more_memory_is_killed(machine: Machine) -> None:
    """As Lambda would, and the time is known."""
    seen = machine.run("needs_memory", memory_mb=800)
    assert (seen.ended.outcome, seen.ended.was_killed_for_memory) == ("crashed", True)
    assert seen.ended.memory_mb > 800
    assert seen.ended.over_memory_s is not None


def test_a_task_that_needs_more_time_is_stopped(machine: Machine) -> None:
    """By the same deadline as in the function."""
    seen = machine.run("sleeps", timeout_s=6, variables=SHORT)
    assert (seen.ended.outcome, seen.ended.stop_at_s) == ("deadline", 3.0)
    assert "stopped 3 s before the end of the function's time-out" in seen.ended.reason


def test_behind_walls_the_kernel_refuses_what_lambda_refuses(machine: Machine) -> None:
    """Writing outside of /tmp, and more than /tmp has."""
    if walls.program() is None:
        pytest.skip("bubblewrap does not work here")
    machine.tmp_mb = 20
    seen = machine.run("fills_the_disk")
    assert f"refused {machine.outside} Read-only file system" in machine.said
    assert "refused /tmp/file No space left on device" in machine.said
    assert seen.written == (str(machine.outside),)
    assert seen.ended.tmp_mb == 20
    assert not machine.outside.exists()


def test_breakpoint_opens_pdb(machine: Machine, with_stdin: Callable[[str], None]) -> None:
    """It reads and changes the task's variables; neither memory nor time stops it."""
    with_stdin("p value\nvalue = 43\ncontinue\n")
    seen = machine.run("stops", memory_mb=1, debugger="pdb")
    assert "(Pdb) 41" in machine.said
    assert "value is 43" in machine.said
    assert (seen.ended.return_code, seen.ended.was_killed_for_memory) == (0, False)
    assert seen.ended.over_memory_s is not None
