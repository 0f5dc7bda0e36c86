"""The command `run`: what it refuses, and one task from the command to its summary."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
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

MAPPED = """
from airflow.sdk import dag, task, task_group

@dag(schedule=None)
def daily():
    @task
    def listed():
        return [1, 2]
    @task
    def each(number):
        print(number)
    @task
    def fixed(number):
        print(number)
    @task_group
    def in_groups(number):
        @task
        def in_group(number):
            print(number)
        in_group(number)
    each.expand(number=listed())
    fixed.expand(number=[1, 2, 3])
    in_groups.expand(number=listed())

daily()
"""
#: Options of [database], which note every database that they are used for.
OPTIONS = """
import os, sqlite3
from sqlalchemy.orm import sessionmaker

def note(database):
    try:
        with open(os.path.join(os.environ["HOME"], "used"), "a") as file:
            print(database, file=file)
    except OSError:
        pass

class Connection(sqlite3.Connection):
    def __init__(self, database, *args, **kwargs):
        note(database)
        super().__init__(database, *args, **kwargs)

connect_args = {"factory": Connection}

def session_maker(engine):
    note(engine.url)
    return sessionmaker(engine)
"""
NOTES_ITS_DATABASE = """
import options_of_database
from airflow import settings

options_of_database.note(f"async {settings.SQL_ALCHEMY_CONN_ASYNC}")
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
        (["--no-database", "--run-id", "manual__1"], "leave out --no-database"),
        (["--debug-port", "5678"], "run `pip install debugpy`"),
        (["--image-source", "/usr"], "name the checkout with --image-source"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_starts(
    words: list[str], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """With what to do."""
    assert reason in complaint(capfd, "run", "daily", "each", "--image-source", str(ROOT), *words)


@contextmanager
def started(
    home: Path,
    *words: str,
    dags: str = DAGS,
    path: str = os.environ["PATH"],
    variables: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """The command, with DAG files and a folder for everything temporary; it ends with the test."""
    for name in ("dags", "tmp"):
        (home / name).mkdir()
    (home / "dags" / "daily.py").write_text(dags, encoding="utf-8")
    program = Path(sys.executable).parent / "airflow"
    with subprocess.Popen(
        [program, "lambda-executor", "run", *words],
        cwd=ROOT,
        env={
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "COLUMNS": "80",
            "HOME": str(home),
            "PATH": path,
            "TMPDIR": str(home / "tmp"),
            **(variables or {}),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        try:
            yield command
        finally:
            command.kill()


def test_one_task_from_the_command_to_its_summary(tmp_path: Path) -> None:
    """A mapped task, with what its upstream task returned, and with pdb on stdin."""
    task = ["daily", "each", "--map-index", "1", "--xcom", "listed=[5, 6]", "--no-database"]
    with started(tmp_path, *task, "--debug", "--memory-mb", "2048") as command:
        out, err = command.communicate("p number\nnumber = 43\ncontinue\n")
    assert command.returncode == 0, out + err
    assert "(Pdb) 6\n" in out
    lines = out.splitlines()
    assert any(line.endswith("the number is 43") for line in lines)
    assert any(line.split()[:3] == ["OK", "task", "success"] for line in lines)
    assert "Lambda would have run it" in lines
    assert "Airflow's database" not in out


def test_options_of_the_real_database_reach_no_other(tmp_path: Path) -> None:
    """They may be unusable there, and would lead writes to the real one."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "options_of_database.py").write_text(OPTIONS, encoding="utf-8")
    with closing(sqlite3.connect(tmp_path / "real.db")):
        pass
    options = {
        "CONN": f"sqlite:///{tmp_path / 'real.db'}",
        "CONN_ASYNC": f"sqlite+aiosqlite:///{tmp_path / 'real.db'}",
        "CONNECT_ARGS": "options_of_database.connect_args",
        "CONNECT_ARGS_ASYNC": "options_of_database.connect_args",
        "ENGINE_ARGS": '{"isolation_level": "of no such database"}',
        "SESSION_MAKER": "options_of_database.session_maker",
    }
    variables = {f"AIRFLOW__DATABASE__SQL_ALCHEMY_{name}": options[name] for name in options}
    dags = NOTES_ITS_DATABASE + DAGS
    with started(tmp_path, "daily", "listed", dags=dags, variables=variables) as command:
        out, err = command.communicate()
    assert command.returncode == 0, out + err
    used = (tmp_path / "used").read_text(encoding="utf-8").splitlines()
    of_sync = [line for line in used if not line.startswith("async ")]
    assert of_sync
    assert all("real.db" in line for line in of_sync), used
    assert any("real.db?mode=ro" in line for line in of_sync), used
    assert not [line for line in used if line.startswith("async ") and "real.db" in line]


@pytest.mark.parametrize(
    ("number", "code"), [("SIGHUP", 129), ("SIGINT", 130), ("SIGKILL", -9), ("SIGTERM", 143)]
)
def test_nothing_is_left_when_the_command_is_killed(tmp_path: Path, number: str, code: int) -> None:
    """Neither the copied connections and variables nor the task, also without walls."""
    without_walls = str(Path(sys.executable).parent)
    with started(tmp_path, "daily", "waits", path=without_walls) as command:
        assert command.stdout is not None
        said = next(line for line in command.stdout if "the task is process" in line)
        task = psutil.Process(int(said.split()[-1]))
        assert list((tmp_path / "tmp").glob("airflow-lambda-run-*/airflow.db"))
        command.send_signal(signal.Signals[number])
        _, err = command.communicate(timeout=_ENDS_WITHIN_S)
    until_s = time.monotonic() + _ENDS_WITHIN_S
    while task.is_running() or list((tmp_path / "tmp").glob("airflow-lambda-run-*")):
        assert time.monotonic() < until_s, [*(tmp_path / "tmp").rglob("*"), task]
        time.sleep(0.1)
    assert command.returncode == code
    assert "Traceback" not in err
    assert ("interrupted" in err.splitlines()) == (number == "SIGINT")


def test_an_unknown_task_is_refused_with_the_known_ones(tmp_path: Path, said: Say) -> None:
    """A database that is not there is only a note, and not made."""
    with (
        pytest.raises(LocalRunError, match="has no task 'none', but each, listed"),
        airflow(tmp_path, said, task="none", real_database=f"sqlite:///{tmp_path / 'none.db'}"),
    ):
        pass
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("task", "map_index", "reason"),
    [
        ("listed", 5, "--map-index is for mapped tasks, and 'listed' is none: leave it out"),
        ("each", -1, "the task 'each' is mapped: give --map-index, from 0"),
        ("fixed", 3, "the task 'fixed' is mapped: give --map-index, 0 to 2"),
        ("in_group", -1, "the task 'in_groups.in_group' is mapped: give --map-index, from 0"),
    ],
)
def test_a_map_index_is_for_mapped_tasks(
    tmp_path: Path, said: Say, task: str, map_index: int, reason: str
) -> None:
    """The DAG says which are: before its upstream task, a dynamically mapped one looks like any."""
    name = f"in_groups.{task}" if task == "in_group" else task
    with (
        pytest.raises(LocalRunError, match=reason),
        airflow(tmp_path, said, MAPPED, task=name, map_index=map_index),
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
