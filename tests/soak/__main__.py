"""`make soak`: does anything grow under a steady load that goes on and on?

The environment of `make demo` runs tasks at a steady rate: most on a function, and rarely one in a
MicroVM, as a job of Batch and as a task of ECS. Every ten seconds the memory, threads and
descriptors of each program are read. `build/soak/soak.json` has everything so far at any time. The
exit code is 0 only if nothing of ours grows and every task ended as its DAG says.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil

from demo import paths
from demo.installation.environment import Environment, running
from demo.installation.project import DEMO, Project
from demo.machine.process_table import Identity
from demo.outcome.airflow_api import RunsError
from demo.outcome.exercise import api_with_dags, log_groups
from demo.screen import Screen
from tests.soak import charts, load, verdict
from tests.soak.load import Load
from tests.soak.programs import Programs
from tests.soak.record import Record
from tests.soak.scheduler_log import SchedulerLog
from tests.support import executor_summary

HOME = paths.ROOT / "build" / "soak"
SAMPLE_EVERY_S = 10.0
COLLECT_EVERY_S = 5.0
TARGETS_EVERY_S = 120.0
#: The embedded AWS keeps logs in memory; the shortest retention of CloudWatch is a day.
FORGET_LOGS_EVERY_S = 300.0
TICK_S = 0.2
#: The warm-up: this share of the run, at most so long.
WARM_UP_SHARE, LONGEST_WARM_UP_S = 0.25, 900.0
SCHEDULER = "airflow-scheduler"
#: What LocalExecutor is told: as many tasks at once as the function has environments would stall
#: with every pause of Airflow's supervisor (decision 7).
LOCAL = {"AIRFLOW__CORE__EXECUTOR": "LocalExecutor"}


@dataclass(slots=True)
class Every:
    """Something that is due again and again, at a steady rate, also if it was late once."""

    seconds: float
    _due_s: float = field(default_factory=time.monotonic)

    def is_due(self) -> bool:
        """Whether its time has come; each time once."""
        if time.monotonic() < self._due_s:
            return False
        self._due_s += self.seconds
        return True


@dataclass(slots=True)
class Soak:
    """One run in a running environment."""

    environment: Environment
    load: Load
    log: SchedulerLog
    record: Record
    file: Path
    began_s: float = field(default_factory=time.time)

    def run(self, seconds: float, rate: float, has_targets: bool) -> None:
        """Keep the load up for so long."""
        programs = Programs(self.environment)
        due: list[tuple[Every, Callable[[], None]]] = [
            (Every(load.TASKS["soak"] / rate), partial(self.load.trigger, "soak")),
            (Every(COLLECT_EVERY_S), self._collect),
            (Every(SAMPLE_EVERY_S), partial(self._sample, programs)),
            (Every(FORGET_LOGS_EVERY_S), partial(forget_logs, self.environment)),
        ]
        if has_targets:
            due.append((Every(TARGETS_EVERY_S), partial(self.load.trigger, "soak_targets")))
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            for every, action in due:
                if every.is_due():
                    self._do(action)
            time.sleep(TICK_S)

    def _do(self, action: Callable[[], None]) -> None:
        """Do one thing; an api-server that is busy is no reason to stop.

        Raises:
            ProcessError: A program of the environment has ended.
        """
        try:
            action()
        except (RunsError, httpx.HTTPError) as e:
            self.environment.screen.say(f"Airflow's API: {e}")
        for child in self.environment.dead():
            raise child.failure("ended during the soak")

    def _collect(self) -> None:
        self.log.read()
        self.load.collect()

    def _sample(self, programs: Programs) -> None:
        self.log.read()
        record = self.record
        at_s = time.time() - self.began_s
        record.sample(at_s, self.log.events, programs.read(), self.log.counts)
        record.load.append(round(os.getloadavg()[0], 2))
        record.open_runs.append(self.load.open_runs)
        record.tasks, record.skipped = self.load.tasks, self.load.skipped
        record.unexpected = self.load.unexpected
        record.describe(self.load.times, self.began_s)
        record.write(self.file)
        # The executor's summary is in the log when the next sample is taken.
        executor_summary.ask(scheduler(self.environment).pid)
        if len(record.at_s) % 6 == 1:
            self.environment.screen.say(
                f"{record.tasks} tasks read, {self.log.events} tries settled, "
                f"{self.load.open_runs} runs under way, {len(record.unexpected)} unexpected"
            )


def forget_logs(environment: Environment) -> None:
    """Delete the log streams of functions and targets: what they were told to keep is no leak."""
    logs = environment.aws.client("logs")
    groups, streams = (
        logs.get_paginator(name) for name in ("describe_log_groups", "describe_log_streams")
    )
    for prefix in log_groups(environment):
        for group in groups.paginate(logGroupNamePrefix=prefix).search("logGroups[].logGroupName"):
            for stream in streams.paginate(logGroupName=group).search("logStreams[].logStreamName"):
                logs.delete_log_stream(logGroupName=group, logStreamName=stream)


def scheduler(environment: Environment) -> Identity:
    """The scheduler's process."""
    every = environment.control_plane.identities()
    return next(identity for identity in every if identity.name == SCHEDULER)


