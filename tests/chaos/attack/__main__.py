"""Attack a real Airflow with this executor on an embedded AWS, and see what it loses.

Writes build/chaos/attack-<seed>-<tasks>.json and a chart of all runs there. Exits with 1 if a
promise is broken, or if something that should have been done to the environment was not; with 2 if
a run could not be made.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from demo import paths
from demo.machine.processes import ProcessError
from demo.outcome.airflow_api import RunsError
from demo.screen import Screen
from tests.chaos.attack import chart, table
from tests.chaos.attack.evidence import Evidence
from tests.chaos.attack.faults import FAULTS
from tests.chaos.attack.gathering import EMPTY_S
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
        if found or evidence.not_done:
            screen.say(f"The logs of this run are in {home.path}.")
        else:
            shutil.rmtree(home.path)
        screen.show(table.kinds(evidence))
        runs.append(content(settings, evidence, found))
        screen.show(table.promises(found, runs[-1]))
        for line in table.lines(found, replay(settings)):
            screen.say(line)
        for what in evidence.not_done:
            screen.say(f"Not done, so this run shows less: {what}")
        _write(settings, runs[-1])
    screen.show(table.faults(runs))
    (FOLDER / chart.NAME).write_text(chart.drawn(*chart.runs_in(FOLDER)))
    code, text = verdict(runs)
    screen.say(text)
    return code


def verdict(runs: Sequence[Mapping[str, Any]]) -> tuple[int, str]:
    """The exit code of some runs, and the last line for people.

    Args:
        runs: As their files have them.
    """
    broken, idle = (sum(len(each[key]) for each in runs) for key in ("violations", "not_done"))
    found = [f"{broken} violations"] if broken else []
    if idle:
        found.append(f"{idle} things not done, so that these runs show less than they say")
    return (1, ", ".join(found)) if found else (0, "No promise was broken.")


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


def content(settings: Settings, evidence: Evidence, found: list[Violation]) -> dict[str, Any]:
    """What a run's file has."""
    return {
        "seed": settings.seed,
        "tasks": settings.tasks,
        "tries": len(evidence.tries),
        "faults": {fault.name: count for fault, count in evidence.faults.items()},
        "not_done": list(evidence.not_done),
        "unchecked": dict(evidence.unchecked),
        "violations": [asdict(each) for each in found],
        "replay": replay(settings),
    }


def _write(settings: Settings, run: Mapping[str, Any]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{_name(settings)}.json"
    file.write_text(json.dumps(run, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.attack", description=__doc__)
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[1], help="of tasks, faults and their moments")
    add("--tasks", type=int, default=300, help="how many (default: %(default)s)")
    add("--rounds", type=int, default=1, help="how often each action happens")
    add("--stuck", type=float, default=300, help="seconds without a sign of any task until it ends")
    empty = "seconds to wait for empty queues; 0: only count what is left (default: %(default)s)"
    add("--empty", type=float, default=EMPTY_S, help=empty)
    add("--reference", action="store_true", help="let the reference's executor run the tasks")
    names = [fault.name for fault in FAULTS]
    add("--only", nargs="+", choices=names, metavar="FAULT", help="; ".join(names))
    return parser


if __name__ == "__main__":
    sys.exit(main())
