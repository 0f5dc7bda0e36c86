"""The commands `airflow lambda-executor ...`, as Airflow's command line sees them.

Airflow imports it for every command, so it imports nothing heavy: what a command does is in
the modules that `_command` names, which are imported when one of ours runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand


def _a_positive_number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _arg(*flags: str, **options: Any) -> Arg:  # noqa: ANN401 - argparse's own
    return Arg(flags, **options)  # type: ignore[no-untyped-call]


def _command(module: str, name: str) -> Callable[[argparse.Namespace], None]:
    def run(args: argparse.Namespace) -> None:
        getattr(import_module(f"lambda_executor.ops.{module}"), name)(args)

    return run


_JSON = _arg("--json", help="Print JSON", action="store_true")
_LIMIT = _arg(
    "--limit",
    help="How many messages are looked at, at most (default: %(default)s)",
    type=_a_positive_number,
    default=100,
)

_CHECK = ActionCommand(
    name="check",
    help="Find out what is wrong with the deployed environment, and how to fix it",
    description=(
        "Reads the configuration as the scheduler does, asks AWS about the credentials, every "
        "function, the queues and the log, and each function about its versions and its way to "
        "the Execution API. That question is an invocation that runs no task. Exit code 1 when "
        "there is something to fix."
    ),
    func=_command("commands", "check"),
    args=[_JSON],
)

_STATUS = ActionCommand(
    name="status",
    help="Tell what is in flight, what waits in the queues and what failed last",
    description=(
        "What is in flight and the last reasons for a failure come from Airflow's database, the "
        "depths of the queues from AWS. Exit code 1 when a queue cannot be read."
    ),
    func=_command("commands", "status"),
    args=[_JSON],
)

_LIST = ActionCommand(
    name="list",
    help="Show what waits in the dead-letter queue, and leave it there",
    description=(
        "Every dead letter with its dispatch id, task, Lambda's reason and request id, age, and "
        "whether it can be sent again. The messages are visible to the schedulers again at once. "
        "A scheduler that runs looks at them too, and what it holds meanwhile cannot be listed: "
        "only their number is told."
    ),
    func=_command("dead_letter_commands", "list_"),
    args=[_LIMIT, _JSON],
)

_RETRY = ActionCommand(
    name="retry",
    help="Send invocations again whose task still waits for its start",
    description=(
        "Invokes the function again with the same event and the same dispatch id, then deletes "
        "the dead letter. The task runs as if its first invocation had only been late: the same "
        "try, and its result settles it as usual. That is done only while Airflow holds the task "
        "queued under this very dispatch id and its token is good; then it cannot start twice, "
        "because the API server lets one start of a try win. Everything else is left as it is, "
        "with the reason: a task that has started, ended or been dispatched again is retried by "
        "Airflow, or by clearing it. A scheduler that runs takes its dead letters within seconds "
        "and fails their tasks; this is for when it does not run. Exit code 1 when something was "
        "left as it is."
    ),
    func=_command("dead_letter_commands", "retry"),
    args=[
        _arg("ids", help="Dispatch ids, as `list` shows them", nargs="*"),
        _arg("--all", help="All that can be sent again", action="store_true"),
        _LIMIT,
    ],
)

_PURGE = ActionCommand(
    name="purge",
    help="Delete dead letters that no task waits for",
    description=(
        "Deletes what is visible in the dead-letter queue, but not the dead letter of a task in "
        "flight: that one is the scheduler's to take. Without --yes it only says how many."
    ),
    func=_command("dead_letter_commands", "purge"),
    args=[_arg("--yes", help="Delete them", action="store_true"), _LIMIT],
)

_PUSH = ActionCommand(
    name="push",
    help="Upload a folder of DAG files for functions that get them from S3",
    description=(
        "Makes a prefix in S3 the same as a folder: uploads what changed, folders kept, then the "
        "manifest by which functions see the new version (dags_s3_uri in their environment), then "
        "deletes what an earlier push uploaded and is gone. A task that starts before the manifest "
        "is there runs the old version, one that starts afterwards the new one; none runs a "
        "mixture. What was not put there by a push is left alone. Push to one prefix from one "
        "place at a time. Credentials, conn_id and region_name are the executor's."
    ),
    func=_command("dag_commands", "push"),
    args=[
        _arg("folder", help="The folder that holds the DAG files"),
        _arg("uri", help="Where to, s3://bucket/prefix/"),
        _arg("--dry-run", help="Only say what would be done", action="store_true"),
        _arg(
            "--exclude",
            metavar="PATTERN",
            help="Leave out names or paths like this, *.md for example; may be repeated",
            action="append",
            default=[],
        ),
    ],
)


def get_cli_commands() -> list[CLICommand]:
    """What Airflow adds to its command line."""
    return [
        GroupCommand(
            name="lambda-executor",
            help="Look after the Lambda executor",
            subcommands=[
                _CHECK,
                _STATUS,
                GroupCommand(
                    name="dead-letters",
                    help="Look after what Lambda gave up on and nobody took",
                    subcommands=[_LIST, _RETRY, _PURGE],
                ),
                GroupCommand(
                    name="dags",
                    help="Look after the DAG files of functions that get them from S3",
                    subcommands=[_PUSH],
                ),
            ],
        )
    ]
