"""`make bench`: 200 tasks end to end by each executor, in the environment of `make local`.

The real scheduler hands tasks that do nothing to LocalExecutor, to our executor with our function,
and to the reference's executor with its function, by turns in one environment, each with eight
slots. The exit code tells only that everything was measured.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from demo import paths
from demo.installation.environment import Environment, sole_use
from demo.installation.project import Project
from demo.machine.interrupts import interrupts_held_off, termination_as_interrupt
from demo.machine.processes import Child
from demo.outcome.airflow_api import Api
from demo.outcome.tries import log_messages
from demo.screen import Screen
from tests.bench import dag_run
from tests.bench.processor_time import ProcessorTime
from tests.bench.report import HOME, Report
from tests.e2e import migration
from tests.support.reference_function import furnish_reference

#: `waiting` is ours with the scheduler's part of the queue too: no more in flight than slots.
Executor = Literal["ours", "waiting", "LocalExecutor", "reference"]

#: So many tasks run at once, whoever runs them.
SLOTS = 8
#: Of ours: what has no slot waits in Lambda's queue, as it does with the settings of `make local`.
IN_FLIGHT = 4 * SLOTS
TASKS = 200
#: The supervisor's line about the end of a workload, with how long it held its slot, in seconds.
_FINISHED = re.compile(r"(?:Workload|Task) finished.*?duration\W+([\d.]+)")
#: Of LocalExecutor's time, at most; and of what is left of it without its stalls.
SHARE, SHARE_WITHOUT_STALLS = 0.6, 0.9
#: Airflow's supervisor can sleep so long when a task has ended (decision 7).
STALL_S = 5.0
#: The reference takes minutes for one round.
ROUNDS: dict[Executor, int] = {"ours": 2, "waiting": 2, "LocalExecutor": 2, "reference": 1}
CLASSES: dict[Executor, str] = {
    "ours": migration.OURS,
    "waiting": migration.OURS,
    "LocalExecutor": "LocalExecutor",
    "reference": migration.REFERENCE,
}


DAGS = dag_run.BenchFile("mapped", ())


@dataclass(frozen=True, slots=True)
class Round:
    """What one DAG run with 200 tasks took.

    Attributes:
        seconds: From its start to its end.
        processor_ms: Milliseconds of processor time for each task, by `ProcessorTime`'s fields.
        stalled: How many of its tasks held their slot as long as a stall of Airflow's supervisor.
    """

    seconds: float
    processor_ms: Mapping[str, float]
    stalled: int

    @property
    def without_stalls_s(self) -> float:
        """The seconds without those in which a stalled task held one of the slots.

        The other slots used the processors meanwhile, so the run could not have been shorter than
        the processor time of all its tasks.
        """
        slots_s = self.seconds - self.stalled * STALL_S / SLOTS
        processors_s = self.processor_ms["together"] * TASKS / 1000 / len(os.sched_getaffinity(0))
        return round(max(slots_s, processors_s), 2)


@dataclass(slots=True)
class Bench:
    """The environment, in which one scheduler runs after another.

    Attributes:
        settings: What each executor needs that the environment has not set.
    """

    environment: Environment
    api: Api
    settings: Mapping[Executor, Mapping[str, str]] = field(default_factory=dict)

    def measure(self, executor: Executor, number: int) -> Round:
        """Run a DAG with 200 tasks."""
        scheduler = self._start_scheduler(executor, number)
        try:
            dag_run.seconds(self.api, f"warm_up_{executor}_{number}")
            pid, stalls_before = scheduler.identity.pid, self._stalls(scheduler)
            before = ProcessorTime.read(self.environment, pid)
            seconds = dag_run.seconds(self.api, f"measured_{executor}_{number}")
            used = ProcessorTime.read(self.environment, pid).since(before, TASKS)
            return Round(seconds, used, self._stalls(scheduler) - stalls_before)
        finally:
            scheduler.end()

    def _start_scheduler(self, executor: Executor, number: int) -> Child:
        program = self.environment.airflow.program("scheduler")
        changed = {
            "AIRFLOW__CORE__EXECUTOR": CLASSES[executor],
            "AIRFLOW__CORE__PARALLELISM": str(SLOTS),
            **self.settings.get(executor, {}),
        }
        return self.environment.control_plane.start(
            replace(
                program,
                name=f"airflow-scheduler-{executor}-{number}",
                environment={**program.environment, **changed},
            )
        )

    def _stalls(self, scheduler: Child) -> int:
        """How many tasks stalled so far, in the log of LocalExecutor or of a function.

        To Airflow the task has ended before: the supervisor sleeps after it has reported the end.
        """
        lines = log_messages(self.environment.aws, ["/aws/lambda/"])
        logs = [scheduler.log.read_text(), *(line.text for line in lines)]
        return sum(
            float(duration) >= STALL_S for log in logs for duration in _FINISHED.findall(log)
        )


@contextmanager
def bench() -> Iterator[Bench]:
    """The environment of `make local` with a second function, of the reference's image."""
    home = paths.Home(HOME / "end-to-end")
    with sole_use(home), termination_as_interrupt():
        environment = Environment(home, Project([DAGS]), Screen())
        environment.concurrency = SLOTS
        try:
            environment.start()
            for child in environment.control_plane:
                if child.program.name == "airflow-scheduler":
                    child.end()
            reference = furnish_reference(environment, SLOTS)
            with Api(environment.airflow.url) as api:
                ours = {"AIRFLOW__CORE__PARALLELISM": str(IN_FLIGHT)}
                yield Bench(environment, api, {"reference": reference, "ours": ours})
        finally:
            with interrupts_held_off():
                environment.end()


