"""The supported minor versions of Airflow, each in its own venv."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.handler_process import ROOT

#: The dependency group of each version; None: the development environment has it.
VENVS = {
    "3.0": "airflow-oldest",
    "3.1": "airflow-3-1",
    "3.2": "airflow-3-2",
    "3.3": None,
    "3.4": "airflow-3-4",
}


def python_of(minor: str) -> Path:
    """The interpreter that has this version."""
    venv = VENVS[minor]
    if venv is None:
        return Path(sys.executable)
    python = ROOT / "build" / "venv" / venv / "bin" / "python"
    if not python.exists():
        message = f"no {python.relative_to(ROOT)}: `make test` makes it"
        if "CI" in os.environ:
            pytest.fail(message)
        pytest.skip(message)
    return python
