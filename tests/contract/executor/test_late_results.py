"""A result that comes when its task continues already, with each minor version of Airflow.

`tests/support/late_results.py` runs the scheduler's own event processing for each case.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.minors import ROOT, VENVS, python_of

#: The state of the task when the result arrives, and the result.
CASES: dict[str, dict[str, Any]] = {
    "a sensor that is scheduled again": {"state": "scheduled"},
    "a sensor that waits for its next poke": {"state": "up_for_reschedule"},
    "a deferred task": {"state": "deferred", "next_method": "resume"},
    "a deferred task that is scheduled again": {"state": "scheduled", "next_method": "resume"},
    "a task that failed after it was deferred": {"state": "scheduled", "return_code": -9},
    "a sensor whose result names the state": {
        "state": "scheduled",
        "task_state": "up_for_reschedule",
    },
    "a task whose result names the state, and that failed then": {
        "state": "scheduled",
        "task_state": "deferred",
        "return_code": -9,
    },
    "ended": {"state": "success"},
    "ended_in_the_dag": {"state": "success", "retries": 1},
    **{
        f"{state}_{code}_{retries}": {"state": state, "return_code": code, "retries": retries}
        for state in ("running", "queued")
        for code in (0, -9)
        for retries in (None, 0, 1)
    },
}
CONTINUED = [name for name in CASES if name.startswith("a ")]


@pytest.fixture(scope="module", params=list(VENVS))
def ends(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What became of the task in each case, by the case's name."""
    folder: Path = tmp_path_factory.mktemp("airflow")
    done = subprocess.run(
        [python_of(request.param), "-m", "tests.support.late_results"],
        env={
            **os.environ,
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'executor/src'}",
        },
        input="\n".join(json.dumps({"name": name, **case}) for name, case in CASES.items()),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return {end["name"]: end for end in map(json.loads, lines)}


@pytest.mark.parametrize("name", CONTINUED)
def test_a_task_that_continues_is_not_failed_by_the_result_of_an_earlier_part(
    ends: Any, name: str
) -> None:
    """Its state stays, Airflow's log has no mismatch, and the slot is free.

    https://github.com/apache/airflow/issues/71172
    """
    end = ends[name]
    assert (end["state"], end["mismatches"], end["slots"]) == (CASES[name]["state"], 0, 4)


@pytest.mark.parametrize("name", ["ended", "ended_in_the_dag"])
def test_a_task_that_ended_stays_as_it_is(ends: Any, name: str) -> None:
    """The event of its success changes nothing."""
    end = ends[name]
    assert (end["state"], end["mismatches"], end["slots"]) == ("success", 0, 4)


@pytest.mark.parametrize(("retries", "expected"), [(0, "failed"), (1, "up_for_retry")])
@pytest.mark.parametrize("code", [0, -9])
@pytest.mark.parametrize("state", ["running", "queued"])
def test_airflow_fails_a_task_that_its_invocation_left_running_or_queued(
    ends: Any, state: str, code: int, retries: int, expected: str
) -> None:
    """The task does not stay so, and a success that contradicts its state is none."""
    end = ends[f"{state}_{code}_{retries}"]
    assert (end["state"], end["mismatches"], end["slots"]) == (expected, 1, 4)


@pytest.mark.parametrize(("code", "expected"), [(0, "success"), (-9, "failed")])
@pytest.mark.parametrize("state", ["running", "queued"])
def test_airflow_believes_the_event_if_the_serialized_dag_lacks_the_task(
    ends: Any, state: str, code: int, expected: str
) -> None:
    """The exception of the threat model: the one case in which a success in the event counts."""
    end = ends[f"{state}_{code}_None"]
    assert (end["state"], end["mismatches"], end["slots"]) == (expected, 1, 4)
