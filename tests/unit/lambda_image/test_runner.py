"""What the runner promises its caller, whatever fails below it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from lambda_image.machine.secret_variables import SecretVariables
from lambda_image.machine.temporary import TemporaryFolder
from lambda_image.runtime.bundles import DagBundles
from lambda_image.runtime.runner import WorkloadRunner
from lambda_image.runtime.stock_processes import StockProcesses


def test_an_environment_that_cannot_be_checked_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that fails is a reason, not an error of an invocation whose result is sent."""
    processes = StockProcesses()
    processes.start()
    runner = WorkloadRunner(DagBundles(), processes, TemporaryFolder(tmp_path), SecretVariables())
    assert runner.reason_against_another() is None

    def fail(_pid: int) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(psutil, "Process", fail)
    reason = runner.reason_against_another()
    assert reason is not None
    assert reason.endswith("cannot be checked: OSError: [Errno 24] Too many open files")
