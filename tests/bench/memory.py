"""`python -m tests.bench.memory`: the memory of Airflow's programs under a steady load.

The environment of `make local` runs fifty tasks a minute by our executor. Every ten seconds the
memory of each program with all of its children is read: the proportional set size, in which pages
that several processes share count once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from statistics import median

import psutil

from demo import paths
from demo.installation.environment import Environment, sole_use
from demo.installation.project import Project
from demo.machine.interrupts import interrupts_held_off, termination_as_interrupt
from demo.outcome.airflow_api import Api
from demo.screen import Screen
from tests.bench import dag_run
from tests.bench.report import HOME

EVERY_S = 10.0
#: Imports and first runs are not growth.
WARM_UP_MINUTES = 5
TASKS_A_MINUTE = 50
DAG_ID = "steady"


def memory_mb(pid: int) -> float:
    """The memory of a process and all its descendants."""
    found = psutil.Process(pid)
    total = 0.0
    for process in (found, *found.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def main() -> int:
    """Measure, and print a line for each program."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60, help="how long after the start")
    minutes = parser.parse_args().minutes
    if minutes <= 2 * WARM_UP_MINUTES:
        parser.error(f"--minutes is {minutes}, allowed are more than {2 * WARM_UP_MINUTES}")
    samples: dict[str, list[float]] = defaultdict(list)
    home = paths.Home(HOME / "memory")
    with sole_use(home), termination_as_interrupt():
        environment = Environment(home, Project([dag_run.BenchFile(DAG_ID, ())]), Screen())
        try:
            environment.start()
            with Api(environment.airflow.url) as api:
                api.unpause(DAG_ID)
            children = environment.control_plane._children
            programs = {child.program.name: child.identity.pid for child in children}
            ends_s = time.monotonic() + 60 * minutes
            while time.monotonic() < ends_s:
                time.sleep(EVERY_S)
                for name, pid in programs.items():
                    samples[name].append(memory_mb(pid))
                if len(samples[name]) % 60 == 0:
                    _print(samples)
        finally:
            with interrupts_held_off():
                environment.end()
    HOME.mkdir(parents=True, exist_ok=True)
    raw = {name: [round(value, 1) for value in values] for name, values in samples.items()}
    (HOME / "memory.json").write_text(json.dumps({"every_s": EVERY_S, "pss_mb": raw}) + "\n")
    _print(samples)
    return 0


def _print(samples: dict[str, list[float]]) -> None:
    warm = int(60 * WARM_UP_MINUTES / EVERY_S)
    lines = [f"{'program':26} {'warm':>8} {'end':>8} {'highest':>8} {'MB an hour':>11}"]
    for name, values in samples.items():
        if len(values) <= 2 * warm:
            continue
        begin, end = median(values[warm : 2 * warm]), median(values[-warm:])
        hours = (len(values) - 2 * warm) * EVERY_S / 3600 or 1
        growth = (end - begin) / hours
        lines.append(f"{name:26} {begin:8.0f} {end:8.0f} {max(values):8.0f} {growth:11.1f}")
    print(*lines, sep="\n", flush=True)  # noqa: T201 - the result


if __name__ == "__main__":
    sys.exit(main())
