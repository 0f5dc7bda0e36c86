"""Attack a real Airflow with this executor on an embedded AWS, and see what it loses.

Writes build/chaos/attack-<seed>-<tasks>.json and a chart of all runs there. Exits with 1 if a
promise is broken.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from typing import Any

from demo import paths
from demo.machine.processes import ProcessError
from demo.outcome.airflow_api import RunsError
from demo.screen import Screen
from tests.chaos.attack import chart, table
from tests.chaos.attack.evidence import Evidence
from tests.chaos.attack.faults import FAULTS
from tests.chaos.attack.oracle import Violation, violations
from tests.chaos.attack.run import Settings, run

FOLDER = paths.ROOT / "build" / "chaos"


def main(argv: list[str] | None = None) -> int:
    """Run each seed, print the tables, write the files."""
    given = _parser().parse_args(argv)
    screen = Screen()
    runs: list[dict[str, Any]] = []
    for seed in given.seeds:
        settings = Settings(
            seed=seed,
            tasks=given.tasks,
            rounds=given.rounds,
            stuck_s=given.stuck,
            empty_s=given.empty,
            reference=given.reference,
            faults=tuple(f for f in FAULTS if not given.only or f.name in given.only),
        )
        try:
            home = paths.Home(FOLDER / _name(settings))
            evidence = run(home, settings, screen)
        except (ProcessError, RunsError) as e:
            screen.say(str(e))
            return 2
        found = violations(evidence)
        if found:
            screen.say(f"The logs of this run are in {home.path}.")
        else:
            shutil.rmtree(home.path)
        screen.show(table.kinds(evidence))
        screen.show(table.promises(found))
        for line in table.lines(found, replay(settings)):
            screen.say(line)
        runs.append(_write(settings, evidence, found))
        for what in evidence.not_done:
            screen.say(f"Not done, so this run shows less: {what}")
    screen.show(table.faults(runs))
    (FOLDER / chart.NAME).write_text(chart.drawn(*chart.runs_in(FOLDER)))
    broken = sum(len(each["violations"]) for each in runs)
    screen.say(f"{broken} violations" if broken else "No promise was broken.")
    return 1 if broken else 0


def replay(settings: Settings) -> str:
    """The command that repeats a run."""
    words = [
        "PYTHONPATH=local_aws/src .venv/bin/python -m tests.chaos.attack",
        f"--seeds {settings.seed} --tasks {settings.tasks} --rounds {settings.rounds}",
    ]
    if settings.reference:
        words.append("--reference")
    if settings.faults != FAULTS:
        words += ["--only", *(f"'{fault.name}'" for fault in settings.faults)]
    return " ".join(words)


def _name(settings: Settings) -> str:
    """Of a run's file and folder."""
    executor = "reference" if settings.reference else "attack"
    return f"{executor}-{settings.seed}-{settings.tasks}"


def _write(settings: Settings, evidence: Evidence, found: list[Violation]) -> dict[str, Any]:
    """Write a run's file; what is in it."""
    content: dict[str, Any] = {
        "seed": settings.seed,
        "tasks": settings.tasks,
        "tries": len(evidence.tries),
        "faults": {fault.name: count for fault, count in evidence.faults.items()},
        "violations": [asdict(each) for each in found],
        "replay": replay(settings),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{_name(settings)}.json"
    file.write_text(json.dumps(content, indent=2) + "\n")
    return content


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.attack", description=__doc__)
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[1], help="of tasks, faults and their moments")
    add("--tasks", type=int, default=300, help="how many (default: %(default)s)")
    add("--rounds", type=int, default=1, help="how often each action happens")
    add("--stuck", type=float, default=300, help="seconds without a sign of any task until it ends")
    add("--empty", type=float, default=0, help="seconds to wait for empty queues; 0: do not")
    add("--reference", action="store_true", help="let the reference's executor run the tasks")
    names = [fault.name for fault in FAULTS]
    add("--only", nargs="+", choices=names, metavar="FAULT", help="; ".join(names))
    return parser


if __name__ == "__main__":
    sys.exit(main())
