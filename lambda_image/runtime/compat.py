"""One interface to the Airflow versions that this image supports, 3.0 to 3.4.

The private parts that workload processes need are in `processes`. Each minor version runs a task in
`tests/contract/lambda_image/test_airflow_minors.py`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import operator
import sys
from typing import Annotated, Any, TypeAlias

import structlog
from airflow.configuration import conf
from airflow.dag_processing.bundles.base import BaseDagBundle
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.executors import base_executor, workloads
from airflow.executors.workloads import ExecuteTask
from airflow.sdk.api import client as api_client
from airflow.sdk.execution_time import supervisor
from airflow.sdk.log import configure_logging
from airflow.version import version as airflow_version
from pydantic import Field, TypeAdapter

from lambda_executor.contract.token_lifetime import token_lifetime_option


class _NeverRaisedError(Exception):
    """Stands for an exception that this Airflow does not have."""


def _exception(name: str) -> Any:  # noqa: ANN401 - an exception class
    for module in ("airflow.sdk.exceptions", "airflow.exceptions"):  # the second before 3.2
        if found := getattr(importlib.import_module(module), name, None):
            return found
    return _NeverRaisedError


AirflowNotFoundException = _exception("AirflowNotFoundException")
AirflowTaskTimeout = _exception("AirflowTaskTimeout")
#: Before 3.2 Airflow raises `ServerResponseError` instead.
TaskAlreadyRunningError = _exception("TaskAlreadyRunningError")

#: The library of the Execution API's client: httpx, since Airflow 3.4 httpx2.
http: Any = getattr(api_client, "httpx2", None) or vars(api_client)["httpx"]

#: Major and minor version of Airflow.
VERSION = tuple(int(part) for part in airflow_version.split(".")[:2])

#: The option of the scheduler's Airflow that says how long a workload's token lives.
TOKEN_LIFETIME_OPTION = str(token_lifetime_option(airflow_version))

#: An instance of one of `_KINDS`.
Workload: TypeAlias = Any

#: Callbacks came with 3.2, connection tests with 3.3.
_KINDS = [
    getattr(workloads, name)
    for name in ("ExecuteTask", "ExecuteCallback", "TestConnection")
    if hasattr(workloads, name)
]
_ANY_KIND: Any = Annotated[functools.reduce(operator.or_, _KINDS), Field(discriminator="type")]
#: Decodes a workload of any kind that this Airflow gives to executors.
WORKLOADS: TypeAdapter[Workload] = TypeAdapter(_ANY_KIND if len(_KINDS) > 1 else ExecuteTask)


def run_workload(workload: Workload, server: str) -> int:
    """Run a workload as Airflow's own executors do; returns the exit code of its process."""
    if stock := getattr(base_executor.BaseExecutor, "run_workload", None):  # since 3.3
        return int(stock(workload, server=server, subprocess_logs_to_stdout=True))
    if isinstance(workload, ExecuteTask):
        takes = inspect.signature(supervisor.supervise).parameters
        optional = {"sentry_integration"} & takes.keys()  # since 3.2
        return supervisor.supervise(
            ti=workload.ti,
            bundle_info=workload.bundle_info,
            dag_rel_path=workload.dag_rel_path,
            token=workload.token,
            server=server,
            log_path=workload.log_path,
            subprocess_logs_to_stdout=True,
            **{name: getattr(workload, name) for name in optional},
        )
    execute: Any = workloads.callback.execute_callback_workload  # type: ignore[attr-defined] # 3.2
    succeeded, _ = execute(workload.callback, structlog.get_logger("callback"))
    return 0 if succeeded else 1


def has_own_process(workload: Workload) -> bool:
    """Whether Airflow runs this workload in a child, and not in the caller's process."""
    if isinstance(workload, ExecuteTask):
        return True
    supervised = hasattr(base_executor.BaseExecutor, "run_workload")
    return supervised and isinstance(workload, workloads.ExecuteCallback)


def bundle_names(manager: DagBundlesManager) -> list[str]:
    """The names of all configured DAG bundles."""
    if stock := getattr(manager, "get_all_bundle_names", None):  # since 3.2
        return list(stock())
    return [bundle.name for bundle in manager.get_all_dag_bundles()]


def bundle_of(manager: DagBundlesManager, info: Any) -> BaseDagBundle:  # noqa: ANN401
    """The DAG bundle that a workload names; since 3.4 its version has data of its own."""
    known = {"version_data"} & inspect.signature(manager.get_bundle).parameters.keys()
    return manager.get_bundle(
        info.name, info.version, **{name: getattr(info, name) for name in known}
    )


def execution_api_url() -> str:
    """The Execution API's URL, from Airflow's configuration."""
    if stock := getattr(base_executor, "get_execution_api_server_url", None):  # since 3.3
        return str(stock())
    base_url = conf.get("api", "base_url", fallback="/")
    if base_url.startswith("/"):
        base_url = f"http://localhost:8080{base_url}"
    fallback = f"{base_url.rstrip('/')}/execution/"
    return str(conf.get("core", "execution_api_server_url", fallback=fallback))


def log_as_json() -> None:
    """Have Airflow write its log lines, and its copies of the tasks', to stdout as JSON."""
    takes_json = "json_output" in inspect.signature(configure_logging).parameters  # since 3.1
    form: dict[str, Any] = {"json_output": True} if takes_json else {"enable_pretty_log": False}
    configure_logging.cache_clear()  # Another output may have been configured since.
    configure_logging(output=sys.stdout.buffer, **form)
