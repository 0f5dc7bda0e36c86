"""Answers a probe: which versions this image has, and whether it reaches the Execution API."""

from __future__ import annotations

import platform
import time

from airflow.sdk.api.client import Client
from airflow.version import version as airflow_version

from lambda_executor.contract.probe import ProbeAnswer
from lambda_executor.contract.wire import WIRE_VERSION
from lambda_image.runtime import compat

#: Longer than a healthy API server takes, and short enough for a person who waits.
_TIMEOUT_S = 5


def answer() -> ProbeAnswer:
    """Describe this image; never raises."""
    began_s = time.monotonic()
    url = error = ""
    try:
        url = compat.execution_api_url()
        with Client(base_url=url, token="", timeout=_TIMEOUT_S) as client:  # As tasks use it.
            client.send(client.build_request("GET", "health"))  # Once: `get` would retry.
    except Exception as e:  # noqa: BLE001 - any error is part of the answer
        error = f"{type(e).__name__}: {e}"
    return ProbeAnswer(
        airflow=airflow_version,
        python=platform.python_version(),
        wire_version=WIRE_VERSION,
        execution_api_url=url,
        execution_api_error=error,
        execution_api_ms=round((time.monotonic() - began_s) * 1000, 1),
    )
