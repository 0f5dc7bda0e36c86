"""Airflow's REST API of a running environment of the demo."""

from __future__ import annotations

from typing import Any

import httpx

from demo.installation.environment import Environment


def rest(here: Environment) -> httpx.Client:
    """Airflow's REST API."""
    return httpx.Client(base_url=f"{here.airflow.url}/api/v2", trust_env=False, timeout=30)


def returned(here: Environment, dag_id: str, task_id: str) -> list[Any]:
    """The tasks' return values, in the order of their map indices."""
    with rest(here) as api:
        path = f"/dags/{dag_id}/dagRuns/~/taskInstances/{task_id}/xcomEntries"
        query: dict[str, str | int] = {"limit": 100, "xcom_key": "return_value"}
        entries = api.get(path, params=query).raise_for_status().json()["xcom_entries"]
        values = []
        for entry in sorted(entries, key=lambda each: each["map_index"]):
            value = api.get(
                f"/dags/{dag_id}/dagRuns/{entry['run_id']}/taskInstances/{task_id}"
                f"/xcomEntries/{entry['key']}",
                params={"map_index": entry["map_index"]},
            )
            values.append(value.raise_for_status().json()["value"])
    return values
