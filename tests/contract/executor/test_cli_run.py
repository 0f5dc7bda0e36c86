"""The command `run`: what it refuses, and one task from the command to its summary."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lambda_executor.contract.errors import LocalRunError
from lambda_executor.ops.terminal import Say
from tests.support.command_line import complaint
from tests.support.distribution import ROOT
from tests.support.local_run import airflow

DAGS = """
import os, time
from airflow.sdk import dag, task

@dag(schedule=None)
def daily():
    @task
    def listed():
        return [1, 2]
    @task
    def each(number):
        breakpoint()
        print("the number is", number)
    each.expand(number=listed())
    @task
    def waits():
        print("the task is process", os.getpid())
        time.sleep(600)
    waits()

daily()
"""

#: Long enough for a slow machine, in seconds.
_ENDS_WITHIN_S = 60


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Say]:
    """A terminal."""
    with (tmp_path / "said").open("w", encoding="utf-8") as answers:
        yield Say(answers)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--xcom", "listed"], "--xcom is 'listed': write TASK=JSON"),
        (["--xcom", "listed=[1,"], "--xcom is '[1,', which is not JSON"),
        (["--conf", "{"], "--conf is '{', which is not JSON"),
        (["--debug-port", "5678"], "run `pip install debugpy`"),
        (["--image-source", "/usr"], "name the checkout with --image-source"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_starts(
    words: list[str], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """With what to do."""
    assert reason in complaint(capfd, "run", "daily", "each", "--image-source", str(ROOT), *words)


def started(home: Path, *words: str, path: str = os.environ["PATH"]) -> subprocess.Popen[str]:
    """The command, with DAG files and a folder for everything temporary."""
    for name in ("dags", "tmp"):
        (home / name).mkdir()
    (home / "dags" / "daily.py").write_text(DAGS, encoding="utf-8")
    program = Path(sys.executable).parent / "airflow"
    return subprocess.Popen(
        [program, "lambda-executor", "run", *words],
        cwd=ROOT,
        env={
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "COLUMNS": "80",
            "HOME": str(home),
            "PATH": path,
            "TMPDIR": str(home / "tmp"),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_one_task_from_the_command_to_its_summary(tmp_path: Path) -> None:
    """A mapped task, with what its upstream task returned, and with pdb on stdin."""
    task = ["daily", "each", "--map-index", "1", "--xcom", "listed=[5, 6]"]
    with started(tmp_path, *task, "--debug", "--memory-mb", "2048") as command:
        out, err = command.communicate("p number\nnumber = 43\ncontinue\n")
    assert command.returncode == 0, out + err
    assert "(Pdb) 6\n" in out
    lines = out.splitlines()
    assert any(line.endswith("the number is 43") for line in lines)
    assert any(line.split()[:3] == ["OK", "task", "success"] for line in lines)
    assert "Lambda would have run it" in lines


@pytest.mark.parametrize("number", ["SIGHUP", "SIGINT", "SIGKILL", "SIGTERM"])
def test_nothing_is_left_when_the_command_is_killed(tmp_path: Path, number: str) -> None:
    """Neither the copied connections and variables nor the task, also without walls."""
    without_walls = str(Path(sys.executable).parent)
    with started(tmp_path, "daily", "waits", path=without_walls) as command:
        assert command.stdout is not None
        said = next(line for line in command.stdout if "the task is process" in line)
        task = psutil.Process(int(said.split()[-1]))
        assert list((tmp_path / "tmp").glob("airflow-lambda-run-*/airflow.db"))
        command.send_signal(signal.Signals[number])
        command.communicate(timeout=_ENDS_WITHIN_S)
    until_s = time.monotonic() + _ENDS_WITHIN_S
    while task.is_running() or list((tmp_path / "tmp").glob("airflow-lambda-run-*")):
        assert time.monotonic() < until_s, [*(tmp_path / "tmp").rglob("*"), task]
        time.sleep(0.1)
    assert command.returncode != 0


def test_an_unknown_task_is_refused_with_the_known_ones(tmp_path: Path, said: Say) -> None:
    """A database that is not there is only a note."""
    with (
        pytest.raises(LocalRunError, match="has no task 'none', but each, listed"),
        airflow(tmp_path, said, task="none", real_database=f"sqlite:///{tmp_path / 'none.db'}"),
    ):
        pass


def test_a_broken_dag_file_is_named(tmp_path: Path, said: Say) -> None:
    """With the error of its import."""
    broken = "import a_module_that_is_not_there\nfrom airflow.sdk import dag"
    with (
        pytest.raises(LocalRunError, match=r"daily\.py: ModuleNotFoundError: No module named"),
        airflow(tmp_path, said, broken),
    ):
        pass
