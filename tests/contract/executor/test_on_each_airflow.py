"""The executor's contract tests with the other minor versions of Airflow, each in its own venv.

A warning that our code causes fails a test there as here: what Airflow will remove is not used.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.support.minors import ROOT, VENVS, python_of

#: Tests of what the executor does in a scheduler, of the DAG bundle, and of the commands that use
#: tables of Airflow which differ between versions.
TESTS = (
    *("test_airflow_state.py", "test_cli_explain.py", "test_executor*.py"),
    *("test_local_run.py", "test_reference_faults.py", "test_s3_bundle.py"),
)
#: The first version that has what these test: callbacks with keys, and connection tests.
SINCE = {
    "test_airflow_state.py": "3.3",
    "test_executor_callbacks.py": "3.3",
    "test_executor_keys.py": "3.4",
    "test_executor_page.py": "3.1",
    "test_executor_surface.py": "3.3",
    "test_executor_teams.py": "3.2",
}
#: Warnings that Airflow causes in itself, as long as these versions are installed beside it.
NOT_OURS = (
    "The `airflow.operators.branch.BaseBranchOperator`",  # 3.0, 3.1: the standard provider
    "Using `httpx` with `starlette.testclient` is deprecated",  # 3.0: fastapi's test client
    "The anyio.abc.BlockingPortal alias is deprecated",  # 3.1: starlette's test client
    "The ``noload`` loader strategy is deprecated",  # 3.2: SQLAlchemy 2.1
)


@pytest.mark.timeout(900)  # Some hundred tests, while others run beside them.
@pytest.mark.parametrize("minor", [minor for minor, venv in VENVS.items() if venv])
def test_the_executor_keeps_its_promises(minor: str) -> None:
    """The executor works with every supported Airflow, and uses nothing deprecated."""
    python = python_of(minor)
    folder = ROOT / "tests/contract/executor"
    files = [path for pattern in TESTS for path in folder.glob(pattern)]
    files = sorted(path for path in files if SINCE.get(path.name, "") <= minor)
    filters = "\n".join(["error", *(f"ignore:{message}" for message in NOT_OURS)])
    options = ["-q", "-p", "no:cacheprovider", "-o", f"filterwarnings={filters}"]
    done = subprocess.run(
        [python, "-m", "pytest", *options, *map(str, files)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
