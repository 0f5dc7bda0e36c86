"""What Airflow's provider discovery reads: the option table as provider metadata.

Plain Python: Airflow calls it while it reads its own configuration.
"""

from __future__ import annotations

from typing import Any

from lambda_executor.options import OPTIONS, SECTION


def get_provider_info() -> dict[str, Any]:
    """The provider metadata, in the shape of Airflow's `provider_info.schema.json`."""
    return {
        "package-name": "airflow-lambda-executor",
        "name": "Lambda Executor",
        "description": "Runs each task as one asynchronous AWS Lambda invocation.",
        "executors": ["lambda_executor.LambdaExecutor"],
        "config": {
            SECTION: {
                "description": "The executor `lambda_executor.LambdaExecutor`.",
                "options": {
                    option.name: {
                        "description": option.help,
                        "version_added": "0.1.0",
                        "type": option.type,
                        "example": option.example,
                        "default": option.default,
                    }
                    for option in OPTIONS
                },
            }
        },
    }
