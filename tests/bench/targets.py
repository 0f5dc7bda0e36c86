"""`make bench`: jobs of Batch, ECS and MicroVMs, ours beside the Amazon provider's executors.

The provider has none for MicroVMs.

Two questions are about the executor. How long after a job's process has ended, and for ours has
sent its result, does it tell Airflow? And what do 500 workloads over all targets at once do: is
each target used as fast as it takes launches, and does a heartbeat stay short? The fake AWS takes
as many launches a second as AWS does and shows an end at once; the embedded AWS would measure this
machine's sandboxes. The third is about just these: how soon does a MicroVM of the embedded AWS run
its task?
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

from lambda_executor.core import apis
from tests.bench.fake_aws import FUNCTION, Settings
from tests.bench.report import ROOT, Report
from tests.bench.running import Run, measure
from tests.bench.subject import Name

LATENCY_S = 0.02
ROUNDS = 3
#: Launches a second, by service: what AWS takes, with the sources there.
RATES = {service.value: api.most_per_s for service, api in apis.JOBS.items()}
REFERENCES: dict[str, Name] = {"batch": "reference-batch", "ecs": "reference-ecs"}
#: Seconds between two heartbeats: as in the other benches, and as an idle scheduler has it.
BEATS_S = (0.02, 1.0)
AT_ONCE = 500
TARGET_MS = 200
#: Of the launches that a service takes, the share that should be used.
SHARE = 0.9
#: How many MicroVMs start, and their time as a multiple of a warm function's.
STARTS = 15
START_OF_WARM = 2


def latency(
    report: Report, service: str, beat_s: float, chance: random.Random, rounds: int
) -> None:
    """A few jobs a second, each of up to two seconds."""
    aws = Settings(LATENCY_S, shortest_s=0.5, longest_s=2.0, launches_per_s=RATES)
    load = {"workloads": 40, "workloads_per_s": 4.0, "beat_s": beat_s}
    runs = _runs(service, aws, chance, rounds, **load)
    held = beat_s < 1
    what = f"{service}: end of the process to settlement"
    beats = f"a heartbeat each {beat_s:g} s"
    _row(
        report,
        f"{what}, {beats}",
        _of(runs, lambda run: median(run.latencies_s) * 1000),
        "ms",
        f"<= {TARGET_MS} ms" if held else "",
        most=TARGET_MS if held else math.inf,
    )
    _row(report, f"{what}, p95, {beats}", _of(runs, lambda run: run.latency_p95_ms), "ms")


def at_once(report: Report, service: str, chance: random.Random, rounds: int) -> None:
    """The share of one service in the 500, for both."""
    aws = Settings(LATENCY_S, shortest_s=0.5, longest_s=2.0, launches_per_s=RATES)
    count = AT_ONCE // (1 + len(RATES))
    runs = _runs(service, aws, chance, rounds, workloads=count)
    what = f"{service}: {count} jobs at once"
    longest = _of(runs, lambda run: run.longest_heartbeat_ms)
    _row(report, f"{what}, longest heartbeat", longest, "ms")
    waits = _of(runs, lambda run: median(run.latencies_s) * 1000)
    _row(report, f"{what}, end of the process to settlement", waits, "ms")
    seconds = _of(runs, lambda run: run.figures.seconds)
    _row(report, f"{what}, until the last has ended", seconds, "s")
    failed = _of(runs, lambda run: float(run.figures.failed))
    _row(report, f"{what}, failed", failed, "", "none", most=0)


def all_targets(report: Report, rounds: int) -> None:
    """Ours over a function and all services at once; nobody else has one executor for them."""
    aws = Settings(LATENCY_S, shortest_s=0.5, longest_s=2.0, launches_per_s=RATES)
    queues = ("default", *RATES)
    runs = [
        run
        for number in range(rounds)
        for run in measure("ours", aws, queues=queues, workloads=AT_ONCE, seed=number)
    ]
    what = f"{AT_ONCE} over four targets"
    for service, per_s in RATES.items():
        used = [_per_s(run.started_at_s[service]) / per_s for run in runs]
        holds = median(used) >= SHARE
        report.note(f"{what}: of {service}'s rate used", used, "", f">= {SHARE}", holds)
    invokes = [_per_s(run.started_at_s[FUNCTION]) for run in runs]
    report.note(f"{what}: invokes", invokes, "/s", "", holds=True)
    beats = [run.longest_heartbeat_ms for run in runs]
    report.note(f"{what}: longest heartbeat", beats, "ms", "<= 50 ms", median(beats) <= 50)
    waits = [median(run.latencies_s) * 1000 for run in runs]
    holds = median(waits) <= TARGET_MS
    report.note(f"{what}: result to settlement", waits, "ms", f"<= {TARGET_MS} ms", holds)
    failed = [float(run.figures.failed) for run in runs]
    report.note(f"{what}: failed", failed, "", "none", max(failed) == 0)


def micro_vm_start(report: Report) -> None:
    """A MicroVM of the embedded AWS beside a warm function of it; see `micro_vm_start.py`.

    The embedded AWS is not installed where the benchmarks run, so its modules are given to it.
    """
    found = subprocess.run(
        [sys.executable, "-m", "tests.bench.micro_vm_start", str(STARTS)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'local_aws/src'}"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    seconds = json.loads(found.splitlines()[-1])
    milliseconds = {who: [round(one * 1000, 1) for one in each] for who, each in seconds.items()}
    report.compare(
        "MicroVM of the embedded AWS: call to first line, beside a warm function",
        {"ours": milliseconds["micro_vm"], "warm": milliseconds["warm"]},
        "ms",
        f"<= {START_OF_WARM}",
        yardstick="warm",
        holds=lambda _, ratio: ratio <= START_OF_WARM,
    )


def _runs(
    service: str, aws: Settings, chance: random.Random, rounds: int, **load: Any
) -> dict[str, list[Run]]:
    """The runs of ours, and of the reference if it has an executor for the service, by turns."""
    names: dict[str, Name] = {"ours": "ours"}
    if service in REFERENCES:
        names["reference"] = REFERENCES[service]
    runs: dict[str, list[Run]] = {who: [] for who in names}
    for number in range(rounds):
        for who in chance.sample(sorted(runs), len(runs)):
            runs[who] += measure(names[who], aws, queues=(service,), seed=number, **load)
    return runs


def _row(  # noqa: PLR0913 - each names one column of the table
    report: Report,
    name: str,
    figures: dict[str, list[float]],
    unit: str,
    target: str = "",
    *,
    most: float = math.inf,
) -> None:
    """Note one figure, of both if there are both; ours should be `most` at most."""
    if "reference" in figures:
        report.compare(name, figures, unit, target, holds=lambda ours, _: ours <= most)
    else:
        report.note(name, figures["ours"], unit, target, median(figures["ours"]) <= most)


def _of(runs: dict[str, list[Run]], figure: Callable[[Run], float]) -> dict[str, list[float]]:
    return {name: [round(figure(run), 3) for run in each] for name, each in runs.items()}


def _per_s(times_s: list[float]) -> float:
    """The rate until nineteen of twenty have started: a throttled one comes seconds later."""
    most = times_s[: math.ceil(0.95 * len(times_s))]
    return round((len(most) - 1) / (most[-1] - most[0]), 3)


def main() -> int:
    """Measure everything, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261130, help="of who comes first in a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    report = Report("targets", arguments.seed)
    for service in RATES:
        for beat_s in BEATS_S:
            latency(report, service, beat_s, chance, arguments.rounds)
        at_once(report, service, chance, arguments.rounds)
    all_targets(report, arguments.rounds)
    micro_vm_start(report)
    report.publish(f"a call takes {LATENCY_S * 1000:.0f} ms.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
