"""`make bench`: our handler beside the reference's and LocalExecutor, in one run, by turns.

Each runs the same task that does nothing, of the same Airflow, against the same real API server,
in a process of its own. What is measured and why: docs/reference/benchmarks.md. The exit code
tells only that everything was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean

from tests.bench import airflow_server
from tests.bench.airflow_server import Server
from tests.bench.fake_aws import Settings
from tests.bench.report import Report
from tests.bench.running import fake_aws
from tests.bench.worker import Way
from tests.bench.workers import Timing, Workers

#: A round runs this many tasks of each; the reference takes seconds for one.
TWO_CPUS: dict[Way, int] = {"ours": 10, "reference": 1, "LocalExecutor": 2}
TWO_CPUS_ROUNDS = 20
ONE_CPU: dict[Way, int] = {"ours": 10, "reference": 1}
ONE_CPU_ROUNDS = 8
COLD_ROUNDS = 6
#: The memory at which a function has one processor to itself, on which the cost is measured too.
#: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
ONE_CPU_MB = 1769


@dataclass(slots=True)
class Bench:
    """One run of everything.

    Attributes:
        timings: Of every task that was counted, by where and how it ran.
        runs: How many tasks were run, counted or not.
    """

    server: Server
    workers: Workers
    chance: random.Random
    timings: dict[str, dict[Way, list[Timing]]] = field(default_factory=dict)
    runs: int = 0

    def warm(self, label: str, cpus: int, tasks: dict[Way, int], rounds: int) -> None:
        """Rounds of tasks in processes that have each run one before."""
        timings: dict[Way, list[Timing]] = {way: [] for way in tasks}
        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(self.workers.start(way, cpus)) for way in tasks]
            for worker in workers:
                worker.run(self._workload())
            for _ in range(rounds):
                self.chance.shuffle(workers)
                for worker in workers:
                    timings[worker.way] += [
                        worker.run(self._workload()) for _ in range(tasks[worker.way])
                    ]
        self.timings[label] = timings

    def cold(self) -> dict[Way, list[float]]:
        """Seconds from the start of a handler's process to the first line of its first task."""
        ways: list[Way] = ["ours", "reference"]
        took_s: dict[Way, list[float]] = {way: [] for way in ways}
        for number in range(COLD_ROUNDS + 1):
            self.chance.shuffle(ways)
            for way in ways:
                began_s = time.time()
                with self.workers.start(way) as worker:
                    worker.run(self._workload("first_line"))
                    # The first round fills the page cache.
                    if number:
                        took_s[way].append(worker.first_line_at_s() - began_s)
        return took_s

    def _workload(self, task_id: str = "nothing") -> str:
        self.runs += 1
        return self.server.workloads[task_id].pop()


def milliseconds(timings: dict[Way, list[Timing]], of: str = "wall_s") -> dict[Way, list[float]]:
    """One figure of every task."""
    return {
        way: [round(getattr(timing, of) * 1000, 1) for timing in each]
        for way, each in timings.items()
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many are not above."""
    return sorted(values)[math.ceil(len(values) * share) - 1]


def judge_warm(report: Report, bench: Bench) -> None:
    """The figures of warm processes."""
    two, one = milliseconds(bench.timings["2 CPUs"]), milliseconds(bench.timings["1 CPU"])
    faster = 25
    report.compare(
        "warm task, 2 CPUs",
        two,
        "ms",
        f">= {faster} x faster",
        holds=lambda _, ratio: ratio <= 1 / faster,
    )
    p95s = {way: [percentile(values, 0.95)] for way, values in two.items()}
    report.compare("the same, p95", p95s, "ms")
    report.compare("the same, max", {way: [max(values)] for way, values in two.items()}, "ms")
    report.compare(
        "warm task beside LocalExecutor's",
        two,
        "ms",
        "not slower",
        yardstick="LocalExecutor",
        holds=lambda _, ratio: ratio <= 1,
    )
    much_faster = 60
    report.compare(
        "warm task, 1 CPU",
        one,
        "ms",
        f">= {much_faster} x faster",
        holds=lambda _, ratio: ratio <= 1 / much_faster,
    )
    report.compare(
        "the same, 1 CPU, max", {way: [max(values)] for way, values in one.items()}, "ms"
    )
    every = {way: values + one.get(way, []) for way, values in two.items()}
    slow = {way: [sum(value > 1000 for value in values)] for way, values in every.items()}
    target = f"0 of {len(every['ours'])}"
    report.note("tasks slower than 1 s", slow["ours"], "", target, slow["ours"] == [0])
    report.note("the same, LocalExecutor", slow["LocalExecutor"], "", "", holds=True)
    cpu = milliseconds(bench.timings["2 CPUs"], "cpu_s")
    report.compare(
        "processor time of a task",
        {way: [mean(values)] for way, values in cpu.items()},
        "ms",
        "<= 1/30",
        holds=lambda _, ratio: ratio <= 1 / 30,
    )
    # Lambda bills milliseconds, rounded up.
    billed = {
        way: [mean(map(math.ceil, values)) * ONE_CPU_MB / 1024] for way, values in one.items()
    }
    report.compare("billed GB-s per 1,000 tasks", billed, f"GB-s at {ONE_CPU_MB} MB")


def judge_cold(report: Report, took_s: dict[Way, list[float]]) -> None:
    """The figures of first tasks."""
    report.compare(
        "cold: process start to first line",
        {way: [round(value, 3) for value in values] for way, values in took_s.items()},
        "s",
        "<= 1/2",
        holds=lambda _, ratio: ratio <= 1 / 2,
    )


def judge_states(report: Report, bench: Bench) -> None:
    """Nothing is fast because it failed, or was not run."""
    states = bench.server.states()
    failed = bench.runs - states.get("success", 0)
    report.raw["states of the tasks"] = states
    report.note("tasks that did not succeed", [failed], "", "0", failed == 0)


def main() -> int:
    """Measure everything, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261121, help="of who comes first in a round")
    seed = parser.parse_args().seed
    report = Report("handler", seed)
    runs = sum(TWO_CPUS.values()) * (TWO_CPUS_ROUNDS + 1) + sum(ONE_CPU.values()) * (
        ONE_CPU_ROUNDS + 1
    )
    with airflow_server.running("no_op", runs) as server, fake_aws(Settings()) as aws_url:
        bench = Bench(server, Workers(server, aws_url), random.Random(seed))
        took_s = bench.cold()
        bench.warm("2 CPUs", 2, TWO_CPUS, TWO_CPUS_ROUNDS)
        bench.warm("1 CPU", 1, ONE_CPU, ONE_CPU_ROUNDS)
        judge_warm(report, bench)
        judge_cold(report, took_s)
        judge_states(report, bench)
    tasks = {way: count * TWO_CPUS_ROUNDS for way, count in TWO_CPUS.items()}
    report.publish(f"tasks on 2 CPUs: {', '.join(f'{n} {way}' for way, n in tasks.items())}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
