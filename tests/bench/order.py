"""`make bench`: what is urgent, under load, with the limit of what is in flight and without it.

The same executor, by turns in one run: once it keeps no more in flight than the function may run
and a reserve, once `max_in_flight` is 0, so that the surplus waits in Lambda's queue. Airflow's
scheduler is imitated: it hands over what has slots, the highest priority first. Measured are the
wait of an urgent task and of a callback until they start, and the tasks in a second.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass
from statistics import median

from tests.bench.fake_aws import Settings
from tests.bench.report import Report
from tests.bench.running import Run, measure

LATENCY_S = 0.02
#: Between two loops of the scheduler.
BEAT_S = 0.25
ROUNDS = 3
#: `[core] parallelism`, as a multiple of the places.
PARALLELISM = 4
LIMITS = {"limited": "", "unlimited": "0"}


@dataclass(frozen=True, slots=True)
class Case:
    """One load.

    Attributes:
        places: What the function may run at once.
        task_s: What a task takes.
        tasks: How many there are.
    """

    places: int
    task_s: float
    tasks: int

    def __str__(self) -> str:
        return f"{self.places} places, {self.task_s:g} s tasks"

    def measure(self, limit: str, seed: int) -> Run:
        """Run it once."""
        aws = Settings(LATENCY_S, shortest_s=self.task_s, longest_s=self.task_s, places=self.places)
        (run,) = measure(
            "ours",
            aws,
            workloads=self.tasks,
            beat_s=BEAT_S,
            parallelism=PARALLELISM * self.places,
            max_in_flight=LIMITS[limit],
            urgent_s=self.tasks * self.task_s / self.places / 4,
            seed=seed,
        )
        return run


CASES = (Case(8, 0.1, 800), Case(8, 1.0, 120), Case(50, 0.1, 2500), Case(50, 1.0, 500))


def main() -> int:
    """Measure everything, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261129, help="of who comes first in a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    report = Report("order", arguments.seed, subject="limited", yardstick="unlimited")
    for case in CASES:
        runs: dict[str, list[Run]] = {limit: [] for limit in LIMITS}
        for number in range(arguments.rounds):
            for limit in chance.sample(sorted(LIMITS), len(LIMITS)):
                run = case.measure(limit, arguments.seed + number)
                runs[limit].append(run)
                waits = ", ".join(f"{wait_s:.2f} s" for wait_s in run.urgent_s)
                print(f"{case}, {limit}: {run.tasks_per_s:.1f}/s; {waits}", flush=True)  # noqa: T201 - talks to a person
        for index, what in enumerate(("urgent task", "callback")):
            waits_s = {k: [round(run.urgent_s[index], 3) for run in v] for k, v in runs.items()}
            report.compare(f"{what} waits, {case}", waits_s, "s")
        rates = {k: [round(run.tasks_per_s, 2) for run in v] for k, v in runs.items()}
        report.compare(
            f"tasks a second, {case}", rates, "/s", ">= 0.97", holds=lambda _, r: r >= 0.97
        )
        failed = [run.figures.failed for each in runs.values() for run in each]
        report.note(f"failed, {case}", failed, "", "none", median(failed) == max(failed) == 0)
    report.publish(f"a loop of the scheduler takes {BEAT_S} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
