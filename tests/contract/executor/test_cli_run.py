"""The command `run`: what it refuses, and one task from the command to its summary."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_executor.contract.errors import LocalRunError
from lambda_executor.ops.terminal import Say
from tests.support.command_line import complaint
from tests.support.distribution import ROOT
from tests.support.local_run import airflow

DAGS = """
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

daily()
"""


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


def test_one_task_from_the_command_to_its_summary(tmp_path: Path) -> None:
    """A mapped task, with what its upstream task returned, and with pdb on stdin."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "daily.py").write_text(DAGS, encoding="utf-8")
    program = Path(sys.executable).parent / "airflow"
    task = ["daily", "each", "--map-index", "1", "--xcom", "listed=[5, 6]"]
    done = subprocess.run(
        [program, "lambda-executor", "run", *task, "--debug", "--memory-mb", "2048"],
        cwd=ROOT,
        env={
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "COLUMNS": "80",
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
        },
        input="p number\nnumber = 43\ncontinue\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(Pdb) 6\n" in done.stdout
    lines = done.stdout.splitlines()
    assert any(line.endswith("the number is 43") for line in lines)
    assert any(line.split()[:3] == ["OK", "task", "success"] for line in lines)
    assert "Lambda would have run it" in lines


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
