"""The command line: `python -m demo run | up | down | aws`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo import cloud_only, kept_up, paths
from demo.installation import environment, examples, leftovers, own_project, project
from demo.installation.environment import EnvironmentInUseError
from demo.installation.examples import ExampleError
from demo.installation.own_project import ProjectError
from demo.installation.project import Project
from demo.machine.processes import ProcessError
from demo.outcome import exercise, table
from demo.outcome.airflow_api import RunsError
from demo.screen import Screen


def main() -> int:
    """Run one verb and return the exit status."""
    screen = Screen()
    try:
        given = _parser().parse_args()
        match given.verb:
            case "run":
                example = given.example and examples.find(given.example)
                return run(screen, example.project() if example else project.DEMO)
            case "up":
                return kept_up.up(screen, paths.LOCAL, _project(screen, given))
            case "aws":
                return cloud_only.run(screen, paths.LOCAL_AWS)
            case _:
                return kept_up.down(screen, paths.LOCAL)
    except (EnvironmentInUseError, ExampleError, ProcessError, ProjectError, RunsError) as e:
        screen.say(str(e))
        return 1
    except KeyboardInterrupt:
        screen.say("Interrupted; every program has been ended.")
        return 130


def run(screen: Screen, what: Project) -> int:
    """Deploy, run every DAG, show the table, destroy everything."""
    home = paths.DEMO
    with environment.running(home, what, screen) as here:
        ended = exercise.run_all(here)
        screen.show(table.table(ended.rows))
        for line in table.summary(ended.rows, ended.wall_s, here.concurrency):
            screen.say(line)
        unexpected = ended.unexpected(here)
        remaining = here.take_down()
    screen.say(leftovers.describe(remaining))
    for difference in unexpected:
        screen.say(f"Not as expected: {difference}")
    if unexpected or remaining:
        screen.say(f"The logs are in {home.logs}")
        return 1
    screen.say(f"Every DAG run ended as expected. Everything took {screen.elapsed_s:.0f} s.")
    return 0


def _project(screen: Screen, given: argparse.Namespace) -> project.Project:
    """The user's project, or the demo's own.

    Raises:
        ProjectError: Something that was named is missing, empty or cannot be read.
    """
    if given.dags is None:
        if lone := [name for name in ("requirements", "env", "plugins") if vars(given)[name]]:
            raise ProjectError(
                f"{', '.join(lone).upper()} without DAGS: name your DAG folder too, "
                "make local DAGS=../my-repo/dags"
            )
        return project.DEMO
    found, notes = own_project.project(given.dags, given.requirements, given.env, given.plugins)
    for note in notes:
        screen.say(note)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=(
            "Run the product on one machine, without an AWS account: the real CDK stacks on an "
            "embedded AWS, a real Airflow and real DAGs."
        ),
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    run_once = verbs.add_parser(
        "run", help="deploy, run the DAGs, show a table, destroy everything"
    )
    run_once.add_argument(
        "--example",
        metavar="NAME",
        help="run this folder of examples/ instead of the demo's own DAGs; an unknown name lists "
        "those that there are",
    )
    up = verbs.add_parser("up", help="deploy and keep everything running, with the Airflow UI")
    up.add_argument("--dags", type=Path, help="your DAG folder; default: the demo's DAGs")
    up.add_argument("--requirements", type=Path, help="your packages, in pip's format")
    up.add_argument("--env", type=Path, help="your variables and connections, NAME=value lines")
    up.add_argument("--plugins", type=Path, help="your plugins folder")
    verbs.add_parser("aws", help="run the embedded AWS alone, until Ctrl-C")
    verbs.add_parser("down", help="end everything that `up` started")
    return parser


if __name__ == "__main__":
    sys.exit(main())
