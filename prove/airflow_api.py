"""DAG runs in the stage's own Airflow, through the tunnel and Airflow's REST API."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from prove.actions import Action, Seen, environment, eventually
from prove.place import ROOT, NotSeenError, Place

URL = "http://localhost:8080"
#: The tunnel opens in seconds. The DAG processor reads new files within five minutes.
TUNNEL_MINUTES, DAGS_MINUTES, RUNS_MINUTES = 1, 10, 20
_FINAL = ("success", "failed")


@dataclass(frozen=True, slots=True)
class DagRuns:
    """Run DAGs and wait for their end; the answer has each one's state and seconds.

    Attributes:
        runs: DAG id to the run's `conf`.
        meanwhile: What is done while they run; they must end after it.
        minutes: How long their end is waited for.
    """

    runs: Mapping[str, Mapping[str, Any]]
    meanwhile: Action | None = None
    minutes: int = RUNS_MINUTES

    def command(self, place: Place) -> str:
        """Return what a person does; here it is done by requests."""
        then = f"; meanwhile: {self.meanwhile.command(place)}" if self.meanwhile else ""
        runs = [f"{dag} with {dict(conf)}" if conf else dag for dag, conf in self.runs.items()]
        return f"the output TunnelCommand; in {URL} run {', '.join(runs)}{then}"

    def run(self, place: Place, seen: Seen) -> None:
        """Run them."""
        with _tunnel(place, seen) as api:
            eventually(
                lambda: _known(api, self), "the DAG processor has read the DAGs", DAGS_MINUTES
            )
            started = {dag: _trigger(api, dag, conf) for dag, conf in self.runs.items()}
            if self.meanwhile:
                self.meanwhile.run(place, seen)
                if _ended(api, started):
                    raise NotSeenError("the DAG runs ended before what was done meanwhile")
            eventually(lambda: _ended(api, started), "the DAG runs end", self.minutes)
            runs = {dag: api.get(path).raise_for_status().json() for dag, path in started.items()}
        seen.answers.append({dag: [run["state"], _seconds(run)] for dag, run in runs.items()})


@contextmanager
def _tunnel(place: Place, seen: Seen) -> Iterator[httpx.Client]:
    """Open the tunnel; yield a client that is logged in."""
    variables = environment(place)
    argv = ["bash", "-c", variables["TunnelCommand"]]
    with (
        seen.log.open("ab") as log,
        subprocess.Popen(
            argv, cwd=ROOT, env=variables, stdout=log, stderr=log, start_new_session=True
        ) as tunnel,
    ):
        try:
            with httpx.Client(base_url=URL, timeout=60, trust_env=False) as api:
                what = f"the tunnel opens ({seen.log})"
                eventually(lambda: _is_open(api), what, TUNNEL_MINUTES)
                password = subprocess.run(
                    ["bash", "-c", variables["AdminPasswordCommand"]],
                    env=variables,
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout.strip()
                body = {"username": "admin", "password": password}
                answer = api.post("/auth/token", json=body).raise_for_status().json()
                api.headers["Authorization"] = f"Bearer {answer['access_token']}"
                yield api
        finally:
            os.killpg(tunnel.pid, signal.SIGTERM)


def _is_open(api: httpx.Client) -> bool:
    try:
        return api.get("/api/v2/version").is_success
    except httpx.TransportError:
        return False


def _known(api: httpx.Client, wanted: DagRuns) -> bool:
    found = api.get("/api/v2/dags", params={"limit": 100}).raise_for_status().json()["dags"]
    return wanted.runs.keys() <= {dag["dag_id"] for dag in found}


def _trigger(api: httpx.Client, dag: str, conf: Mapping[str, Any]) -> str:
    """Start a run; return its path."""
    api.patch(f"/api/v2/dags/{dag}", json={"is_paused": False}).raise_for_status()
    body = {"logical_date": None, "conf": dict(conf)}
    answer = api.post(f"/api/v2/dags/{dag}/dagRuns", json=body).raise_for_status().json()
    return f"/api/v2/dags/{dag}/dagRuns/{answer['dag_run_id']}"


def _seconds(run: Mapping[str, Any]) -> float:
    start, end = (datetime.fromisoformat(run[name]) for name in ("start_date", "end_date"))
    return (end - start).total_seconds()


def _ended(api: httpx.Client, started: Mapping[str, str]) -> bool:
    states = [api.get(path).raise_for_status().json()["state"] for path in started.values()]
    return all(state in _FINAL for state in states)
