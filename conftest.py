"""For every suite: no test uses a real AWS account or the user's Airflow home."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Imported first, so that pytest does not take the folder of that name for the package.
import local_aws as _  # noqa: F401

ROOT = Path(__file__).resolve().parent

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
    COLUMNS="200",  # The same table width everywhere.
)

with contextlib.suppress(ImportError):  # Not every environment has hypothesis.
    from hypothesis import settings

    # How long an example takes depends on the machine.
    settings.register_profile("any machine", deadline=None)
    settings.load_profile("any machine")


# Under `nohup`, or in the background of a script, the tests' programs would ignore them, too.
for number, handler in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)

#: What programs inherit from this process: with SIGTERM blocked they do not end when asked to.
BLOCKED = signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.fixture(autouse=True)
def blocks_no_signals() -> Iterator[None]:
    """No test, and no module that a test imports, blocks signals of this process."""
    yield
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, BLOCKED)
    if blocked != BLOCKED:
        pytest.fail(f"signals are blocked in the process of the tests: {sorted(blocked)}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Distribute tests over the workers of `pytest -n`."""
    from tests.support.sharing import ByFile  # noqa: PLC0415 - not every environment has pytest-xdist

    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Forbid sockets in unit tests."""
    for item in items:
        if {ROOT / "tests/unit", ROOT / "local_aws/tests/unit"} & set(item.path.parents):
            item.add_marker(pytest.mark.disable_socket)
