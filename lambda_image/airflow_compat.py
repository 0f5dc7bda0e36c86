"""Private parts of Airflow that only save time: each is looked for, and done without if it moved.

What no workload runs without is in `airflow_processes`; `docs/decisions/0007-in-process-run.md`.
"""

from __future__ import annotations


def warm_tls() -> None:
    """Build the API client's TLS context once: it is cached per process and inherited."""
    from airflow.sdk.api.client import Client  # noqa: PLC0415 - slow, wanted in the init phase

    if cached := getattr(Client, "_get_ssl_context_cached", None):
        cached(None, None)
