"""`make bench`: 200 tasks for a function without environments, with snapshots and without.

In the environment of `make local`, each DAG run goes to a function of its own that has never run
before and may have 50 environments. Only `snap_start` differs. After its run the function is
deleted, so that its environments do not stay in memory.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from demo import paths
from demo.installation.environment import Environment, sole_use
from demo.installation.project import Project
from demo.machine.interrupts import interrupts_held_off, termination_as_interrupt
from demo.outcome.airflow_api import Api
from demo.screen import Screen
from tests.bench import dag_run
from tests.bench.report import HOME, Report

TASKS = 200
ENVIRONMENTS = 50
#: Airflow's default pool lets so many tasks run at once.
AT_ONCE = 128
ROUNDS = 2
#: Of the time without snapshots, at most.
SHARE = 0.5

DAGS = dag_run.BenchFile("burst", ())


@contextmanager
def bench() -> Iterator[tuple[Environment, Api]]:
    """The environment of `make local` with one function more for every DAG run."""
    functions = [
        {
            "name": f"{kind}-{number}",
            "queues": [f"{kind}-{number}"],
            "snap_start": kind == "snapshots",
            "reserved_concurrency": ENVIRONMENTS,
        }
        for kind in ("snapshots", "plain")
        for number in range(ROUNDS)
    ]
    project = Project(
        [DAGS],
        override={"functions": functions, "execution": {"parallelism": AT_ONCE}},
        variables={"AIRFLOW__CORE__PARALLELISM": str(AT_ONCE)},
    )
    home = paths.Home(HOME / "burst")
    with sole_use(home), termination_as_interrupt():
        environment = Environment(home, project, Screen())
        try:
            environment.start()
            with Api(environment.airflow.url) as api:
                yield environment, api
        finally:
            with interrupts_held_off():
                environment.end()


def delete_function(environment: Environment, name: str) -> None:
    """Delete the function of this name in the stage, and with it its environments."""
    client = environment.aws.client("lambda")
    for function in client.list_functions()["Functions"]:
        if function["FunctionName"].endswith(f"-{name}"):
            client.delete_function(FunctionName=function["FunctionName"])


def main() -> int:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261121, help="of who comes first in a round")
    seed = parser.parse_args().seed
    chance = random.Random(seed)
    report = Report("burst", seed, subject="snapshots", yardstick="plain")
    took_s: dict[str, list[float]] = {"snapshots": [], "plain": []}
    with bench() as (environment, api):
        for number in range(ROUNDS):
            kinds = list(took_s)
            chance.shuffle(kinds)
            for kind in kinds:
                took_s[kind].append(dag_run.seconds(api, f"burst-{kind}-{number}"))
                environment.screen.say(f"{kind}: {took_s[kind][-1]} s")
                delete_function(environment, f"{kind}-{number}")
    report.compare(
        f"{TASKS} tasks from zero, {ENVIRONMENTS} environments",
        took_s,
        "s",
        f"<= {SHARE}",
        holds=lambda _, ratio: ratio <= SHARE,
    )
    report.publish(f"{TASKS} tasks, at most {AT_ONCE} queued or running.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
