"""The command line: `python -m demo run | up | down`."""

from __future__ import annotations

import argparse
import sys

from demo import kept_up, paths
from demo.installation import environment, leftovers, project
from demo.installation.environment import EnvironmentInUseError
from demo.machine.processes import ProcessError
from demo.outcome import exercise, table
from demo.outcome.airflow_api import RunsError
from demo.screen import Screen


def main() -> int:
    """Run one verb and return the exit status."""
    screen = Screen()
    try:
        match _parser().parse_args().verb:
            case "run":
                return run(screen)
            case "up":
                return kept_up.up(screen, paths.LOCAL, project.DEMO)
            case _:
                return kept_up.down(screen, paths.LOCAL)
    except (EnvironmentInUseError, ProcessError, RunsError) as e:
        screen.say(str(e))
        return 1
    except KeyboardInterrupt:
        screen.say("Interrupted; every program has been ended.")
        return 130


def run(screen: Screen) -> int:
    """Deploy, run every DAG, show the table, destroy everything."""
    home = paths.DEMO
    with environment.running(home, project.DEMO, screen) as here:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=(
            "Run the product on one machine, without an AWS account: the real CDK stacks on an "
            "embedded AWS, a real Airflow and real DAGs."
        ),
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("run", help="deploy, run the DAGs, show a table, destroy everything")
    verbs.add_parser("up", help="deploy and keep everything running, with the Airflow UI")
    verbs.add_parser("down", help="end everything that `up` started")
    return parser


if __name__ == "__main__":
    sys.exit(main())
