"""The definition of the commands `airflow lambda-executor ...`.

Airflow imports this module for every command, so each implementation is imported when it runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from airflow.cli.cli_config import (
    ActionCommand,
    Arg,
    CLICommand,
    GroupCommand,
    lazy_load_command,
    positive_int,
)


def _arg(*flags: str, **options: Any) -> Arg:  # noqa: ANN401 - argparse's own
    return Arg(flags, **options)  # type: ignore[no-untyped-call]


def _command(path: str) -> Callable[..., None]:
    return lazy_load_command(f"lambda_executor.ops.{path}")


#: Seconds between two times of `status --watch` without a number.
PERIOD_S = 5


class _Period(argparse.Action):
    """Stores a number of seconds; Airflow's `Arg` has no way to set argparse's `const`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's own
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002 - argparse's own
    ) -> None:
        """Store it."""
        setattr(namespace, self.dest, PERIOD_S if values is None else values)


_POSITIVE = positive_int(allow_zero=False)  # type: ignore[no-untyped-call]
_JSON = _arg("--json", help="Print JSON", action="store_true")
_TEAM = _arg("--team", help="Read the options of this team of [core] executor")
_LIMIT = _arg(
    "--limit",
    help="Read at most this many messages (default: %(default)s)",
    type=_POSITIVE,
    default=100,
)
_MAP_INDEX = _arg(
    "--map-index",
    metavar="N",
    help="Which of a mapped task's instances, from 0",
    type=int,
    default=-1,
)

_CHECK = ActionCommand(
    name="check",
    help="Check the deployed environment, and show how to fix what is wrong",
    description=(
        "Reads the configuration as the scheduler does, then checks which executor the live "
        "schedulers run, the options, the credentials, every function, the queues and the log. It "
        "also invokes each function once, without running a task, to check its versions, its DAG "
        "files and that it reaches the Execution API. Exit code 1 when there is something to fix."
    ),
    func=_command("commands.check"),
    args=[_TEAM, _JSON],
)

_STATUS = ActionCommand(
    name="status",
    help="Show in-flight tasks, the targets, the depth of the queues and the latest failures",
    description=(
        "In-flight tasks and failures come from Airflow's database, the depth of the queues and "
        "what waits and runs for each target of jobs from AWS. Exit code 1 when one of them cannot "
        "be read."
    ),
    func=_command("commands.status"),
    args=[
        _TEAM,
        _arg(
            "--watch",
            metavar="SECONDS",
            help=f"Show it again every so many seconds ({PERIOD_S} without a number), until Ctrl-C",
            nargs="?",
            type=_POSITIVE,
            action=_Period,
        ),
        _JSON,
    ],
)

_EXPLAIN = ActionCommand(
    name="explain",
    help="Say why a task failed or waits",
    description=(
        "One answer from Airflow's database, the log of the function or job, what the service of "
        "the job says, and the queues: a verdict and what to do, then all of it in order of time. "
        "It changes nothing and receives no message. What this role may not read is a line that "
        "names the missing permission. Exit code 1 when there is no such task, or when something "
        "could not be read."
    ),
    func=_command("explain.command.explain"),
    args=[
        _arg("dag", help="The id of the DAG"),
        _arg("task", help="The id of the task"),
        _arg("run", help="The id of the run"),
        _TEAM,
        _MAP_INDEX,
        _arg(
            "--try-number",
            metavar="N",
            help="Which try (default: the newest)",
            type=_POSITIVE,
        ),
        _arg(
            "--output",
            help="Text for a person, or JSON (default: %(default)s)",
            choices=("text", "json"),
            default="text",
        ),
        _JSON,
    ],
)

