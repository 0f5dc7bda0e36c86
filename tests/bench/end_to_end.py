"""`make bench`: 200 tasks end to end by each executor, in the environment of `make local`.

The real scheduler hands tasks that do nothing to LocalExecutor, to our executor with our function,
and to the reference's executor with its function, by turns in one environment, each with eight
slots. The exit code tells only that everything was measured.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from demo import paths
from demo.installation.dag_files import DagFile
from demo.installation.environment import Environment, sole_use
from demo.installation.project import Project
from demo.machine.interrupts import interrupts_held_off, termination_as_interrupt
from demo.machine.processes import Child
from demo.outcome.airflow_api import RUN_ID, Api
from demo.screen import Screen
from local_aws.images.store import ImageStore
from tests.bench.report import HOME, Report
from tests.e2e import migration
from tests.support.waiting import until

#: `waiting` is ours with the scheduler's part of the queue too: no more in flight than slots.
Executor = Literal["ours", "waiting", "LocalExecutor", "reference"]

#: So many tasks run at once, whoever runs them.
SLOTS = 8
#: Of ours: what has no slot waits in Lambda's queue, as it does with the settings of `make local`.
IN_FLIGHT = 4 * SLOTS
TASKS = 200
#: Of LocalExecutor's time, at most.
SHARE = 0.6
#: The reference takes minutes for one round.
ROUNDS: dict[Executor, int] = {"ours": 2, "waiting": 2, "LocalExecutor": 2, "reference": 1}
CLASSES: dict[Executor, str] = {
    "ours": migration.OURS,
    "waiting": migration.OURS,
    "LocalExecutor": "LocalExecutor",
    "reference": migration.REFERENCE,
}
TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class BenchFile(DagFile):
    """The benchmark's own DAG file."""

    @property
    def source(self) -> Path:
        """Where the file is."""
        return Path(__file__).parent / "dags" / f"{self.name}.py"


DAGS = BenchFile("mapped", ())


@dataclass(slots=True)
class Bench:
    """The environment, in which one scheduler runs after another.

    Attributes:
        settings: What each executor needs that the environment has not set.
    """

    environment: Environment
    api: Api
    settings: Mapping[Executor, Mapping[str, str]] = field(default_factory=dict)

    def seconds(self, executor: Executor, number: int) -> float:
        """How long a DAG run with 200 tasks takes."""
        scheduler = self._start_scheduler(executor, number)
        try:
            self._run(f"warm_up_{executor}_{number}")
            return self._run(f"measured_{executor}_{number}")
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

    def _run(self, dag_id: str) -> float:
        self.api.unpause(dag_id)
        self.api.trigger(dag_id)

        def ended() -> dict[str, Any] | None:
            run = self.api._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{RUN_ID}")
            return run if run["end_date"] else None

        run = until(ended, f"the run of {dag_id} ends", TIMEOUT_S)
        assert run["state"] == "success", f"{dag_id}: {run['state']}"
        began, over = (datetime.fromisoformat(run[name]) for name in ("start_date", "end_date"))
        return (over - began).total_seconds()


@contextmanager
def bench() -> Iterator[Bench]:
    """The environment of `make local` with a second function, of the reference's image."""
    home = paths.Home(HOME / "end-to-end")
    with sole_use(home), termination_as_interrupt():
        environment = Environment(home, Project([DAGS]), Screen())
        environment.concurrency = SLOTS
        try:
            environment.start()
            for child in environment.control_plane._children:
                if child.program.name == "airflow-scheduler":
                    child.end()
            reference = _furnish_reference(environment)
            with Api(environment.airflow.url) as api:
                ours = {"AIRFLOW__CORE__PARALLELISM": str(IN_FLIGHT)}
                yield Bench(environment, api, {"reference": reference, "ours": ours})
        finally:
            with interrupts_held_off():
                environment.end()


def _furnish_reference(environment: Environment) -> dict[str, str]:
    """What the reference's documentation tells its users to make and to set."""
    aws = environment.aws
    sqs = aws.client("sqs")
    results, dead = (
        sqs.create_queue(QueueName=f"reference-{name}")["QueueUrl"] for name in ("results", "dead")
    )
    variables = {
        "QUEUE_URL": results,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{environment.airflow.url}/execution/",
        "AIRFLOW__CORE__DAGS_FOLDER": str(environment.home.dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    store = ImageStore(environment.home.aws / "images")
    image = migration.reference_image(aws, store, environment.home.dags)
    function = migration.make_function(aws, "reference-image", image, variables)
    aws.client("lambda").put_function_concurrency(
        FunctionName=function, ReservedConcurrentExecutions=SLOTS
    )
    prefix = "AIRFLOW__AWS_LAMBDA_EXECUTOR__"
    return {
        **aws.environment(),
        f"{prefix}FUNCTION_NAME": function,
        f"{prefix}QUEUE_URL": results,
        f"{prefix}DEAD_LETTER_QUEUE_URL": dead,
        f"{prefix}REGION_NAME": aws.region,
    }


def main() -> int:
    """Measure everything, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261121, help="of who comes first in a round")
    seed = parser.parse_args().seed
    chance = random.Random(seed)
    report = Report("end_to_end", seed, yardstick="LocalExecutor")
    took_s: dict[Executor, list[float]] = {executor: [] for executor in ROUNDS}
    with bench() as running:
        for number in range(max(ROUNDS.values())):
            turn = [executor for executor, rounds in ROUNDS.items() if number < rounds]
            chance.shuffle(turn)
            for executor in turn:
                took_s[executor].append(round(running.seconds(executor, number), 2))
                running.environment.screen.say(f"{executor}: {took_s[executor][-1]} s")
    target = f"<= {SHARE}"

    def holds(_: float, ratio: float) -> bool:
        return ratio <= SHARE

    report.compare(f"{TASKS} tasks end to end", took_s, "s", target, holds=holds)
    report.compare("beside the reference", took_s, "s", yardstick="reference")
    waiting = {"ours": took_s["waiting"], "LocalExecutor": took_s["LocalExecutor"]}
    report.compare(
        f"the same, ours with {SLOTS} in flight at most", waiting, "s", target, holds=holds
    )
    rates = {executor: [round(TASKS / s, 2) for s in each] for executor, each in took_s.items()}
    report.compare("tasks a second", rates, "/s")
    report.publish(f"{SLOTS} slots each; the scheduler, its database and all tasks share them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
