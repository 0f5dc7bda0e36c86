"""`make local DAGS=...`: a DAG repository outside of this one, which changes while it runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from demo import kept_up, paths
from demo.outcome.airflow_api import Api
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(900)  # The first test waits for the environment.

HOME = paths.Home(paths.ROOT / "build" / "own-project")
TIMEOUT_S = 120.0
START_TIMEOUT_S = 800.0
RUN = f"""
import sys
from pathlib import Path
from demo import kept_up, paths
from demo.installation import own_project
from demo.screen import Screen
home = paths.Home(Path({str(HOME.path)!r}))
if sys.argv[1] == "down":
    sys.exit(kept_up.down(Screen(), home))
sys.exit(kept_up.up(Screen(), home, own_project.project(*map(Path, sys.argv[2:]))[0]))
"""
DAG = """
import os
from datetime import datetime

import humanize  # of requirements.txt
from airflow.sdk import Variable, dag, task
from common.words import WORD  # behind a link to a folder
from greetings import GREETING  # a plugin


@dag(schedule=None, start_date=datetime(2024, 1, 1))
def mine():
    @task
    def say():
        own = (Variable.get("colour"), os.environ["PLAIN"])
        return f"{GREETING} {WORD} {humanize.intcomma(1000)} {' '.join(own)}"

    say()


mine()
"""


@dataclass(frozen=True)
class Repository:
    """A DAG repository, and the address of the Airflow that runs it."""

    dags: Path
    words: Path
    airflow: str

    def answer(self) -> str:
        """The value that a new run of the DAG returns."""
        with httpx.Client(base_url=f"{self.airflow}/api/v2", trust_env=False, timeout=60) as http:
            made = http.post("/dags/mine/dagRuns", json={"logical_date": None}).raise_for_status()
            run = f"/dags/mine/dagRuns/{made.json()['dag_run_id']}"

            def ended() -> str | None:
                state: str = http.get(run).raise_for_status().json()["state"]
                return state if state in {"success", "failed"} else None

            assert until(ended, "the run ends", TIMEOUT_S) == "success"
            value = http.get(f"{run}/taskInstances/say/xcomEntries/return_value")
            return str(value.raise_for_status().json()["value"])

    def import_errors(self) -> dict[str, str]:
        """The import errors that the UI shows."""
        with Api(self.airflow) as api:
            return api.import_errors()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """`make local` with the repository, and `make local-down`."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("dags", "common", "plugins"):
        (root / name).mkdir()
    (root / "dags" / "mine.py").write_text(DAG)
    (root / "dags" / "common").symlink_to(root / "common")
    words = root / "common" / "words.py"
    words.write_text('WORD = "first"\n')
    (root / "plugins" / "greetings.py").write_text('GREETING = "Hello"\n')
    (root / "requirements.txt").write_text("humanize\n")
    (root / ".env").write_text("AIRFLOW_VAR_COLOUR=blue\nPLAIN='as it is'\n")
    try:
        in_a_process(
            "up", *(root / name for name in ("dags", "requirements.txt", ".env", "plugins"))
        )
        state = kept_up.State.read(HOME.state)
        assert state
        assert state.url
        with Api(state.url) as api:
            api.unpause("mine")
        yield Repository(root / "dags", words, state.url)
    finally:
        in_a_process("down")


def in_a_process(verb: str, *given: Path) -> None:
    """`make local` or `make local-down`, with a state of these tests: its programs outlive it."""
    command = [str(paths.PYTHON), "-c", RUN, verb, *map(str, given)]
    subprocess.run(command, cwd=paths.ROOT, timeout=START_TIMEOUT_S, check=True)


def test_a_changed_module_is_run_by_the_function(repository: Repository) -> None:
    """The next tasks run the new code, with the repository's packages, plugins and variables."""
    assert repository.answer() == "Hello first 1,000 blue as it is"
    repository.words.write_text('WORD = "second"\n')
    until(
        lambda: repository.answer() == "Hello second 1,000 blue as it is" or None,
        "the changed module runs",
        TIMEOUT_S,
    )


def test_a_broken_file_is_told_where_a_person_looks(repository: Repository) -> None:
    """The UI's import errors and the log have it, the other DAG runs, and its end is told too."""
    log = HOME.logs / "dags-reload.log"
    broken = repository.dags / "team" / "broken.py"
    broken.parent.mkdir()
    broken.write_text("from airflow.sdk import dag\nimport nowhere_to_be_found\n")
    told = "broken.py cannot be imported: ModuleNotFoundError: No module named"
    until(lambda: told in log.read_text() or None, told, TIMEOUT_S)
    assert [error for file, error in repository.import_errors().items() if "broken.py" in file]
    assert repository.answer()

    broken.unlink()
    mended = "broken.py has no import error any more"
    until(lambda: mended in log.read_text() or None, mended, TIMEOUT_S)
    assert "deleted team/broken.py" in log.read_text()


def test_a_shell_that_sources_the_file_uses_the_same(repository: Repository) -> None:
    """`airflow` lists the DAGs of this Airflow, boto3 the queues of this AWS."""
    asks = "import boto3; print(*boto3.client('sqs').list_queues()['QueueUrls'], sep='\\n')"
    commands = f'airflow dags list --output plain && python -c "{asks}"'
    done = subprocess.run(
        ["bash", "-euc", f"source {HOME.shell_file}; {commands}"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert "mine" in done.stdout.split()  # Beside Airflow's warnings.
    assert "/airflow-lambda-local-execution-ResultsQueueResults" in done.stdout
    assert repository.airflow.startswith("http://127.0.0.1:")


def test_nothing_is_written_to_the_repository(repository: Repository) -> None:
    """After all of this it has the files that a person put there, and no cache beside them."""
    root = repository.dags.parent
    files = {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}
    mine = {"dags/mine.py", "common/words.py", "plugins/greetings.py", "requirements.txt", ".env"}
    assert files == mine
