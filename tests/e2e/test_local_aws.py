"""`make local-aws`: the embedded AWS alone, for the programs of another shell."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

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
SMALL = '{"database": {"enabled": false}, "observability": {"dashboard": false}}'


def program(name: str) -> Program:
    """`make local-aws`, with a state of these tests."""
    return Program(
        name=name,
        argv=[paths.PYTHON, "-c", RUN],
        environment=bare_environment() | download_settings(),
        cwd=paths.ROOT,
        stop_signal=signal.SIGINT,
    )


def in_a_shell(commands: str) -> str:
    """What a shell prints that has sourced the file, without anything else set."""
    done = subprocess.run(
        ["bash", "-euc", f"source {HOME.shell_file}; {commands}"],
        cwd=paths.ROOT,
        env=download_settings() | {"PATH": bare_environment()["PATH"], "HOME": str(Path.home())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


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


@pytest.mark.usefixtures("alone")
def test_the_commands_for_an_account_work_as_they_are() -> None:
    """The README's `cdk` deploys a stage with its image, and `make destroy` takes it down."""
    stage = f"-c stage=local -c override='{SMALL}'"
    in_a_shell(f"cdk bootstrap {stage} && cdk deploy --all {stage} --require-approval never")
    named = "import boto3; print(boto3.client('lambda').list_functions()['Functions'][0])"
    assert "airflow-lambda-local-" in in_a_shell(f'python -c "{named}"')
    in_a_shell("python destroy.py local --yes")
    left = "import boto3; print(boto3.client('lambda').list_functions()['Functions'])"
    assert in_a_shell(f'python -c "{left}"').strip() == "[]"


def test_ctrl_c_ends_it(alone: tuple[Children, Child]) -> None:
    """Its file, which would name a port of nobody, is gone."""
    _, child = alone
    end_together([child.identity])
    assert not HOME.shell_file.exists()
    assert "The embedded AWS has ended" in child.log.read_text()
