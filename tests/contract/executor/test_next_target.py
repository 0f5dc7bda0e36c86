"""Where a retry goes after a try that ran out of time, with each minor version of Airflow.

`tests/support/next_target.py` takes Airflow's own steps from one try to the next.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.options import OFFERS
from tests.support.distribution import airflow_variables, installed
from tests.support.minors import ROOT, VENVS, python_of

CASES: dict[str, dict[str, Any]] = {
    "airflow_hears_first": {"order": ["end", "result", "parsed", "scheduled"]},
    "the_executor_hears_first": {"order": ["result", "end", "step", "parsed", "scheduled"]},
    "airflow_takes_some_steps": {"order": ["result", "step", "step", "end", "step", "scheduled"]},
    "airflow_takes_too_long": {"order": ["result", "minutes", "step", "end", "step", "scheduled"]},
    "the_retry_waits_for_its_slot": {"order": ["end", "scheduled", "result"]},
    "twice": {
        "order": ["end", "result", "scheduled", "queued", "result", "end", "step", "scheduled"]
    },
    "needs_memory": {
        "order": ["end", "result", "scheduled"],
        "config": {"on_deadline": "next_target", "memory_mb": 9000},
    },
    "largest": {"order": ["end", "result", "scheduled"], "queue": "endless"},
    "without_offer": {"order": ["end", "result", "scheduled"], "queue": "x"},
    "not_asked": {"order": ["end", "result", "scheduled"], "config": {}},
    "last_try": {"order": ["fail", "result"]},
    "cleared": {"order": ["end", "result", "cleared"]},
    "too_late": {"order": ["end", "scheduled", "queued_only", "result"]},
}
DAY = (
    "sent to the queue day (86380 s, 8192 MB), because the try before ran out of time on default "
    "(880 s, 1769 MB)"
)


@pytest.fixture(scope="module", params=list(VENVS))
def ends(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What became of the next try in each case, by the case's name."""
    home: Path = tmp_path_factory.mktemp("airflow")
    done = subprocess.run(
        [python_of(request.param), "-m", "tests.support.next_target"],
        env={
            **airflow_variables(home, f"{installed(home / 'site')}:{ROOT}"),
            OFFERS.environment_variable: "{}",  # Those of the program; the policy looks for any.
        },
        input="\n".join(json.dumps({"name": name, **case}) for name, case in CASES.items()),
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = map(json.loads, [line for line in done.stdout.splitlines() if line.startswith("{")])
    return {end["name"]: end for end in found}


@pytest.mark.parametrize(
    ("case", "queue", "try_number"),
    [
        ("airflow_hears_first", "day", 2),
        ("the_executor_hears_first", "day", 2),
        ("airflow_takes_some_steps", "day", 2),
        ("the_retry_waits_for_its_slot", "day", 2),
        ("twice", "endless", 3),
        ("needs_memory", "endless", 2),
    ],
)
def test_the_retry_goes_to_the_next_larger_target(
    ends: Any, case: str, queue: str, try_number: int
) -> None:
    """Whoever hears first, and whatever the scheduler does with the row until it queues it."""
    end = ends[case]
    assert (end["state"], end["queue"], end["try_number"]) == ("scheduled", queue, try_number)


@pytest.mark.parametrize("case", ["airflow_hears_first", "the_executor_hears_first"])
def test_the_try_that_ran_out_of_time_stays_as_it_was(ends: Any, case: str) -> None:
    """A person who looks for why it did sees in Airflow's history where it ran."""
    assert ends[case]["first"] == [["default", ""]]


def test_the_reason_is_with_the_retry(ends: Any) -> None:
    """Its start writes it to the audit log; what else is in `executor_config` stays."""
    end = ends["airflow_hears_first"]
    assert end["events"] == []
    assert end["executor_config"] == {
        "lambda_executor": {"on_deadline": "next_target", "routed": DAY, "moved_to": "day"},
        "pod": 1,
    }


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("largest", "stays there: no larger target leaves it more time"),
        ("without_offer", "[lambda_executor] offers does not say what its target gives"),
    ],
)
def test_a_retry_that_cannot_go_elsewhere_stays(ends: Any, case: str, reason: str) -> None:
    """The audit log says why."""
    end = ends[case]
    assert (end["state"], end["queue"]) == ("scheduled", CASES[case]["queue"])
    (event,) = end["events"]
    assert event.endswith(reason)  # Since 3.4 Airflow puts the task's name before it.


@pytest.mark.parametrize("case", ["not_asked", "last_try", "too_late", "airflow_takes_too_long"])
def test_other_tasks_are_left_alone(ends: Any, case: str) -> None:
    """Those that do not ask for it, have no other try, or whose next one is on its way.

    And those whose end Airflow does not store in minutes.
    """
    assert (ends[case]["queue"], ends[case]["events"]) == ("default", [])


def test_a_cleared_task_starts_again_where_the_dag_file_says(ends: Any) -> None:
    """A person decided to start anew."""
    assert ends["cleared"]["queue"] == "default"
    assert "routed" not in ends["cleared"]["executor_config"]["lambda_executor"]
