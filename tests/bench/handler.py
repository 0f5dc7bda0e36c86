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
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median
from urllib.parse import urlsplit

from tests.bench import airflow_server, restored
from tests.bench.airflow_server import Server
from tests.bench.fake_aws import Settings
from tests.bench.report import Report
from tests.bench.running import fake_aws
from tests.bench.worker import Way
from tests.bench.workers import Timing, Workers
from tests.support.https_front import HttpsFront, trusted

#: A round runs this many tasks of each; the reference takes seconds for one.
TWO_CPUS: dict[Way, int] = {"ours": 10, "reference": 1, "LocalExecutor": 2}
TWO_CPUS_ROUNDS = 20
ONE_CPU: dict[Way, int] = {"ours": 10, "reference": 1}
ONE_CPU_ROUNDS = 8
COLD_ROUNDS = 6
#: The same over TLS, with a network between.
NETWORK: dict[Way, int] = {"ours": 5, "reference": 1}
NEW_CONNECTIONS: dict[Way, int] = {"ours": 5}
NETWORK_ROUNDS = 8
ROUND_TRIP_S = 0.02
#: The targets: how much faster a warm task is, and the share of the reference's cold start.
FASTER = 30
COLD_SHARE = 0.85
#: The same of a start from a snapshot: of the reference's cold start, and of our warm task.
RESTORED_FASTER, RESTORED_OF_WARM = 8, 2
#: A task of the reference that took longer has waited for Airflow's supervisor, which sleeps for
#: five seconds when a task has ended.
STALL_MS = 4000
SLEEP_MS = 5000
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

    def warm(  # noqa: PLR0913 - each is one condition of the tasks
        self,
        label: str,
        cpus: int,
        tasks: dict[Way, int],
        rounds: int,
        *,
        workers_by: Workers | None = None,
        before_each: Callable[[], None] = lambda: None,
    ) -> None:
        """Rounds of tasks in processes that have each run one before."""
        timings: dict[Way, list[Timing]] = {way: [] for way in tasks}
        started_by = workers_by or self.workers
        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(started_by.start(way, cpus)) for way in tasks]
            for worker in workers:
                worker.run(self._workload())
            for _ in range(rounds):
                self.chance.shuffle(workers)
                for worker in workers:
                    for _ in range(tasks[worker.way]):
                        before_each()
                        timings[worker.way].append(worker.run(self._workload()))
        self.timings[label] = timings

    def over_network(self) -> None:
        """Tasks whose API server and AWS are behind TLS and a network."""
        with distant(self.workers) as (workers, fronts):

            def close_idle() -> None:
                for front in fronts:
                    front.close_idle()

            self.warm("network", 2, NETWORK, NETWORK_ROUNDS, workers_by=workers)
            self.warm(
                "new connections",
                2,
                NEW_CONNECTIONS,
                NETWORK_ROUNDS,
                workers_by=workers,
                before_each=close_idle,
            )

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


