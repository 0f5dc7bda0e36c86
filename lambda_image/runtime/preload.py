"""The init phase: imports in the parent what every forked child would import again.

Lambda gives the init phase a whole CPU; a task's child gets what it finds here for nothing.
Measured: a task with a warm parent takes about 60 ms, 245 ms without this.
"""

from __future__ import annotations

import gc
import importlib

from lambda_image.logs.invocation_log import WriteLog

#: Without these no workload runs: a failed import fails the init phase, with its reason.
REQUIRED = (
    "airflow.executors.base_executor",
    "airflow.executors.workloads",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
)

#: Imported on the way of a task in its child. Older Airflow does not have all of them, and a task
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
    "airflow.models.dagbag",
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
        write_log("info", "preloaded without what this Airflow does not have", missing=missing)
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
    """Keep the garbage collector off what was loaded without it: children share its pages."""
    gc.freeze()
    gc.enable()


def _fill_caches() -> None:
    # Slow, and wanted in the init phase.
    from airflow.sdk.api.client import Client  # noqa: PLC0415
    from airflow.sdk.log import load_remote_log_handler  # noqa: PLC0415

    from lambda_image.runtime import compat  # noqa: PLC0415

    compat.log_as_json()
    load_remote_log_handler()
    # From Airflow 3.1 on its TLS context is cached for all that follow.
    Client(base_url=compat.execution_api_url(), token="").close()
