"""The command line: `python -m demo run | up | down | aws`."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from demo import cloud_only, kept_up, paths, run_once
from demo.installation import examples, own_project, project
from demo.installation.environment import EnvironmentInUseError
from demo.installation.examples import ExampleError
from demo.installation.own_project import ProjectError
from demo.machine.likely_cause import likely_cause
from demo.machine.processes import ProcessError
from demo.outcome.airflow_api import RunsError
from demo.screen import Screen
from lambda_executor.contract.help import help_page, with_page

#: The folder of each verb, and how a person types it.
_VERBS = {
    "run": (paths.DEMO, "make demo"),
    "up": (paths.LOCAL, "make local"),
    "aws": (paths.LOCAL_AWS, "make local-aws"),
    "down": (paths.LOCAL, "make local-down"),
}


def main() -> int:
    """Run one verb and return the exit status."""
    screen = Screen()
    given = _parser().parse_args()
    home, command = _VERBS[given.verb]
    if given.verb == "run" and given.example:
        command = f"{command} EXAMPLE={given.example}"
    try:
        return _run(screen, home, command, given)
    except (EnvironmentInUseError, ExampleError, ProjectError) as e:
        screen.say(with_page(str(e)))  # It says what to do; nothing was started: there is no log.
        return 1
    except (ProcessError, RunsError) as e:
        screen.say(str(e))
        _say_what_next(screen, home, command, e)
        return 1
    except KeyboardInterrupt:
        screen.say("Interrupted; every program has been ended.")
        return 130
    except Exception as e:  # noqa: BLE001  # whatever it is, a person gets the next step
        traceback.print_exc()
        _say_what_next(screen, home, command, e)
        return 1


def _run(screen: Screen, home: paths.Home, command: str, given: argparse.Namespace) -> int:
    match given.verb:
        case "run":
            what = examples.find(given.example).project() if given.example else project.DEMO
            return run_once.run(screen, home, what, command)
        case "up":
            return kept_up.up(screen, home, _project(screen, given))
        case "aws":
            return cloud_only.run(screen, home)
        case _:
            return kept_up.down(screen, home)


def _say_what_next(screen: Screen, home: paths.Home, command: str, error: Exception) -> None:
    """The end of every failure: the likely cause, the log's place, the next command."""
    cause = likely_cause(str(error))
    log = (error.log if isinstance(error, ProcessError) else None) or home.logs
    screen.say(f"Likely cause: {cause.text}")
    screen.say(f"{'Log' if log.suffix else 'Logs'}: {paths.shown(log)}")
    screen.say(f"Help: {help_page(str(error)) or help_page(cause.text)}")
    then = f"{cause.command}, then {command}" if cause.command else command
    screen.say(f"Next: {then}")


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
        "run", help="deploy, run the DAGs, write a report, destroy everything"
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