@contextlib.contextmanager
def distant(workers: Workers) -> Iterator[tuple[Workers, list[HttpsFront]]]:
    """Workers like these, behind fronts that speak TLS over a network."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ca, trusting = trusted(Path(folder))
        fronts = [
            stack.enter_context(HttpsFront(urlsplit(url).port or 80, ROUND_TRIP_S / 2).serving(ca))
            for url in (workers.server.url, workers.aws_url)
        ]
        api, aws = fronts
        server = replace(workers.server, url=api.url)
        yield Workers(server, aws.url, {**workers.variables, **trusting}), fronts


def without_stalls(timings: Mapping[Way, Sequence[float]]) -> dict[Way, list[float]]:
    """The milliseconds of tasks that did not stall; if all did, without the sleep itself."""
    return {
        way: [value for value in values if value <= STALL_MS]
        or [value - SLEEP_MS for value in values]
        for way, values in timings.items()
    }


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
    for label, every_task in (("warm task, 2 CPUs", two), ("warm task, 1 CPU", one)):
        report.compare(label, every_task, "ms")
        report.compare(
            f"{label}, stalled ones not counted",
            without_stalls(every_task),
            "ms",
            f">= {FASTER} x faster",
            holds=lambda _, ratio: ratio <= 1 / FASTER,
        )
        p95s = {way: [percentile(values, 0.95)] for way, values in every_task.items()}
        report.compare(f"{label}, p95", p95s, "ms")
        longest = {way: [max(values)] for way, values in every_task.items()}
        report.compare(f"{label}, max", longest, "ms")
    report.compare(
        "warm task beside LocalExecutor's",
        two,
        "ms",
        "not slower",
        yardstick="LocalExecutor",
        holds=lambda _, ratio: ratio <= 1,
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
        "<= 1/40",
        holds=lambda _, ratio: ratio <= 1 / 40,
    )
    # Lambda bills milliseconds, rounded up.
    billed = {
        way: [mean(map(math.ceil, values)) * ONE_CPU_MB / 1024] for way, values in one.items()
    }
    report.compare("billed GB-s per 1,000 tasks", billed, f"GB-s at {ONE_CPU_MB} MB")


def judge_network(report: Report, bench: Bench) -> None:
    """The figures of tasks behind TLS and a network."""
    label = f"warm task, TLS, {ROUND_TRIP_S * 1000:.0f} ms round trip"
    kept = milliseconds(bench.timings["network"])
    made = milliseconds(bench.timings["new connections"])["ours"]
    report.compare(f"{label}, stalled ones not counted", without_stalls(kept), "ms")
    report.note(
        "the same, with new connections for every task",
        made,
        "ms",
        "more than with kept ones",
        median(made) > median(kept["ours"]),
    )


def judge_cold(report: Report, took_s: dict[Way, list[float]], starts: restored.Starts) -> None:
    """The figures of first tasks."""
    report.compare(
        "cold: process start to first line",
        {way: [round(value, 3) for value in values] for way, values in took_s.items()},
        "s",
        f"<= {COLD_SHARE}",
        holds=lambda _, ratio: ratio <= COLD_SHARE,
    )
    report.compare(
        "restored: to first line, beside the reference's cold start",
        {"ours": [round(value, 3) for value in starts.restored], "reference": took_s["reference"]},
        "s",
        f"<= 1/{RESTORED_FASTER}",
        holds=lambda _, ratio: ratio <= 1 / RESTORED_FASTER,
    )
    report.compare(
        "restored: to first line, beside our warm one",
        {
            "ours": [round(value * 1000, 1) for value in starts.restored],
            "warm": [round(value * 1000, 1) for value in starts.warm],
        },
        "ms",
        f"<= {RESTORED_OF_WARM}",
        yardstick="warm",
        holds=lambda _, ratio: ratio <= RESTORED_OF_WARM,
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
    parts = (
        (TWO_CPUS, TWO_CPUS_ROUNDS),
        (ONE_CPU, ONE_CPU_ROUNDS),
        (NETWORK, NETWORK_ROUNDS),
        (NEW_CONNECTIONS, NETWORK_ROUNDS),
    )
    runs = sum(sum(tasks.values()) * (rounds + 1) for tasks, rounds in parts)
    with airflow_server.running("no_op", runs) as server, fake_aws(Settings()) as aws_url:
        bench = Bench(server, Workers(server, aws_url), random.Random(seed))
        took_s = bench.cold()
        starts = restored.measure(bench.workers, lambda: bench._workload("first_line"))
        bench.warm("2 CPUs", 2, TWO_CPUS, TWO_CPUS_ROUNDS)
        bench.warm("1 CPU", 1, ONE_CPU, ONE_CPU_ROUNDS)
        bench.over_network()
        judge_warm(report, bench)
        judge_network(report, bench)
        judge_cold(report, took_s, starts)
        judge_states(report, bench)
    tasks = {way: count * TWO_CPUS_ROUNDS for way, count in TWO_CPUS.items()}
    report.publish(f"tasks on 2 CPUs: {', '.join(f'{n} {way}' for way, n in tasks.items())}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
