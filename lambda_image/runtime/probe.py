"""Answers a probe: which versions are in this image, and whether the Execution API can be reached.

Runs no workload and tells nobody but the one who asked.
"""

from __future__ import annotations

import platform
import time

from airflow.sdk.api.client import Client
from airflow.version import version as airflow_version

from lambda_executor.contract.probe import ProbeAnswer
from lambda_executor.contract.wire import WIRE_VERSION
from lambda_image.runtime import compat

#: Longer than any healthy API server takes, and short enough for somebody who waits.
_TIMEOUT_S = 5


def answer() -> ProbeAnswer:
    """Look, and tell; never raises."""
    began_s = time.monotonic()
    url = error = ""
    try:
        url = compat.execution_api_url()
        _call(url)
    except Exception as e:  # noqa: BLE001 - whatever it is, it is what was asked for
        error = f"{type(e).__name__}: {e}"
    return ProbeAnswer(
        airflow=airflow_version,
        python=platform.python_version(),
        wire_version=WIRE_VERSION,
        execution_api_url=url,
        execution_api_error=error,
        execution_api_ms=round((time.monotonic() - began_s) * 1000, 1),
    )


def _call(url: str) -> None:
    """Ask the API's own health route, with the TLS settings of the tasks' client, once."""
    with Client(base_url=url, token="", timeout=_TIMEOUT_S) as client:
        client.send(client.build_request("GET", "health"))
