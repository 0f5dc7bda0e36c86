"""The executor's distribution with each minor version of Airflow: its commands, and its silence."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.distribution import airflow_variables, installed
from tests.support.minors import VENVS, python_of

#: What Airflow does first in a DAG processor, and in the process of a task.
_BUNDLES = """
from airflow.dag_processing.bundles.manager import DagBundlesManager
print([bundle.name for bundle in DagBundlesManager().get_all_dag_bundles()])
"""


@pytest.fixture(params=VENVS)
def python(request: pytest.FixtureRequest) -> Path:
    """An interpreter with each minor version."""
    return python_of(request.param)


def run(
    python: Path, home: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with the distribution installed."""
    return subprocess.run(
        [python, *words],
        env={**airflow_variables(home, installed(home / "site")), **variables},
        capture_output=True,
        check=False,
        text=True,
    )


def test_airflow_has_the_commands_once(python: Path, tmp_path: Path) -> None:
    """`airflow lambda-executor` is there, and Airflow reports no conflict and no error."""
    executors = "LocalExecutor,lambda:lambda_executor.LambdaExecutor"
    words = ("-m", "airflow", "lambda-executor", "--help")
    done = run(python, tmp_path, *words, AIRFLOW__CORE__EXECUTOR=executors)
    assert done.returncode == 0, done.stderr
    for command in ("check", "status", "dead-letters", "dags"):
        assert command in done.stdout
    assert "Traceback" not in done.stderr


def test_a_command_runs(python: Path, tmp_path: Path) -> None:
    """The doctor finds what is missing in an environment without AWS."""
    done = run(python, tmp_path, "-m", "airflow", "lambda-executor", "check")
    assert done.returncode == 1, done.stderr
    assert "PROBLEM" in done.stdout
    assert "AIRFLOW__LAMBDA_EXECUTOR__REGION_NAME" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_distribution_is_silent(python: Path, tmp_path: Path) -> None:
    """Airflow looks for example DAGs in every provider, also in ours, and finds none."""
    done = run(python, tmp_path, "-c", _BUNDLES, AIRFLOW__CORE__LOAD_EXAMPLES="True")
    assert done.returncode == 0, done.stderr
    assert "example_dags" in done.stdout
    for said in (done.stdout, done.stderr):
        assert "airflow_lambda_executor" not in said
        assert "Traceback" not in said
