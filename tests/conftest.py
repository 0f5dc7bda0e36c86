"""What holds in every suite: no test reaches a real AWS account or asks Airflow's home for one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[1]

# Before anything imports Airflow or boto3: a private, empty Airflow home and fake credentials.
for name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AWS_"))]:
    del os.environ[name]
os.environ.update(
    AIRFLOW_HOME=str(ROOT / "build" / "tests" / "airflow"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="sqlite://",
    AIRFLOW__API_AUTH__JWT_SECRET="a secret for tests, long enough for a signing key",
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",
    AWS_DEFAULT_REGION="eu-west-1",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
    CDK_DISABLE_CLI_TELEMETRY="true",
    COLUMNS="200",  # Tables are as wide wherever a test runs.
)

#: What shares a fixture of a session that is too dear to be made twice, or has one place only.
TOGETHER = {
    "tests/container/": "container",
    "tests/e2e/test_environment.py": "deployed",
    "tests/e2e/test_operation.py": "deployed",
    "tests/synth/": "synth",
}


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of one file run in one worker, and so do those of `TOGETHER`."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        groups = (name for start, name in TOGETHER.items() if file.startswith(start))
        return next(groups, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    """How `pytest -n` deals tests out."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests are pure: a socket in one of them is an error."""
    for item in items:
        if ROOT / "tests" / "unit" in item.path.parents:
            item.add_marker(pytest.mark.disable_socket)
