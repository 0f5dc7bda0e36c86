"""Runs one workload through Airflow's own supervisor and turns every end into a `Verdict`.

The supervisor runs in this process, and the task in its own (`processes`).
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import urlsplit

from airflow.version import version as airflow_version
from pydantic import ValidationError

from lambda_executor.contract.wire import Outcome
from lambda_image import host
from lambda_image.deadline import Deadline
from lambda_image.logs import log_output
from lambda_image.machine import environment, limits, memory, time_limit
from lambda_image.machine.secret_variables import SecretError, SecretVariables
from lambda_image.machine.temporary import TemporaryFolder
from lambda_image.machine.zygote import ZygoteError
from lambda_image.runtime import compat, task_log
from lambda_image.runtime.api import verdicts
from lambda_image.runtime.bundle_folders import SpoiltError
from lambda_image.runtime.bundles import DagBundles, ExhaustedError
from lambda_image.runtime.compat import Workload
from lambda_image.runtime.processes import Processes
from lambda_image.runtime.stock_processes import StockProcesses
from lambda_image.verdict import (
    Verdict,
    crashed,
    out_of_time,
    rejected,
    rejected_here,
)


@dataclass(slots=True)
class WorkloadRunner:
    """Runs the workloads of one execution environment, one at a time."""

    dag_bundles: DagBundles
    processes: Processes | StockProcesses
    temporary: TemporaryFolder
    secrets: SecretVariables
    _fault: str | None = field(default=None, init=False)  # Of the environment, in the last run.

    def run(self, workload_json: str, deadline: Deadline) -> Verdict:
        """Run a workload to its end, within the deadline; never raises."""
        with environment.restored():  # Also of the secrets.
            verdict = self._run_and_explain(workload_json, deadline)
        self._fault = verdict.reason if verdict.environment_is_unusable else None
        most_mb = max(memory.resident_mb(), verdict.max_memory_mb or 0)
        return replace(verdict, max_memory_mb=most_mb)

    def _run_and_explain(self, workload_json: str, deadline: Deadline) -> Verdict:
        try:
            workload = compat.WORKLOADS.validate_json(workload_json)
        except ValidationError as e:
            verdict = rejected(
                f"not a workload that Airflow {airflow_version} in this image can run: "
                f"{_validation_reason(e)}; if your scheduler has another Airflow, set "
                "image.airflow_version of the stage to its version and deploy"
            )
            self.explain(workload_json, verdict.reason, deadline)
            return verdict
        if reason := _reason_against_paths(workload):
            self.explain(workload_json, reason, deadline)
            return rejected(reason)
        self.processes.calls.begin(deadline, getattr(workload, "ti", None))
        is_first = not self.dag_bundles.folders.have_served
        try:
            give_up_at_s = partial(self.processes.give_up_at_s, deadline)
            with self.processes.until(deadline), time_limit.until(give_up_at_s):
                verdict = self._run(workload, deadline)
        except time_limit.OutOfTime:
            verdict = self._out_of_time(workload, deadline, is_first=is_first)
        finally:
            self.temporary.clear()
        verdict = deadline.with_request(verdict)
        verdict = replace(verdict, reason=log_output.masked(verdict.reason))
        if verdict.is_logged or verdict.outcome is Outcome.DUPLICATE:
            # The log of a duplicate is the log of the start that counts, and not ours to write.
            task_log.discard_if_private(getattr(workload, "log_path", None))
        else:
            reason = verdict.without(getattr(workload, "token", "")).reason
            level = "error" if verdict.return_code else "info"
            self._write_reason(workload_json, reason, deadline, level)
        return verdict

    def explain(self, workload_json: str, reason: str, deadline: Deadline) -> None:
        """Write the reason of a task that is not run into its log; never raises."""
        with environment.restored():
            with (
                contextlib.suppress(SecretError, time_limit.OutOfTime),
                time_limit.until(lambda: deadline.give_up_at_s),
            ):
                self.secrets.export()  # The connection of remote logs may be one.
            self._write_reason(workload_json, reason, deadline, "error")

    def announce(self, workload_json: str, text: str) -> None:
        """Write a line at the start of a task's log, which the supervisor uploads; never raises."""
        with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError):
            log_path = json.loads(workload_json)["log_path"]
            if isinstance(log_path, str) and log_path:
                task_log.write(log_path, text)

    def _write_reason(
        self, workload_json: str, reason: str, deadline: Deadline, level: str
    ) -> None:
        """Write a reason that the supervisor did not write into the task's log; never raises."""
        try:
            given = json.loads(workload_json)
            log_path, ti = given["log_path"], given["ti"]
        except (ValueError, RecursionError, TypeError, KeyError):
            return
        if not isinstance(log_path, str) or not log_path:
            return
        try:
            with (
                contextlib.suppress(time_limit.OutOfTime),
                time_limit.until(lambda: deadline.give_up_at_s),
            ):
                task_log.explain(log_path, reason, ti, level)
        finally:
            task_log.discard_if_private(log_path)
            self.temporary.clear()

    def reason_against_another(self) -> str | None:
        """Why this execution environment can run no other workload; None if it can.

        Undoes what a workload changed, as far as that is possible. Call it between workloads: then
        the environment is given up before another workload has to pay for it. Never raises.
        """
        try:
            return (
                self._fault
                or self.secrets.reason_against_another()
                or self.processes.reason_against_another()
                or self.temporary.reason_against()
            )
        except Exception as e:  # noqa: BLE001 - whoever cannot check cannot promise either
            return f"what the last workload left cannot be checked: {type(e).__name__}: {e}"

    def _run(self, workload: Workload, deadline: Deadline) -> Verdict:
        server = compat.execution_api_url()
        try:
            if reason := (
                _reason_against(server)
                or self.temporary.reason_against()
                or self._export_secrets()
                or self.dag_bundles.reason_against(workload)
                or deadline.request.reason_against_start  # Last: to fetch these may take minutes.
            ):
                return rejected(reason)
            self.dag_bundles.folders.expect_harm()
            self._supervise(workload, server)
        except (ExhaustedError, SpoiltError) as e:
            is_of_disk = isinstance(e, ExhaustedError) and e.of_disk
            is_everywhere = is_of_disk and not self.temporary.is_fuller()
            return rejected(str(e)) if is_everywhere else rejected_here(str(e))
        except ZygoteError as e:
            return rejected(f"nothing was started: {e}; the execution environment is given up")
        except Exception as e:  # noqa: BLE001 - the supervisor lets anything through
            cause = limits.exhaustion_behind(e)
            if cause and (not self.processes.have_started or self.processes.calls.start_error):
                return rejected_here(f"{type(cause).__name__}: {cause}{verdicts.place_of(cause)}")
            return replace(self._verdict(server, e), is_logged=False)
        return self._verdict(server)

    def _export_secrets(self) -> str | None:
        """Set the secret variables for workload and supervisor; the reason if that fails."""
        try:
            self.secrets.export()
        except SecretError as e:
            return str(e)
        return None

    def _verdict(self, server: str, error: Exception | None = None) -> Verdict:
        """The verdict when the supervisor has returned, or raised an error."""
        ended = self.processes.verdict()
        if (verdict := verdicts.of_calls(self.processes.calls, server, ended)) is not None:
            return verdict
        if error is None:
            verdict = ended or crashed("the supervisor returned before its process")
        elif ended is not None and ended.outcome is Outcome.DEADLINE:
            verdict = ended.adding(f"The supervisor failed with {type(error).__name__}: {error}")
        else:
            verdict = verdicts.of_error(error, server)
        return replace(verdict, task_state=self.processes.calls.state)

    def _supervise(self, workload: Workload, server: str) -> None:
        def run_workload() -> int:
            return compat.run_workload(workload, server)

        if compat.has_own_process(workload):
            self.processes.supervise(run_workload, self.secrets.values)
        else:
            self.processes.run(run_workload, self.secrets.values)

    def _out_of_time(self, workload: Workload, deadline: Deadline, *, is_first: bool) -> Verdict:
        """The verdict when even the supervisor did not return in time."""
        server, ended, calls = (
            compat.execution_api_url(),
            self.processes.verdict(),
            self.processes.calls,
        )
        if ended is None:
            why = (
                deadline.request.cause
                if deadline.is_requested
                else f"the {host.name()}'s time-out came before the DAG files and the Execution "
                f"API at {server} were there"
            )
            # Maybe an earlier workload has put something there that blocks whoever opens it.
            nothing = out_of_time(1, f"nothing was started: {why}")
            is_suspect = not (is_first or deadline.is_requested)
            return replace(nothing, environment_is_unusable=is_suspect)
        if (verdict := verdicts.of_calls(self.processes.calls, server, ended)) is not None:
            return verdict
        if calls.state is None and hasattr(workload, "ti"):  # Others have no state in Airflow.
            how = f" as {calls.asked}" if calls.asked else ""
            why = (
                f"the task ended{how}, but Airflow could not be notified: it did not answer in time"
            )
            return verdicts.of_unknown_end(why, ended)
        return replace(
            ended.adding("Its log could not be uploaded in time"), task_state=calls.state
        )


