"""Imports Airflow in the init phase, so that no forked child has to.

Lambda gives the init phase a whole CPU. A task takes about 60 ms with these imports done, and
245 ms without (measured).
"""

from __future__ import annotations

import gc
import importlib

from lambda_image.logs.invocation_log import WriteLog
from lambda_image.runtime import executor_names, lighter

#: No workload runs without these: a failed import fails the init phase with its reason.
REQUIRED = (
    "airflow.executors.base_executor",
    "airflow.executors.workloads",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
)

#: A task would import these in its child. Older versions of Airflow do not have all of them.
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
    """Import Airflow's task runtime, and fill the caches that children inherit."""
    with lighter.imports():
        for name in REQUIRED:
            importlib.import_module(name)
        missing = import_helpful()
    if missing:
        write_log("info", "preloaded without what this Airflow does not have", missing=missing)
    executor_names.accept_any(write_log)
    _fill_caches()


def import_helpful() -> list[str]:
    """Import what makes tasks start faster; returns the modules this Airflow does not have."""
    missing = []
    for name in HELPFUL:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing


def freeze() -> None:
    """Exempt everything loaded so far from garbage collection: children share its pages."""
    gc.freeze()
    gc.enable()


def _fill_caches() -> None:
    # Slow imports, which only the init phase needs.
    from airflow.sdk.api.client import Client  # noqa: PLC0415
    from airflow.sdk.log import load_remote_log_handler  # noqa: PLC0415

    from lambda_image.runtime import compat, computed_once  # noqa: PLC0415

    computed_once.install()
    compat.log_as_json()
    load_remote_log_handler()
    # Since Airflow 3.1 the TLS context of the first client is cached for all others.
    Client(base_url=compat.execution_api_url(), token="").close()
