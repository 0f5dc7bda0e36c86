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
    "running": {"state": "running"},
    "queued": {"state": "queued"},
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


@pytest.mark.parametrize(("name", "mismatches"), [("ended", 0), ("running", 1), ("queued", 1)])
def test_airflow_is_notified_of_a_success_of_a_task_that_does_not_continue(
    ends: Any, name: str, mismatches: int
) -> None:
    """So a task that its invocation left running or queued does not stay so."""
    end = ends[name]
    assert (end["state"], end["mismatches"], end["slots"]) == ("success", mismatches, 4)
