"""Answers a probe: the versions of this image, the way to the Execution API, and the DAG files."""

from __future__ import annotations

import platform
import time

from airflow.configuration import conf
from airflow.sdk.api.client import Client
from airflow.version import version as airflow_version

from lambda_executor.contract.probe import ProbeAnswer, asked_dag_files
from lambda_executor.contract.wire import WIRE_VERSION
from lambda_image.runtime import compat
from lambda_image.runtime.bundles import DagBundles

#: Longer than a healthy API server takes, and short enough for a person who waits.
_TIMEOUT_S = 10


def answer(dag_bundles: DagBundles, event: object) -> ProbeAnswer:
    """Describe this image, and which of the asked DAG files it has; never raises."""
    url, error, took_s = _execution_api()
    return ProbeAnswer(
        airflow=airflow_version,
        python=platform.python_version(),
        wire_version=WIRE_VERSION,
        execution_api_url=url,
        execution_api_error=error,
        execution_api_ms=round(took_s * 1000, 1),
        # Before 3.1 the option does not exist, and a call waits for httpx's own five seconds.
        execution_api_timeout_s=conf.getfloat("workers", "execution_api_timeout", fallback=5.0),
        bundles=dag_bundles.compared(asked_dag_files(event)),
    )


def _execution_api() -> tuple[str, str, float]:
    """Return the API's URL, why it does not answer (or nothing), and the seconds of one call."""
    url = ""
    began_s = time.monotonic()
    try:
        url = compat.execution_api_url()
        with Client(base_url=url, token="", timeout=_TIMEOUT_S) as client:  # As tasks use it.
            began_s = time.monotonic()  # Making the client reads certificates.
            client.send(client.build_request("GET", "health"))  # Once: `get` would retry.
    except Exception as e:  # noqa: BLE001 - any error is part of the answer
        return url, f"{type(e).__name__}: {e}", time.monotonic() - began_s
    return url, "", time.monotonic() - began_s