def about(given: argparse.Namespace) -> dict[str, object]:
    """Length, rate, machine and conditions of a run."""
    return {
        "executor": "LocalExecutor" if given.local else "ours",
        "minutes": given.minutes,
        "rate": given.rate,
        "sample_every_s": SAMPLE_EVERY_S,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "airflow": version("apache-airflow-core"),
        "conditions": given.conditions,
    }


def main() -> int:
    """Run the load, judge it, print the verdict."""
    given = _parser().parse_args()
    home = paths.Home(HOME / ("local" if given.local else "environment"))
    file = HOME / ("local.json" if given.local else "soak.json")
    project = replace(DEMO, files=(load.DAGS,), outside=Project().outside)
    if given.local:
        project = replace(project, variables=LOCAL)
    record = Record(about(given))
    screen = Screen()
    with running(home, project, screen) as environment, api_with_dags(environment) as api:
        for dag_id in load.DAGS.dag_ids:
            api.unpause(dag_id)
        log = SchedulerLog(home.logs / f"{SCHEDULER}.log")
        soak = Soak(environment, Load(api, log.settled_at_s), log, record, file)
        with contextlib.suppress(KeyboardInterrupt):
            soak.run(60 * given.minutes, given.rate, has_targets=not given.local)
    code = conclude(record, file, given.beside)
    if not given.local:
        charts.draw(record, HOME)
    return code


def conclude(record: Record, file: Path, beside: Path | None) -> int:
    """Judge a run by what its file has, add the judgement to it, print it."""
    local = Record.read(beside) if beside and beside.exists() else None
    warm_up_s = min(WARM_UP_SHARE * record.at_s[-1], LONGEST_WARM_UP_S)
    judgements = verdict.judge(record, warm_up_s, local)
    record.verdict = [asdict(each) for each in judgements]
    record.about["warm_up_s"] = round(warm_up_s)
    record.write(file)
    for judgement in judgements:
        print(judgement)  # noqa: T201 - the result
    failures = list(verdict.failures(record, judgements))
    print(  # noqa: T201 - the result
        f"\n{record.tasks} tasks in {record.at_s[-1] / 60:.0f} minutes, written to "
        f"{file.relative_to(paths.ROOT)}",
        *(failures or ["Nothing of ours grows, and every task ended as expected."]),
        sep="\n",
    )
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="length of the load")
    parser.add_argument("--rate", type=float, default=2, help="tasks a second")
    parser.add_argument(
        "--local", action="store_true", help="with LocalExecutor: Airflow's own growth"
    )
    parser.add_argument(
        "--beside",
        type=Path,
        default=HOME / "local.json",
        help="the file of a run with --local, if there is one",
    )
    parser.add_argument("--conditions", default="", help="what else ran on the machine; a sentence")
    return parser


if __name__ == "__main__":
    sys.exit(main())
