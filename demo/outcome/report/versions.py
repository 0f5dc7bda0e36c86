"""The versions of what the demo runs with."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version

from demo import paths


def versions() -> dict[str, str]:
    """Each version, by the name that a person knows."""
    cli = paths.CDK.parent.parent / "aws-cdk" / "package.json"
    return {
        "Airflow": version("apache-airflow-core"),
        "Python": platform.python_version(),
        "lambda_executor": version("airflow-lambda-executor"),
        "AWS CDK library": version("aws-cdk-lib"),
        "AWS CDK CLI": json.loads(cli.read_text(encoding="utf-8"))["version"],
    }
