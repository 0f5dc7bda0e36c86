"""The names of a stage's resources. Plain Python: `destroy.py` finds them without the CDK."""

from __future__ import annotations

APP = "airflow-lambda"

#: On everything that is part of a stage, with the stage's name.
STAGE_TAG = f"{APP}:stage"


def prefix(stage: str) -> str:
    """What the physical names of a stage begin with."""
    return f"{APP}-{stage}"


def folder(stage: str) -> str:
    """What the names of a stage begin with that are paths."""
    return f"{APP}/{stage}"
