"""The provider metadata for Airflow's provider discovery.

It imports neither Airflow nor boto3: Airflow calls it while it reads its own configuration.
"""

from __future__ import annotations

from typing import Any

from lambda_executor.contract.names import EXECUTOR
from lambda_executor.contract.options import OPTIONS, SECTION, Option


def get_provider_info() -> dict[str, Any]:
    """Return the provider metadata, as Airflow's `provider_info.schema.json` describes it."""
    return {
        "package-name": "airflow-lambda-executor",
        "name": "Lambda Executor",
        "description": "Runs each task as one asynchronous AWS Lambda invocation.",
        "cli": ["lambda_executor.ops.cli.get_cli_commands"],
        "executors": [EXECUTOR],
        "config": {
            SECTION: {
                "description": f"The executor `{EXECUTOR}`.",
                "options": {
                    option.name: {
                        "description": _description(option),
                        "version_added": "0.1.0",
                        "type": option.type,
                        "example": option.example,
                        # Airflow could not tell a default from a value that somebody set, which
                        # must win over the SSM parameter.
                        "default": None,
                    }
                    for option in OPTIONS
                },
            }
        },
    }


def _description(option: Option[object]) -> str:
    default = f" Default: {option.default}." if option.default is not None else ""
    return f"{option.help}{default}\n"
