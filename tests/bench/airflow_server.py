"""A real Airflow API server on a real Postgres, with tasks that wait to be run."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo import paths
from demo.installation import airflow_programs
from demo.installation.environment import free_port
from demo.machine import postgres
from demo.machine.processes import Children
from demo.outcome.airflow_api import Api
from tests.bench.report import HOME, ROOT

DAGS = Path(__file__).parent / "dags"
#: Longer than a benchmark takes: all workloads are made before it begins.
TOKEN_VALID_S = 3 * 3600
START_TIMEOUT_S = 240.0


@dataclass(frozen=True, slots=True)
class Server:
    """The running API server.

    Attributes:
        url: Of the user interface.
        settings: Airflow's own, as environment variables.
        workloads: By task id, those that nobody has run yet, as JSON.
    """

    url: str
    settings: Mapping[str, str] = field(repr=False)
    workloads: Mapping[str, list[str]] = field(repr=False)

    @property
    def execution_api(self) -> str:
        """What a task's supervisor talks to."""
        return f"{self.url}/execution/"

    def states(self) -> dict[str, int]:
        """How many task instances are in each state."""
        with Api(self.url) as api:
            tries = api.progress().tries
        return {
            state: sum(each.state == state for each in tries)
            for state in {each.state for each in tries}
        }


@contextlib.contextmanager
def running(dag_id: str, runs: int) -> Iterator[Server]:
    """An API server whose database has so many runs of a DAG, every task queued."""
    home = paths.Home(HOME / "airflow-server")
    groups = [Children(home.logs, outlive_us=False) for _ in range(2)]
    home.make_empty()
    shutil.copytree(DAGS, home.dags, dirs_exist_ok=True)
    installation = postgres.Installation.make(home)
    try:
        address = postgres.Address(
            "127.0.0.1", free_port(), "airflow", "airflow", secrets.token_hex(16)
        )
        postgres.start(groups[0], installation, address)
        port = free_port()
        settings = {
            **airflow_programs.settings(
                home, port, address.url, "AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URL=none", {}
            ),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": str(TOKEN_VALID_S),
            "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME": str(TOKEN_VALID_S),
        }
        installed = airflow_programs.Airflow(home, port, settings)
        installed.migrate(groups[1])
        workloads = _queue(installed, home.dags, dag_id, runs)
        server = groups[1].start(installed.program("api-server"))
        server.wait_until(installed.serves_functions, "answers", START_TIMEOUT_S)
        yield Server(installed.url, settings, workloads)
    finally:
        for group in reversed(groups):
            group.end_all()
        shutil.rmtree(installation.folder, ignore_errors=True)


def _queue(
    installed: airflow_programs.Airflow, folder: Path, dag_id: str, runs: int
) -> dict[str, list[str]]:
    environment = dict(installed.program("api-server").environment)
    with (installed.home.logs / "queued.log").open("w") as log:
        made = subprocess.run(
            [paths.PYTHON, "-m", "tests.bench.queued", str(folder), dag_id, str(runs)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            check=True,
            text=True,
        ).stdout
    workloads: dict[str, list[str]] = {}
    for line in made.splitlines():
        if line.startswith('{"token"') or '"dag_rel_path"' in line:
            workloads.setdefault(json.loads(line)["ti"]["task_id"], []).append(line)
    return workloads
