"""The `aws` command, which pages take for granted."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

from demo import paths

AWS_CLI = "awscli==1.46.3"


def aws_cli() -> Path:
    """Return the folder of the command; the first of several processes installs it."""
    venv = paths.ROOT / "build" / "venv" / f"aws-cli-{AWS_CLI.rpartition('=')[2]}"
    venv.parent.mkdir(parents=True, exist_ok=True)
    with venv.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (venv / "complete").exists():
            subprocess.run([paths.UV, "venv", "--quiet", "--clear", venv], check=True)
            subprocess.run(
                [paths.UV, "pip", "install", "--quiet", "--python", venv, AWS_CLI], check=True
            )
            (venv / "complete").touch()
    return venv / "bin"
