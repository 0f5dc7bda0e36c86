"""Ctrl-C in the middle of `make demo`."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass

import psutil
import pytest

from demo import paths
from demo.installation.environment import sole_use
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(600)

TIMEOUT_S = 400.0
HOME = paths.Home(paths.ROOT / "build" / "e2e-interrupted")
#: The demo in a folder of its own.
PROGRAM = f"""
import sys
from pathlib import Path
from demo import __main__ as demo, paths
demo._VERBS["run"] = (paths.Home(Path({str(HOME.path)!r})), "make demo")
sys.argv = ["demo", "run"]
sys.exit(demo.main())
"""


@dataclass(frozen=True)
class Story:
    """What the demo said, how it ended, and which of its programs still run."""

    said: str
    exit_code: int
    left: list[str]


@pytest.fixture(scope="module")
def story() -> Story:
    """Interrupt it, as a terminal does, while `cdk bootstrap` talks to the embedded AWS."""
    HOME.path.parent.mkdir(parents=True, exist_ok=True)
    output = HOME.path.with_suffix(".log")
    with output.open("w") as to:
        demo = subprocess.Popen(
            [paths.PYTHON, "-c", PROGRAM],
            cwd=paths.ROOT,
            stdout=to,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(
            lambda: (demo.poll() is not None or "] cdk bootstrap\n" in output.read_text()) or None,
            "the bootstrap begins",
            TIMEOUT_S,
        )
        programs = psutil.Process(demo.pid).children(recursive=True)
        assert "node" in {program.name() for program in programs}
        os.killpg(demo.pid, signal.SIGINT)
        exit_code = demo.wait(TIMEOUT_S)
    finally:
        demo.kill()
    return Story(output.read_text(), exit_code, [str(each) for each in programs if _runs(each)])


def _runs(program: psutil.Process) -> bool:
    return program.is_running() and program.status() != psutil.STATUS_ZOMBIE


def test_no_program_outlives_it(story: Story) -> None:
    """The embedded AWS ends, and so does the CLI that talks to it."""
    assert story.left == []


def test_it_says_so_and_nothing_else(story: Story) -> None:
    """No traceback; the exit code is that of an interrupted program."""
    assert story.exit_code == 130
    assert story.said.rstrip().endswith("Interrupted; every program has been ended.")
    assert "Traceback" not in story.said


@pytest.mark.usefixtures("story")
def test_the_next_run_may_begin() -> None:
    """The folder is not locked any more."""
    with sole_use(HOME):
        pass
