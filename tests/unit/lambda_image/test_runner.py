"""What the runner promises its caller, whatever fails below it."""

from __future__ import annotations

import errno
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from lambda_executor.contract.wire import Outcome
from lambda_image.deadline import Margins
from lambda_image.machine import time_limit
from lambda_image.machine.secret_variables import SecretVariables
from lambda_image.machine.stop_request import StopRequest
from lambda_image.machine.temporary import TemporaryFolder
from lambda_image.runtime.bundles import DagBundles
from lambda_image.runtime.runner import WorkloadRunner
from lambda_image.runtime.stock_processes import StockProcesses
from tests.support.handler_process import task


@pytest.mark.parametrize("has_served", [True, False])
@pytest.mark.parametrize("is_requested", [True, False])
def test_a_time_out_before_the_start_may_be_an_earlier_workloads_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_served: bool, is_requested: bool
) -> None:
    """Slow DAG files of a first run, and a request to stop, say nothing of the environment."""
    processes = StockProcesses()
    processes.start()
    runner = WorkloadRunner(DagBundles(), processes, TemporaryFolder(tmp_path), SecretVariables())
    if has_served:
        runner.dag_bundles.folders.expect_harm()

    def wait(_workload: object) -> NoReturn:
        raise time_limit.OutOfTime

    monkeypatch.setattr(runner.dag_bundles, "reason_against", wait)
    monkeypatch.setattr(processes, "verdict", lambda: None)  # No process was started.
    deadline = replace(Margins(None, None).deadline(600, time.monotonic()), request=StopRequest())
    if is_requested:
        deadline.request.make()
    verdict = runner.run(json.dumps(task("says")), deadline)
    assert verdict.outcome is Outcome.DEADLINE
    assert "nothing was started" in verdict.reason
    assert (runner.reason_against_another() is not None) is (has_served and not is_requested)


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
