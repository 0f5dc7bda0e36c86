"""DAG runs through Airflow's REST API: start them, wait for their end, read every try."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx

#: States in which a DAG run or a task instance stays.
FINAL = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
RUN_ID = "demo"
PAGE = 100
POLL_S = 1.0
REQUEST_TIMEOUT_S = 60.0


class RunsError(Exception):
    """Airflow refused a request or was too slow."""


@dataclass(frozen=True, slots=True)
class Run:
    """One DAG run."""

    dag_id: str
    run_id: str
    state: str


@dataclass(frozen=True, slots=True, order=True)
class TryKey:
    """The identity of one try of one task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int


@dataclass(frozen=True, slots=True)
class Try:
    """One try; `hostname` is empty if it never ran, like a skipped task or an empty operator."""

    key: TryKey
    state: str
    hostname: str


@dataclass(frozen=True, slots=True)
class Progress:
    """All DAG runs, and the latest try of every task instance."""

    runs: list[Run]
    tries: list[Try]

    def unfinished(self, dag_ids: Collection[str]) -> list[str]:
        """The DAGs that have no run yet, or one that has not ended."""
        running = {run.dag_id for run in self.runs if run.state not in FINAL}
        return sorted(running | (set(dag_ids) - {run.dag_id for run in self.runs}))

    def __str__(self) -> str:
        runs = sum(run.state in FINAL for run in self.runs)
        tasks = sum(each.state in FINAL for each in self.tries)
        running = sum(each.state == "running" for each in self.tries)
        return (
            f"{runs}/{len(self.runs)} DAG runs and {tasks}/{len(self.tries)} tasks finished, "
            f"{running} running"
        )


