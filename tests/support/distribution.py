"""The executor as an installed distribution, for an interpreter that does not have it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXECUTOR = ROOT / "executor"


def installed(folder: Path) -> str:
    """Write the metadata that an installer would; returns the `PYTHONPATH` that has all of it."""
    project = tomllib.loads((EXECUTOR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())])
        for group, entries in project["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n\n".join(groups) + "\n")
    return f"{folder}:{EXECUTOR / 'src'}"


def airflow_variables(home: Path, python_path: str) -> Mapping[str, str]:
    """The environment of one of Airflow's programs, with its own empty home."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__EXECUTOR": "lambda_executor.LambdaExecutor",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AWS_EC2_METADATA_DISABLED": "true",
        "COLUMNS": "200",
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": python_path,
    }
