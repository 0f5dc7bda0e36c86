"""What an operator types."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from demo import paths
from demo.installation.environment import Environment

TIMEOUT_S = 90.0


def command(here: Environment, *words: str) -> tuple[int, Any]:
    """Run `airflow lambda-executor <words> --json` where the scheduler runs."""
    program = here.airflow.program("scheduler")
    done = subprocess.run(
        [paths.AIRFLOW, "lambda-executor", *words, "--json"],
        env=dict(program.environment),
        cwd=program.cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)
