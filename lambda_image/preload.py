"""The init phase: imports in the parent what every forked child would import again.

Lambda gives the init phase a whole CPU; a task's child gets what it finds here for nothing.
Measured: a task with a warm parent takes about 60 ms, 245 ms without this.
"""

from __future__ import annotations

import gc
import importlib
import sys

from lambda_image import airflow_compat
from lambda_image.invocation_log import WriteLog

#: Without these no workload runs: a failed import fails the init phase, with its reason.
REQUIRED = (
    "airflow.executors.base_executor",
    "airflow.executors.workloads",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
)

#: Imported on the way of a task in its child. They move between Airflow versions, and a task
#: works without them, later by their import time.
HELPFUL = (
    "airflow.dag_processing.bundles.local",
    "airflow.dag_processing.bundles.manager",
    "airflow.dag_processing.dagbag",
    "airflow.dag_processing.importers",
    "airflow.providers.standard.decorators.bash",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.operators.bash",
    "airflow.providers.standard.operators.empty",
    "airflow.providers.standard.operators.python",
    "airflow.providers_manager",
    "airflow.sdk.definitions.asset.metadata",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.execution_time.callback_supervisor",
    "airflow.sdk.execution_time.connection_test_supervisor",
    "airflow.sdk.plugins_manager",
    "airflow.sdk.providers_manager_runtime",
    "airflow.serialization.serialized_objects",
    "encodings.idna",
    "http.cookiejar",
    "httpcore",
    "jinja2.ext",
    "jinja2.sandbox",
    "setproctitle",
    "stringprep",
)


def warm_up(write_log: WriteLog) -> None:
    """Import Airflow's task runtime and fill the caches that children inherit."""
    for name in REQUIRED:
        importlib.import_module(name)
    if missing := import_helpful():
        write_log("warning", "preload incomplete: tasks start slower", missing=missing)
    _log_as_json()
    _fill_caches()


def import_helpful() -> list[str]:
    """Import what makes tasks start faster; returns what this Airflow does not have."""
    missing = []
    for name in HELPFUL:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing


def freeze() -> None:
    """Keep the garbage collector off what is loaded, so that children share its pages."""
    gc.collect()
    gc.freeze()


def _log_as_json() -> None:
    """Let Airflow's own log lines, and the tasks' copies, go to stdout as JSON like ours."""
    from airflow.sdk.log import configure_logging  # noqa: PLC0415 - slow, wanted in the init phase

    configure_logging(json_output=True, output=sys.stdout.buffer)


def _fill_caches() -> None:
    from airflow.sdk.log import load_remote_log_handler  # noqa: PLC0415 - as above

    load_remote_log_handler()
    airflow_compat.warm_tls()
