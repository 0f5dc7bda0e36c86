"""The commands `airflow lambda-executor ...`.

It belongs to the edge that knows Airflow, with `executor.py` and `config.py`. Airflow imports it
for every command, so it imports nothing heavy before one of its own runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand

_JSON = Arg(("--json",), help="Print JSON", action="store_true")  # type: ignore[no-untyped-call]


def get_cli_commands() -> list[CLICommand]:
    """What Airflow adds to its command line."""
    return [
        GroupCommand(
            name="lambda-executor",
            help="Look after the Lambda executor",
            subcommands=[
                ActionCommand(
                    name="check",
                    help="Check that the configured function and queues can be used",
                    description=(
                        "Reads the configuration as the scheduler does and asks AWS about the "
                        "function and both queues. Exit code 1 when something cannot be used."
                    ),
                    func=_check,
                    args=[_JSON],
                )
            ],
        )
    ]


def _check(args: argparse.Namespace) -> None:
    from airflow.configuration import conf  # noqa: PLC0415 - only when the command runs

    from lambda_executor.connection import connect  # noqa: PLC0415
    from lambda_executor.errors import ConfigError  # noqa: PLC0415
    from lambda_executor.health import Finding, check  # noqa: PLC0415

    try:
        findings = list(check(connect(conf)))
    except ConfigError as e:
        findings = [Finding("configuration", False, str(e))]
    if args.json:
        print(json.dumps([dataclasses.asdict(f) for f in findings], indent=2))  # noqa: T201
    else:
        for finding in findings:
            print(f"{'OK' if finding.ok else 'PROBLEM':8} {finding.option:22} {finding.said}")  # noqa: T201
            if finding.fix:
                print(f"{'':8} fix: {finding.fix}")  # noqa: T201
    sys.exit(0 if all(f.ok for f in findings) else 1)