class Api:
    """Airflow's REST API, used as an administrator; a context manager."""

    def __init__(self, url: str) -> None:
        # Ignore the user's proxy: this is loopback.
        self._http = httpx.Client(base_url=url, timeout=REQUEST_TIMEOUT_S, trust_env=False)
        token = self.call("GET", "/auth/token")["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def wait_for_dags(self, dag_ids: Collection[str], timeout_s: float) -> None:
        """Wait until the DAG processor has read all of these DAGs.

        Raises:
            RunsError: Some are missing after the time-out.
        """
        deadline = time.monotonic() + timeout_s
        while missing := set(dag_ids) - {dag["dag_id"] for dag in self.pages("/dags", "dags")}:
            if time.monotonic() > deadline:
                raise RunsError(
                    f"Airflow did not read {sorted(missing)} within {timeout_s:.0f} s: "
                    "the log of the DAG processor says why"
                )
            time.sleep(POLL_S)

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run a DAG."""
        self.call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def is_started_by_assets(self, dag_id: str) -> bool:
        """Whether updates of assets start runs of this DAG, so that nobody need trigger it."""
        summary: str | None = self.call("GET", f"/api/v2/dags/{dag_id}")["timetable_summary"]
        return "Asset" in (summary or "")

    def read_again(self, dag_ids: Collection[str]) -> None:
        """Have the DAG processor read the files of these DAGs at once.

        Airflow starts an asset's watchers only when it reads the file of a DAG that is not paused.
        """
        for token in {self.call("GET", f"/api/v2/dags/{each}")["file_token"] for each in dag_ids}:
            self.call("PUT", f"/api/v2/parseDagFile/{token}")

    def answer(self, key: TryKey, choice: str) -> None:
        """Choose an option for a task that waits for a person."""
        path = (
            f"/dags/{key.dag_id}/dagRuns/{key.run_id}/taskInstances/{key.task_id}/{key.map_index}"
            "/hitlDetails"
        )
        self.call("PATCH", f"/api/v2{path}", json={"chosen_options": [choice]})

    def trigger(self, dag_id: str, logical_date: str | None = None) -> None:
        """Trigger one run of a DAG, of a date if it needs one."""
        body = {"dag_run_id": RUN_ID, "logical_date": logical_date}
        self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)

    def wait(
        self, dag_ids: Collection[str], timeout_s: float, watch: Callable[[Progress], None]
    ) -> Progress:
        """Wait until each of these DAGs has run and every run has ended, calling `watch` meanwhile.

        Raises:
            RunsError: Some have not ended after the time-out.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            progress = self.progress()
            watch(progress)
            if not (unfinished := progress.unfinished(dag_ids)):
                return progress
            if time.monotonic() > deadline:
                raise RunsError(f"{unfinished} did not end within {timeout_s:.0f} s: {progress}")
            time.sleep(POLL_S)

    def progress(self) -> Progress:
        """Read all DAG runs, and the latest try of every task instance."""
        runs = [
            Run(run["dag_id"], run["dag_run_id"], run["state"])
            for run in self.pages("/dags/~/dagRuns", "dag_runs")
        ]
        return Progress(runs, [_try(instance) for instance in self._instances()])

    def dag_ids(self) -> list[str]:
        """Every DAG that Airflow has read."""
        return sorted(dag["dag_id"] for dag in self.pages("/dags", "dags"))

    def import_errors(self) -> dict[str, str]:
        """The traceback of each file that Airflow cannot import, by the file's path."""
        found = self.pages("/importErrors", "import_errors")
        return {each["filename"]: each["stack_trace"] for each in found}

    def tries(self) -> list[Try]:
        """Every try of every task instance, sorted."""
        tries = {}
        for instance in self._instances():
            latest = _try(instance)
            tries[latest.key] = latest
            if latest.key.try_number > 1:
                tries |= {each.key: each for each in self._earlier(latest.key)}
        return [tries[key] for key in sorted(tries)]

    def _earlier(self, key: TryKey) -> Iterator[Try]:
        mapped = f"/{key.map_index}" if key.map_index >= 0 else ""
        path = f"/dags/{key.dag_id}/dagRuns/{key.run_id}/taskInstances/{key.task_id}{mapped}/tries"
        for instance in self.call("GET", f"/api/v2{path}")["task_instances"]:
            yield _try(instance)

    def _instances(self) -> Iterator[dict[str, Any]]:
        return self.pages("/dags/~/dagRuns/~/taskInstances", "task_instances")

    def pages(self, path: str, key: str) -> Iterator[dict[str, Any]]:
        """Yield all entries of a list, page by page.

        Args:
            path: What follows `/api/v2`.
            key: The name of the list in each answer.

        Raises:
            RunsError: Airflow refused a request.
        """
        offset = 0
        while True:
            page = self.call("GET", f"/api/v2{path}", params={"limit": PAGE, "offset": offset})
            yield from page[key]
            offset += PAGE
            if offset >= page["total_entries"]:
                return

    def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401  # httpx's own
        """Make a request, and return the object of its answer.

        Raises:
            RunsError: Airflow refused it.
        """
        body: dict[str, Any] = self._request(method, path, **arguments).json()
        return body

    def text(self, path: str, **parameters: Any) -> str:  # noqa: ANN401  # httpx's own
        """Return what a path answers, as it is.

        Raises:
            RunsError: Airflow refused it.
        """
        return self._request("GET", path, params=parameters).text

    def delete(self, path: str) -> None:
        """Delete something.

        Raises:
            RunsError: Airflow refused it.
        """
        self._request("DELETE", path)

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:  # noqa: ANN401  # httpx's own
        response = self._http.request(method, path, **arguments)
        if response.is_error:
            raise RunsError(
                f"Airflow answered {method} {path} with {response.status_code}: "
                f"{response.text[:500]}"
            )
        return response


def _try(instance: dict[str, Any]) -> Try:
    return Try(
        TryKey(
            dag_id=instance["dag_id"],
            run_id=instance["dag_run_id"],
            task_id=instance["task_id"],
            map_index=instance["map_index"],
            try_number=instance["try_number"],
        ),
        state=instance["state"] or "none",
        hostname=instance["hostname"] or "",
    )
