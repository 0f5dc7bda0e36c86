"""The load: triggers runs at a steady rate, reads those that have ended, deletes the old ones."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from demo.installation.dag_files import DagFile
from demo.outcome.airflow_api import FINAL, Api, TryKey

DAGS = DagFile("soak", ("soak", "soak_targets"), Path(__file__).parent / "dags")
#: Tasks of a run of each DAG.
TASKS = {"soak": 20, "soak_targets": 3}
#: State and try of the last try of each task that does not simply succeed.
ENDS = {"fails": ("failed", 1), "retries": ("success", 2)}
#: The queues of `soak_targets`; all other tasks run on the function.
TARGETS = frozenset({"microvm", "batch", "ecs"})
#: What waits by itself, or for others: their times are not the executor's.
WAITING = frozenset({"defers", "retries", "last"})
#: So long a run that has ended is kept, as somebody may want to look at it.
KEPT_S = 300.0
#: More runs than this at once: the machine does not sustain the rate.
MOST_OPEN = 40
#: A run takes well below a minute, also on a busy machine: one that is older is stuck.
LONGEST_RUN_S = 300.0


@dataclass(frozen=True, slots=True)
class TaskTimes:
    """How long one task took; seconds.

    Attributes:
        target: "function", or the queue of another target.
        ended_at_s: Since the epoch.
        start_s: From Airflow's queued state to the start of the task's code.
        run_s: From there to the end that Airflow's API has stored.
        settle_s: From there until the scheduler has taken the event of its end; None: its log does
            not say.
    """

    target: str
    ended_at_s: float
    start_s: float
    run_s: float
    settle_s: float | None


@dataclass(slots=True)
class Load:
    """Runs of the two DAGs.

    Attributes:
        settled_at_s: From the scheduler's log; entries of runs that were read are removed.
        tasks: How many tasks have ended in runs that were read.
        times: Those of the tasks of the runs that were read.
        unexpected: What did not end as its DAG says, or not in time, in words.
        skipped: How many runs were not triggered because too many were under way.
        clock: Seconds, from any point in time on.
    """

    api: Api
    settled_at_s: dict[TryKey, float]
    clock: Callable[[], float] = time.monotonic
    tasks: int = 0
    times: list[TaskTimes] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    skipped: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _open: dict[tuple[str, str], bool] = field(default_factory=dict)
    _triggered_s: dict[tuple[str, str], float] = field(default_factory=dict)
    _old: deque[tuple[float, str, str]] = field(default_factory=deque)

    @property
    def open_runs(self) -> int:
        """How many runs were triggered and not read yet."""
        return len(self._open)

    def trigger(self, dag_id: str) -> None:
        """Start a run of this DAG, unless too many are under way.

        Raises:
            RunsError: Airflow refused it.
        """
        if self.open_runs >= MOST_OPEN:
            self.skipped += 1
            return
        run_id = f"soak-{next(self._numbers)}"
        body = {"dag_run_id": run_id, "logical_date": None}
        self.api.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)
        self._open[dag_id, run_id] = False
        self._triggered_s[dag_id, run_id] = self.clock()

    def collect(self) -> None:
        """Read the runs that had ended at the last call, and delete the old ones.

        A run that has just ended waits for the next call, so that the scheduler can take the
        events of its last tasks meanwhile. After an error, the next call goes on where this one
        stopped.

        Raises:
            RunsError: Airflow refused a request.
        """
        self._tell_stuck()
        for (dag_id, run_id), has_ended in list(self._open.items()):
            if has_ended:
                self._read(dag_id, run_id)
                del self._open[dag_id, run_id]
                self._old.append((self.clock(), dag_id, run_id))
            else:
                run = self.api.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
                if run["state"] in FINAL:
                    self._open[dag_id, run_id] = True
                    self._triggered_s.pop((dag_id, run_id), None)
        while self._old and self._old[0][0] < self.clock() - KEPT_S:
            _, dag_id, run_id = self._old[0]
            self._delete(dag_id, run_id)
            self._old.popleft()

    def _tell_stuck(self) -> None:
        """Tell once of each run that takes too long."""
        before_s = self.clock() - LONGEST_RUN_S
        for key in [key for key, at_s in self._triggered_s.items() if at_s < before_s]:
            del self._triggered_s[key]
            self.unexpected.append(f"{' '.join(key)} has not ended in {LONGEST_RUN_S:.0f} s")

    def _read(self, dag_id: str, run_id: str) -> None:
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        instances = list(self.api.pages(path, "task_instances"))
        self.tasks += len(instances)
        if len(instances) != TASKS[dag_id]:
            self.unexpected.append(f"{dag_id} {run_id} has {len(instances)} tasks")
        self.unexpected += filter(None, map(difference, instances))
        self.times += filter(None, (times_of(each, self.settled_at_s) for each in instances))
        for key in [
            key for key in self.settled_at_s if (key.dag_id, key.run_id) == (dag_id, run_id)
        ]:
            del self.settled_at_s[key]

    def _delete(self, dag_id: str, run_id: str) -> None:
        self.api.delete(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")


def difference(instance: Mapping[str, Any]) -> str:
    """What is not as the DAG says about a task of a run that has ended; empty: nothing."""
    state, tries = ENDS.get(instance["task_id"], ("success", 1))
    if (instance["state"], instance["try_number"]) == (state, tries):
        return ""
    return (
        f"{instance['dag_run_id']} {instance['task_id']}[{instance['map_index']}]: "
        f"{instance['state']} in try {instance['try_number']}, not {state} in try {tries}"
    )


def times_of(instance: Mapping[str, Any], settled_at_s: Mapping[TryKey, float]) -> TaskTimes | None:
    """How long a task took; None: it waited by itself, or never started."""
    names = ("queued_when", "start_date", "end_date")
    if instance["task_id"] in WAITING or not all(instance[name] for name in names):
        return None
    queued_s, start_s, end_s = (
        datetime.fromisoformat(instance[name]).timestamp() for name in names
    )
    of_key = ("dag_id", "dag_run_id", "task_id", "map_index", "try_number")
    settled_s = settled_at_s.get(TryKey(*(instance[name] for name in of_key)))
    queue = instance["queue"]
    return TaskTimes(
        target=queue if queue in TARGETS else "function",
        ended_at_s=end_s,
        start_s=start_s - queued_s,
        run_s=end_s - start_s,
        settle_s=None if settled_s is None else settled_s - end_s,
    )
