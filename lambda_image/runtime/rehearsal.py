"""Runs a task that does nothing before a snapshot is taken, so that the snapshot is warm.

What a first task loads, compiles and looks up is then in the memory of every restored environment.
The Execution API is played in this process: nothing is connected, and no API server hears of the
task. (Airflow's own `dry_run` answers the start with too few fields since 3.3.)
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from airflow import policies, settings
from airflow.configuration import conf
from airflow.dag_processing.bundles import manager
from airflow.dag_processing.bundles.local import LocalDagBundle
from airflow.sdk.api.client import Client
from airflow.sdk.api.datamodels._generated import DagRun
from airflow.sdk.execution_time import supervisor, task_runner

from lambda_image.deadline import Margins
from lambda_image.logs.invocation_log import WriteLog
from lambda_image.machine import environment
from lambda_image.runtime import compat
from lambda_image.runtime.processes import Processes
from lambda_image.runtime.stock_processes import StockProcesses
from lambda_image.verdict import Verdict

_NAME = "rehearsal"
_FILE = f"{_NAME}.py"
_DAG = f"""
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

with DAG({_NAME!r}, schedule=None):
    PythonOperator(task_id={_NAME!r}, python_callable=lambda: None)
"""
#: The run that the task is started with; not every Airflow has all of the fields.
_RUN: dict[str, object] = {
    **dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end", "end_date")),
    "dag_id": _NAME,
    "run_id": _NAME,
    "run_after": "2026-01-01T00:00:00Z",
    "start_date": "2026-01-01T00:00:00Z",
    "run_type": "manual",
    "state": "running",
    "consumed_asset_events": [],
    "partition_key": None,
}
#: Options that have every task send something.
_TELLING = (
    *(("metrics", "statsd_on"), ("metrics", "otel_on"), ("metrics", "statsd_datadog_enabled")),
    *(("traces", "otel_on"), ("sentry", "sentry_on")),
)
#: A name that no resolver knows; it is never asked.
_SERVER = "http://rehearsal.invalid/execution/"
#: The executor's own policy, which leaves a task without a need alone: it tells nobody.
_OWN_POLICY = "lambda_executor.policy"
#: Longer than it ever takes; the init phase has more.
_TIME_OUT_S = 30.0


def rehearse(processes: Processes | StockProcesses, write_log: WriteLog) -> None:
    """Run the task; never raises, because tasks would only start slower without it."""
    if isinstance(processes, StockProcesses):
        return
    try:
        if not _reaches_nobody():
            return
        verdict = _run(processes)
        reason = "" if processes.calls.state == "success" else f"it ended with {verdict}"
    except Exception as e:  # noqa: BLE001 - whatever it is, the first real task reports it
        reason = f"{type(e).__name__}: {e}"
    if reason:
        write_log("warning", "no rehearsal: first tasks start slower", reason=reason)


def _reaches_nobody() -> bool:
    """Whether a task does nothing but what it does itself.

    Metrics, traces, Sentry and listeners would tell others of it, and so may what a cluster policy
    adds to every task. If task logs need a connection, its values may be
    secrets that only workloads have, and Airflow would remember for good that it is not there.
    """
    tells = any(conf.getboolean(*option, fallback=False) for option in _TELLING)
    has_connection = conf.get("logging", "remote_log_conn_id", fallback="")
    listeners = vars(task_runner)["get_listener_manager"]()  # The task's, in every version.
    return not (tells or has_connection or listeners.has_listeners or _has_policies())


def _has_policies() -> bool:
    """Whether anybody but Airflow itself and this executor has registered a cluster policy.

    https://airflow.apache.org/docs/apache-airflow/stable/administration-and-deployment/cluster-policies.html
    """
    of_airflow: Any = settings
    if find := getattr(of_airflow, "get_policy_plugin_manager", None):  # Since Airflow 3.2.
        manager = find()
    else:
        manager = of_airflow.POLICY_PLUGIN_MANAGER
    return bool(manager.get_plugins() - {policies.DefaultPolicy, sys.modules.get(_OWN_POLICY)})


def _run(processes: Processes) -> Verdict | None:
    deadline = Margins(None, None).deadline(_TIME_OUT_S, time.monotonic())
    with environment.restored(), tempfile.TemporaryDirectory() as folder:
        Path(folder, _FILE).write_text(_DAG, encoding="utf-8")
        os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = _bundles(folder)
        workload = compat.WORKLOADS.validate_python(_workload())
        _forget_bundles()
        processes.start()
        try:
            processes.calls.begin(deadline, workload.ti)
            with processes.until(deadline):
                processes.supervise(lambda: _supervise(workload), {})
                return processes.verdict()
        finally:
            processes.stop()
            _forget_bundles()


def _supervise(workload: compat.Workload) -> int:
    # Since Airflow 3.3 the older name warns.
    supervise = getattr(supervisor, "supervise_task", None) or supervisor.supervise
    transport = compat.http.MockTransport(_answer)
    with Client(base_url=_SERVER, token="", transport=transport) as client:
        return int(
            supervise(
                ti=workload.ti,
                bundle_info=workload.bundle_info,
                dag_rel_path=workload.dag_rel_path,
                token=workload.token,
                server=_SERVER,
                client=client,
            )
        )


def _answer(request: Any) -> Any:  # noqa: ANN401 - httpx's types
    """Play the Execution API: a start is accepted, and every other call, too."""
    if not request.url.path.endswith("/run"):
        return compat.http.Response(200, json={})
    run = {name: value for name, value in _RUN.items() if name in DagRun.model_fields}
    context = {"dag_run": run, "max_tries": 0, "should_retry": False}
    return compat.http.Response(200, json=context)


def _forget_bundles() -> None:
    """Since Airflow 3.4 the configuration of the bundles is read only once."""
    if cached := getattr(manager, "_load_bundle_config_snapshot", None):
        cached.cache_clear()


def _bundles(folder: str) -> str:
    local = f"{LocalDagBundle.__module__}.{LocalDagBundle.__qualname__}"
    return json.dumps([{"name": _NAME, "classpath": local, "kwargs": {"path": folder}}])


def _workload() -> dict[str, object]:
    return {
        "type": "ExecuteTask",
        "token": "",
        "dag_rel_path": _FILE,
        "bundle_info": {"name": _NAME, "version": None},
        "log_path": None,
        "ti": {
            "id": str(uuid.uuid4()),
            "dag_version_id": str(uuid.uuid4()),
            "task_id": _NAME,
            "dag_id": _NAME,
            "run_id": _NAME,
            "try_number": 1,
            "map_index": -1,
            "pool_slots": 1,
            "queue": "default",
            "priority_weight": 1,
        },
    }
