"""Runs one workload through Airflow's own supervisor and turns every end into a `Verdict`.

The supervisor runs in this process, and the task in its own (`processes`).
"""

from __future__ import annotations

import errno
import traceback
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from airflow.sdk.api.client import ServerResponseError
from airflow.version import version as airflow_version
from pydantic import ValidationError

from lambda_executor.contract.wire import Outcome
from lambda_image.deadline import Deadline
from lambda_image.machine import environment, memory, time_limit
from lambda_image.machine.temporary import TemporaryFolder
from lambda_image.machine.zygote import ZygoteError
from lambda_image.runtime import compat, task_log
from lambda_image.runtime.bundles import DagBundles
from lambda_image.runtime.compat import TaskAlreadyRunningError, Workload
from lambda_image.runtime.processes import Processes
from lambda_image.runtime.stock_processes import StockProcesses
from lambda_image.verdict import (
    Verdict,
    crashed,
    duplicate,
    out_of_time,
    overtaken,
    rejected,
)

#: States that end a try which Airflow does not let this start run. If the scheduler or a person has
#: set one, nobody else settles the invocation; if an earlier start has, settling it again changes
#: nothing. In any other state another start of the same try is the one that counts.
_FINAL_STATES = frozenset(
    {"success", "failed", "skipped", "up_for_retry", "upstream_failed", "removed"}
)


@dataclass(frozen=True, slots=True)
class WorkloadRunner:
    """Runs the workloads of one execution environment, one at a time."""

    dag_bundles: DagBundles
    processes: Processes | StockProcesses
    temporary: TemporaryFolder

    def run(self, workload_json: str, deadline: Deadline) -> Verdict:
        """Run a workload to its end, within the deadline; never raises."""
        try:
            workload = compat.WORKLOADS.validate_json(workload_json)
        except ValidationError as e:
            return rejected(
                "not a workload that Airflow "
                f"{airflow_version} in this image can run: {_validation_reason(e)}"
            )
        give_up_at_s = self.processes.give_up_at_s(deadline)
        try:
            with self.processes.until(deadline), time_limit.until(give_up_at_s):
                verdict = self._run(workload)
        except time_limit.OutOfTime:
            verdict = self._out_of_time()
        finally:
            task_log.discard_if_private(getattr(workload, "log_path", None))
            self.temporary.clear()
        most_mb = max(memory.resident_mb(), verdict.max_memory_mb or 0)
        return replace(verdict, max_memory_mb=most_mb)

    def _run(self, workload: Workload) -> Verdict:
        server = compat.execution_api_url()
        try:
            if reason := (
                _reason_against(server)
                or self.temporary.reason_against()
                or self.dag_bundles.reason_against(workload)
            ):
                return rejected(reason)
            with environment.restored():
                self._supervise(workload, server)
        except ZygoteError as e:
            return rejected(f"nothing was started: {e}; the execution environment is given up")
        except Exception as e:  # noqa: BLE001 - the supervisor lets anything through
            verdict = self.processes.verdict()
            if verdict is not None and verdict.outcome is Outcome.DEADLINE:
                return verdict.adding(f"Airflow was not told: {type(e).__name__}: {e}")
            return _verdict_of(e, server)
        return self.processes.verdict() or crashed("the supervisor returned before its process")

    def _supervise(self, workload: Workload, server: str) -> None:
        def run_workload() -> int:
            return compat.run_workload(workload, server)

        if compat.has_own_process(workload):
            self.processes.supervise(run_workload)
        else:
            self.processes.run(run_workload)

    def _out_of_time(self) -> Verdict:
        """The verdict when even the supervisor did not return in time."""
        verdict = self.processes.verdict()
        if verdict is None:
            return out_of_time(
                1,
                "nothing was started: the function's time-out came before the DAG files and the "
                f"Execution API at {compat.execution_api_url()} were there",
            )
        return verdict.adding("Airflow was not told: it did not answer in time")


def _reason_against(server: str) -> str | None:
    url = urlsplit(server)
    if url.scheme in ("http", "https") and url.netloc:
        return None
    return (
        f"[core] execution_api_server_url is {server!r}, which is no http or https URL: set "
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL in the function's environment"
    )


def _verdict_of(error: Exception, server: str) -> Verdict:
    if isinstance(error, TaskAlreadyRunningError):
        return duplicate("the same try of the task is already running elsewhere")
    if isinstance(error, ServerResponseError) and (state := _taken_state(error)):
        if state in _FINAL_STATES:
            return overtaken(f"Airflow had already set the task's state to {state}")
        return duplicate(f"another start of the same try came first, its state is {state}")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return crashed(
            "the function's disk filled up while the task ran, and its log could not be written: "
            "give the function more ephemeral storage"
        )
    if not isinstance(error, httpx.HTTPError):
        return crashed(f"the supervisor failed with {type(error).__name__}: {error}{_at(error)}")
    reason = _api_reason(error, server)
    return rejected(reason) if _before_start(error) else crashed(reason)


def _taken_state(error: ServerResponseError) -> str | None:
    """The state because of which the API server refused to start the try (HTTP 409)."""
    detail = error.detail
    if error.response.status_code != HTTPStatus.CONFLICT or not isinstance(detail, dict):
        return None
    if detail.get("reason") != "invalid_state":
        return None
    return str(detail.get("previous_state"))


def _api_reason(error: httpx.HTTPError, server: str) -> str:
    if not isinstance(error, httpx.HTTPStatusError):
        return (
            f"the Execution API at {server} cannot be reached from the function "
            f"({type(error).__name__}: {error}): check AIRFLOW__CORE__EXECUTION_API_SERVER_URL "
            "and the way from the function's network to it"
        )
    status = error.response.status_code
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return (
            f"the Execution API refused the workload's token (HTTP {status}: {error}). It expires "
            "when the invocation waits longer than [scheduler] task_queued_timeout; otherwise "
            "scheduler and API server do not share [api_auth] jwt_secret"
        )
    if status == HTTPStatus.NOT_FOUND and _before_start(error):
        return "Airflow does not know this try of the task any more: it was cleared or deleted"
    return f"the Execution API answered HTTP {status} to {error.request.url.path}: {error}"


def _before_start(error: httpx.HTTPError) -> bool:
    """Whether the failed call is the one that reports the task's start to Airflow."""
    try:
        return error.request.url.path.endswith("/run")
    except RuntimeError:  # No request: the client failed before it made one.
        return True


def _at(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" (in {frames[-1].name}, {Path(frames[-1].filename).name}:{frames[-1].lineno})"


def _validation_reason(error: ValidationError) -> str:
    """The first errors, without the input: it holds the token."""
    errors = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or '(all)'}: {e['msg']}" for e in errors[:5])
