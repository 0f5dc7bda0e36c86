"""`make local-aws`: the embedded AWS alone. What a person does with it: test_newcomer.py."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from demo import paths
from demo.machine.embedded_aws import bare_environment, download_settings
from demo.machine.process_table import end_together
from demo.machine.processes import Child, Children, ProcessError, Program

pytestmark = pytest.mark.timeout(600)

HOME = paths.Home(paths.ROOT / "build" / "alone")
LOGS = paths.ROOT / "build" / "alone-logs"
TIMEOUT_S = 300.0
RUN = f"""
import sys
from pathlib import Path
from demo import cloud_only, paths
from demo.installation.environment import EnvironmentInUseError
from demo.screen import Screen
try:
    sys.exit(cloud_only.run(Screen(), paths.Home(Path({str(HOME.path)!r}))))
except EnvironmentInUseError as e:
    sys.exit(str(e))
"""


def program(name: str) -> Program:
    """`make local-aws`, with a state of these tests."""
    return Program(
        name=name,
        argv=[paths.PYTHON, "-c", RUN],
        environment=bare_environment() | download_settings(),
        cwd=paths.ROOT,
        stop_signal=signal.SIGINT,
    )


@pytest.fixture(scope="module")
def alone() -> Iterator[tuple[Children, Child]]:
    """A running `make local-aws`."""
    LOGS.mkdir(parents=True, exist_ok=True)
    children = Children(LOGS, outlive_us=False)
    try:
        child = children.start(program("first"))
        child.wait_until(lambda: HOME.shell_file.exists() or None, "writes its file", TIMEOUT_S)
        yield children, child
    finally:
        children.end_all()


def test_a_second_one_says_that_one_runs(alone: tuple[Children, Child]) -> None:
    """It leaves the state of the first alone."""
    children, _ = alone
    with pytest.raises(ProcessError, match=r"another run uses .*/build/alone: wait for it to end"):
        children.run(program("second"), TIMEOUT_S)
    assert HOME.shell_file.exists()


def test_ctrl_c_ends_it(alone: tuple[Children, Child]) -> None:
    """Its file, which would name a port of nobody, is gone."""
    _, child = alone
    end_together([child.identity])
    assert not HOME.shell_file.exists()
    assert "The embedded AWS has ended" in child.log.read_text()
