"""The image of each other Airflow, built from its lock and started as function and control plane.

The demo deploys the default one.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from airflow_lambda_constructs.airflow.airflow_control_plane import API_PORT
from demo.machine import stand_in_image
from lambda_executor.contract.wire import Outcome
from lambda_image.control_plane import airflow_environment
from stacks.config import ImageConfig
from tests.support.control_plane import Site, control_plane
from tests.support.handler_process import ROOT, running, task

#: Installing packages may take as long as the network does.
pytestmark = pytest.mark.timeout(600)

TIMEOUT_S = 240.0
DEFAULT = ImageConfig().airflow_version
VERSIONS = sorted({path.stem for path in (ROOT / "lambda_image/locks").glob("*.txt")} - {DEFAULT})

DAGS = """
from airflow.sdk import dag, task

@dag(schedule=None)
def handled():
    @task
    def says():
        from airflow.version import version
        print("said by the task on Airflow", version)
    says()

handled()
"""

#: Imports what the other programs of the control plane consist of, and makes the tables.
_MIGRATION = """
import sys
import airflow.dag_processing.manager
import airflow.jobs.dag_processor_job_runner
import airflow.jobs.scheduler_job_runner
import airflow.jobs.triggerer_job_runner
from airflow.__main__ import main
from airflow.executors.executor_loader import ExecutorLoader
from airflow.providers_manager import ProvidersManager
assert ExecutorLoader.import_default_executor_cls()[0].__name__ == "LambdaExecutor"
assert "airflow-lambda-executor" in ProvidersManager().providers
sys.argv = ["airflow", "db", "migrate"]
main()
"""


@dataclass(frozen=True)
class Image:
    """A directory that stands in for an image."""

    version: str
    task_root: Path
    python: Path


@pytest.fixture(scope="module", params=VERSIONS)
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image of this version, as the Dockerfile says; without a network there is none."""
    version: str = request.param
    output = tmp_path_factory.mktemp("image")
    arguments = {"AIRFLOW_VERSION": version}
    try:
        stand_in_image.build(ROOT, ROOT / "lambda_image/Dockerfile", output, arguments)
    except subprocess.CalledProcessError as e:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"the packages of Airflow {version} could not be installed: {e}")
    description = json.loads((output / "image.json").read_text())
    programs = Path(description["environment"]["PATH"].partition(":")[0])
    return Image(version, Path(description["working_directory"]), programs / "python")


@pytest.fixture(scope="module")
def site(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A control plane with an empty database."""
    folder = tmp_path_factory.mktemp("control-plane")
    with control_plane(folder, image.python, str(image.task_root)) as site:
        yield site


def test_a_task_runs_in_the_image(image: Image, tmp_path: Path) -> None:
    """The handler runs a task of this Airflow to its end."""
    modules = {"PYTHONPATH": str(image.task_root)}
    with running(tmp_path, DAGS, modules, [image.python]) as handler:
        result, log = handler.run(task("says"))
        assert (result.reason, result.outcome, result.return_code) == ("", Outcome.COMPLETED, 0)
        assert handler.server.told_states() == ["success"]
    assert f"said by the task on Airflow {image.version}" in log


def test_the_control_plane_runs_from_the_image(site: Site) -> None:
    """Every program imports, our executor loads, the database migrates, the API server answers.

    It answers on both health paths, also where nobody has to log in: with that setting Airflow 3.0
    answers 500 if the image's pyjwt is newer than it knows.
    """
    ours = {"AIRFLOW__CORE__EXECUTOR": "lambda_executor.LambdaExecutor"}
    done = subprocess.run(
        [site.python, "-c", _MIGRATION],
        env=airflow_environment(site.environment("migration")) | ours,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    nobody_logs_in = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True"}
    server = site.start("api-server", "api-server", extra=nobody_logs_in)
    server.wait_until(lambda: _listens(site.ports[API_PORT]), "listens", TIMEOUT_S)
    for path in ("/api/v2/monitor/health", "/execution/health"):
        answer = httpx.get(f"{site.url}{path}", timeout=TIMEOUT_S, trust_env=False)
        assert answer.status_code == 200, f"{path}: {answer.text}\n{site.log('api-server')}"


def _listens(port: int) -> bool | None:
    """Whether a server listens on this port; None: not yet."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return None
    return True