def _reason_against(server: str) -> str | None:
    url = urlsplit(server)
    if url.scheme in ("http", "https") and url.netloc:
        return None
    return (
        f"[core] execution_api_server_url is {server!r}, which is no http or https URL: set "
        f"AIRFLOW__CORE__EXECUTION_API_SERVER_URL in the {host.name()}'s environment"
    )


def _reason_against_paths(workload: Workload) -> str | None:
    """Why a workload's paths are not those of Airflow; None if they may be."""
    version = "bundle_info.version"  # A bundle may keep a version in a folder of this name.
    paths = {
        "log_path": getattr(workload, "log_path", None) or "",
        "dag_rel_path": str(getattr(workload, "dag_rel_path", None) or ""),
        version: getattr(getattr(workload, "bundle_info", None), "version", None) or "",
    }
    for name, path in paths.items():
        if task_log.leads_out(path):
            return f"the workload's {name} is {path!r:.200}, which leads out of its folder"
    if paths[version].startswith("-"):
        # A bundle may hand it to git, which would take it for an option.
        return f"the workload's {version} is {paths[version]!r:.200}, which is no version"
    return None


def _validation_reason(error: ValidationError) -> str:
    """The first errors, without the input: it holds the token."""
    errors = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or '(all)'}: {e['msg']}" for e in errors[:5])