_RUN = ActionCommand(
    name="run",
    help="Run one task here as the function would, with a debugger if you like",
    description=(
        "Runs one task in the process of the function's image on this machine: same supervisor, "
        "time-out, memory, size of /tmp and, with bubblewrap, read-only file system. The run is in "
        "a database of its own, which is removed at the end. It gets the connections and variables "
        "of Airflow's database, which is only read. What the task itself does is real. The limits "
        "are those of the function that would run it, if AWS tells them. Exit code 0 when the task "
        "succeeded and Lambda would have killed it for nothing, otherwise 1."
    ),
    func=_command("local_run.command.run"),
    args=[
        _arg("dag", help="The id of the DAG"),
        _arg("task", help="The id of the task"),
        _MAP_INDEX,
        _arg("--conf", metavar="JSON", help="The configuration of the run"),
        _arg("--logical-date", metavar="DATE", help="The logical date of the run (default: now)"),
        _arg(
            "--run-id",
            metavar="RUN",
            help="A run in Airflow's database, whose conf, dates and XComs this run gets",
        ),
        _arg(
            "--no-database",
            help="Copy nothing from Airflow's database, neither connections nor variables",
            action="store_true",
        ),
        _arg(
            "--xcom",
            metavar="TASK=JSON",
            help="What an upstream task returned; may be repeated",
            action="append",
            default=[],
        ),
        _arg("--memory-mb", metavar="MB", help="The memory of the function", type=_POSITIVE),
        _arg("--timeout-s", metavar="SECONDS", help="The time-out of the function", type=_POSITIVE),
        _arg("--tmp-mb", metavar="MB", help="The size of its /tmp", type=_POSITIVE),
        _TEAM,
        _arg(
            "--debug",
            help="Let breakpoint() open pdb in this terminal; nothing stops the task then",
            action="store_true",
        ),
        _arg(
            "--debug-port",
            metavar="PORT",
            help="Wait for a client of debugpy on this port, instead of pdb",
            type=_POSITIVE,
        ),
        _arg(
            "--image-source",
            metavar="FOLDER",
            help="A checkout of the project, for the code of the function's image",
        ),
    ],
)

_LIST = ActionCommand(
    name="list",
    help="List the dead letters, without deleting any",
    description=(
        "Shows for each dead letter the dispatch id, task, Lambda's reason and request id, its "
        "age, and whether it can be sent again. Hidden dead letters are only counted: somebody "
        "received them, or a scheduler handed them back for up to 15 minutes."
    ),
    func=_command("dead_letter_commands.list_"),
    args=[_TEAM, _LIMIT, _JSON],
)

_RETRY = ActionCommand(
    name="retry",
    help="Send invocations again whose tasks have not started",
    description=(
        "For use while no scheduler runs: a running scheduler takes its dead letters within "
        "seconds and fails their tasks. Invokes the function again with the same event and "
        "dispatch id, then deletes the dead letter; the task runs in the same try. A dead letter "
        "is left as it is, with the reason, unless Airflow holds its task queued under this "
        "dispatch id and the task's token is valid. To run the other tasks again, clear them or "
        "let Airflow retry them. Exit code 1 when a dead letter was left as it is."
    ),
    func=_command("dead_letter_commands.retry"),
    args=[
        _arg("ids", help="Dispatch ids, as `list` shows them", nargs="*"),
        _arg("--all", help="Send all that can be sent again", action="store_true"),
        _TEAM,
        _LIMIT,
    ],
)

_PURGE = ActionCommand(
    name="purge",
    help="Delete dead letters that no task waits for",
    description=(
        "Deletes the visible dead letters, except those of in-flight tasks, which a scheduler has "
        "to take. Without --yes it only shows how many it would delete."
    ),
    func=_command("dead_letter_commands.purge"),
    args=[_arg("--yes", help="Delete them", action="store_true"), _TEAM, _LIMIT],
)

_PUSH = ActionCommand(
    name="push",
    help="Upload a folder of DAG files to S3",
    description=(
        "Makes a prefix in S3 equal to a local folder: uploads the changed files, then a manifest, "
        "then deletes the files of earlier pushes that are gone. A DAG bundle of the class "
        "lambda_executor.bundles.S3ManifestBundle sees the new version as soon as the manifest is "
        "there, and never a mixture. In a bucket that keeps versions a run keeps the version that "
        "it started with. Objects that no push uploaded are left alone. Do not run two pushes to "
        "one prefix at the same time. The credentials are the executor's (conn_id and region_name)."
    ),
    func=_command("dag_commands.push"),
    args=[
        _arg("folder", help="The folder with the DAG files"),
        _arg("uri", help="The destination, s3://bucket/prefix/"),
        _arg("--dry-run", help="Only show what would be done", action="store_true"),
        _TEAM,
        _arg(
            "--exclude",
            metavar="PATTERN",
            help="Leave out matching names or paths, for example *.md; may be repeated",
            action="append",
            default=[],
        ),
    ],
)


def get_cli_commands() -> list[CLICommand]:
    """Return the commands for Airflow's command line."""
    return [
        GroupCommand(
            name="lambda-executor",
            help="Check and operate the Lambda executor",
            subcommands=[
                _CHECK,
                _STATUS,
                _EXPLAIN,
                _RUN,
                GroupCommand(
                    name="dead-letters",
                    help="Handle invocations that Lambda gave up on and no scheduler took",
                    subcommands=[_LIST, _RETRY, _PURGE],
                ),
                GroupCommand(
                    name="dags",
                    help="Manage DAG files in S3",
                    subcommands=[_PUSH],
                ),
            ],
        )
    ]
