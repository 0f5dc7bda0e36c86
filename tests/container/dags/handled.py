"""What the container suite's image runs: tasks that tell of the container, or strain it."""

from __future__ import annotations

import importlib
import logging
import os
import time
from pathlib import Path

from airflow.sdk import dag, task


@dag(schedule=None)
def handled() -> None:
    """Runs nowhere but in the container suite."""

    @task
    def tells() -> dict[str, object]:
        """What a task finds around it."""
        refused = {}
        for folder in ("/", "/var/task", "/var/task/dags", "/var/lang/bin", "/usr/local/bin"):
            try:
                Path(folder, "written").write_text("x")
            except OSError as e:
                refused[folder] = e.strerror
        Path("/tmp/written").write_text("x")
        lines = Path("/proc/self/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines)
        return {
            "uid": os.getuid(),
            "gid": os.getgid(),
            "refused": refused,
            "capabilities": int(status["CapEff"], 16),
        }

    @task
    def outgrows() -> None:
        """Takes memory until there is no more."""
        taken = []
        while True:
            taken.append(os.urandom(1 << 20) * 16)

    @task
    def sleeps() -> None:
        """Takes longer than the function may."""
        logging.getLogger(__name__).info("sleeping")
        time.sleep(300)

    @task
    def imports() -> str:
        """Uses what the image got by its file of requirements."""
        words = importlib.import_module("humanize").intcomma(1_000_000)
        return str(words)

    tells() >> outgrows() >> sleeps() >> imports()


handled()
