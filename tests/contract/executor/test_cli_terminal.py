"""The commands in a real process, with a real pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.handler_process import ROOT

#: A command that logs as botocore does, then answers with more lines than a pipe holds.
_PROGRAM = """
import argparse, logging
logging.basicConfig(level=logging.INFO)
from lambda_executor.ops.terminal import command

@command
def answers(args, say):
    logging.getLogger("botocore.credentials").info("Found credentials in environment variables.")
    logging.getLogger("any").warning("a warning")
    for number in range(20_000):
        say(f"line {number}")
    return True

answers(argparse.Namespace())
"""


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    """The command line that runs it."""
    (tmp_path / "program.py").write_text(_PROGRAM)
    return [sys.executable, str(tmp_path / "program.py")]


def environment() -> dict[str, str]:
    """Our sources, and no settings."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "executor/src")}


def test_a_reader_that_has_seen_enough_causes_no_traceback(program: list[str]) -> None:
    """`... | head -n 1` prints one line, and nothing on stderr about a broken pipe."""
    with subprocess.Popen(
        program, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        complaint = process.stderr.read()
    assert "BrokenPipe" not in complaint
    assert "Traceback" not in complaint
    assert process.returncode == 1


def test_only_warnings_of_libraries_are_shown(program: list[str]) -> None:
    """The lines that botocore logs about every client come before no answer."""
    done = subprocess.run(program, env=environment(), capture_output=True, text=True, check=True)
    assert "Found credentials" not in done.stderr
    assert "a warning" in done.stderr
    assert done.stdout.splitlines()[-1] == "line 19999"