def judge_time(report: Report, rounds: Mapping[Executor, list[Round]]) -> None:
    """The time of a DAG run, with the stalls of the others and without."""

    def at_most(share: float) -> dict[str, Any]:
        return {"target": f"<= {share}", "holds": lambda _, ratio: ratio <= share}

    took_s = {executor: [each.seconds for each in every] for executor, every in rounds.items()}
    bare_s = {
        executor: [each.without_stalls_s for each in every] for executor, every in rounds.items()
    }
    stalls = [sum(each.stalled for each in rounds["LocalExecutor"])]
    report.note("LocalExecutor's tasks that stalled, of all rounds", stalls, "", "", holds=True)
    report.compare(f"{TASKS} tasks end to end", took_s, "s", **at_most(SHARE))
    report.compare("the same without the stalls", bare_s, "s", **at_most(SHARE_WITHOUT_STALLS))
    report.compare("beside the reference", took_s, "s", yardstick="reference")
    report.compare("beside the reference without its stalls", bare_s, "s", yardstick="reference")
    waiting = {"ours": took_s["waiting"], "LocalExecutor": took_s["LocalExecutor"]}
    report.compare(f"the same, ours with {SLOTS} in flight at most", waiting, "s", **at_most(SHARE))
    report.compare(
        "the same without the stalls, ours with 8 in flight at most",
        {"ours": bare_s["waiting"], "LocalExecutor": bare_s["LocalExecutor"]},
        "s",
        **at_most(SHARE_WITHOUT_STALLS),
    )
    rates = {executor: [round(TASKS / s, 2) for s in each] for executor, each in took_s.items()}
    report.compare("tasks a second", rates, "/s")


def judge_processor_time(report: Report, rounds: Mapping[Executor, list[Round]]) -> None:
    """Where the processors' time goes, for each task."""
    for name in rounds["ours"][0].processor_ms:
        used = {
            executor: [round(each.processor_ms[name], 1) for each in every]
            for executor, every in rounds.items()
        }
        target = "<= 1" if name == "scheduler" else ""
        report.compare(
            f"processor time: {name.replace('_', '-')}",
            used,
            "ms",
            target,
            holds=(lambda _, ratio: ratio <= 1) if target else None,
        )
        report.compare(
            f"processor time: {name.replace('_', '-')}, beside the reference",
            used,
            "ms",
            yardstick="reference",
        )


def main() -> int:
    """Measure everything, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261121, help="of who comes first in a round")
    seed = parser.parse_args().seed
    chance = random.Random(seed)
    report = Report("end_to_end", seed, yardstick="LocalExecutor")
    rounds: dict[Executor, list[Round]] = {executor: [] for executor in ROUNDS}
    with bench() as running:
        for number in range(max(ROUNDS.values())):
            turn = [executor for executor, each in ROUNDS.items() if number < each]
            chance.shuffle(turn)
            for executor in turn:
                rounds[executor].append(running.measure(executor, number))
                running.environment.screen.say(f"{executor}: {rounds[executor][-1].seconds} s")
    judge_time(report, rounds)
    judge_processor_time(report, rounds)
    report.publish(f"{SLOTS} slots each; the scheduler, its database and all tasks share them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
