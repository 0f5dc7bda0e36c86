"""The load: what it triggers, reads and deletes, against an Airflow in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from demo.outcome.airflow_api import Api, RunsError, TryKey
from tests.soak.load import KEPT_S, LONGEST_RUN_S, MOST_OPEN, TASKS, Load


@dataclass
class MemoryAirflow:
    """The part of Airflow's REST API that the load uses.

    Attributes:
        change: Edits a task instance before it is answered.
        runs: Every run and its state.
        broken: The end of the only path that is answered with an error.
    """

    change: Callable[[dict[str, Any]], None] = lambda _: None
    runs: dict[str, str] = field(default_factory=dict)
    broken: str = ""

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer as Airflow 3.3 does."""
        if self.broken and request.url.path.endswith(self.broken):
            return httpx.Response(503, text="busy")
        *_, dag_id, what = request.url.path.removesuffix("/taskInstances").split("/")[:6]
        if request.method == "POST":
            run_id = json.loads(request.content)["dag_run_id"]
            self.runs[run_id] = "running"
            return httpx.Response(200, json={"state": "queued"})
        assert (dag_id, what) == ("soak", "dagRuns")
        run_id = request.url.path.split("/")[6]
        if request.method == "DELETE":
            del self.runs[run_id]
            return httpx.Response(204)
        if request.url.path.endswith("/taskInstances"):
            instances = [self._instance(run_id, number) for number in range(TASKS["soak"])]
            return httpx.Response(200, json={"task_instances": instances, "total_entries": 20})
        return httpx.Response(200, json={"state": self.runs[run_id]})

    def _instance(self, run_id: str, number: int) -> dict[str, Any]:
        found = {
            "dag_id": "soak",
            "dag_run_id": run_id,
            "task_id": "square",
            "map_index": number,
            "try_number": 1,
            "state": "success",
            "queue": "default",
            "queued_when": "2026-11-30T15:00:00Z",
            "start_date": "2026-11-30T15:00:01Z",
            "end_date": "2026-11-30T15:00:03Z",
        }
        self.change(found)
        return found

    def end(self) -> None:
        """Every run ends."""
        self.runs = dict.fromkeys(self.runs, "success")


def loaded(airflow: MemoryAirflow, clock: Callable[[], float] = lambda: 0.0) -> Load:
    """The load of this Airflow, without a log-in."""
    api = Api.__new__(Api)
    transport = httpx.MockTransport(airflow.answer)
    api._http = httpx.Client(base_url="http://airflow", transport=transport)
    return Load(api, {}, clock)


def test_a_run_is_read_at_the_call_after_the_one_that_saw_its_end() -> None:
    """By then the scheduler has taken the events of its last tasks; each is read once."""
    airflow = MemoryAirflow()
    soak = loaded(airflow)
    soak.trigger("soak")
    soak.collect()
    airflow.end()
    soak.collect()
    assert soak.times == []
    key = TryKey("soak", "soak-0", "square", 4, 1)
    other = TryKey("soak", "soak-1", "square", 4, 1)
    soak.settled_at_s |= {key: 1796050803.5, other: 1.0}
    soak.collect()
    times = list(soak.times)
    assert [each.settle_s for each in times if each.settle_s is not None] == [0.5]
    assert {(each.start_s, each.run_s) for each in times} == {(1, 2)}
    assert (soak.tasks, soak.open_runs, soak.unexpected) == (20, 0, [])
    assert soak.settled_at_s == {other: 1.0}, "what was read is forgotten, and nothing else"
    soak.collect()
    assert soak.times == times


def test_an_old_run_is_deleted_and_a_new_one_kept() -> None:
    """So that the database does not grow by what nobody looks at any more."""
    now_s = 0.0
    airflow = MemoryAirflow()
    soak = loaded(airflow, clock=lambda: now_s)
    for _ in range(2):
        soak.trigger("soak")
        airflow.end()
        soak.collect()
        soak.collect()
        now_s += 0.6 * KEPT_S
    soak.collect()
    assert set(airflow.runs) == {"soak-1"}


def test_what_ends_otherwise_is_told() -> None:
    """A task that failed, in a run that has all its tasks."""

    def fail(instance: dict[str, Any]) -> None:
        if instance["map_index"] == 7:
            instance["state"] = "failed"

    airflow = MemoryAirflow(fail)
    soak = loaded(airflow)
    soak.trigger("soak")
    airflow.end()
    soak.collect()
    soak.collect()
    assert soak.unexpected == ["soak-0 square[7]: failed in try 1, not success in try 1"]


def test_a_run_that_does_not_end_is_told_once() -> None:
    """It would only count as under way; one that ended in time is not told."""
    now_s = 0.0
    airflow = MemoryAirflow()
    soak = loaded(airflow, clock=lambda: now_s)
    soak.trigger("soak")
    airflow.end()
    soak.collect()
    soak.trigger("soak")
    for _ in range(3):
        now_s += 0.6 * LONGEST_RUN_S
        soak.collect()
    assert soak.unexpected == ["soak soak-1 has not ended in 300 s"]


def test_a_machine_that_does_not_sustain_the_rate_is_not_flooded() -> None:
    """What was not triggered is counted."""
    airflow = MemoryAirflow()
    soak = loaded(airflow)
    for _ in range(MOST_OPEN + 3):
        soak.trigger("soak")
    assert (len(airflow.runs), soak.skipped) == (MOST_OPEN, 3)


@pytest.mark.parametrize("path", ["dagRuns/soak-1/taskInstances", "dagRuns/soak-1"])
def test_a_request_that_airflow_refuses_loses_nothing(path: str) -> None:
    """Neither the run that it was about, nor what was read before it."""
    airflow = MemoryAirflow()
    soak = loaded(airflow)
    for _ in range(2):
        soak.trigger("soak")
    airflow.end()
    if path.endswith("taskInstances"):
        soak.collect()
    airflow.broken = path
    with pytest.raises(RunsError):
        soak.collect()
    airflow.broken = ""
    for _ in range(2):
        soak.collect()
    assert (len(soak.times), soak.tasks, soak.open_runs) == (40, 40, 0)
