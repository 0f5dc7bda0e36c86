"""The names of a stage's resources, in plain Python: for programs without the CDK."""

from __future__ import annotations

APP = "airflow-lambda"

#: Every resource of a stage has this tag, with the stage's name.
STAGE_TAG = f"{APP}:stage"


def prefix(stage: str) -> str:
    """The physical names of a stage begin with it."""
    return f"{APP}-{stage}"


def folder(stage: str) -> str:
    """The names of a stage that are paths begin with it."""
    return f"{APP}/{stage}"
