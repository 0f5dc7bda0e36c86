"""Runs a command as Airflow's own command line does."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest
from airflow.cli.cli_parser import _add_command

from lambda_executor.ops.cli import get_cli_commands


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run `airflow lambda-executor <words>`; its exit code and what it answers."""
    code, answer, _ = _run(capfd, *words)
    return code, answer


def complaint(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that fails without an answer; what it says on stderr."""
    code, answer, said = _run(capfd, *words)
    assert (code, answer) == (1, "")
    return said


def _run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser(prog="airflow")
    subparsers = parser.add_subparsers(required=True)
    for command in get_cli_commands():
        _add_command(subparsers, command)
    args = parser.parse_args(["lambda-executor", *words])
    capfd.readouterr()
    with pytest.raises(SystemExit) as exited:
        args.func(args)
    captured = capfd.readouterr()
    return int(exited.value.code or 0), captured.out, captured.err


def run_json(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    """The same with `--json`."""
    code, answer = run(capfd, *words, "--json")
    return code, json.loads(answer)
