"""Removes the local log file of a finished task, so that thousands of tasks do not fill /tmp.

Remote logging has uploaded the log by then, and the log stream always holds a copy.
"""

from __future__ import annotations

import os
from pathlib import Path

from airflow.configuration import conf

from lambda_image.logs import invocation_log


def discard_if_private(log_path: str | None) -> None:
    """Remove a task's log file, unless it lies outside AIRFLOW_HOME, for others; never raises."""
    if not log_path:
        return
    base = Path(conf.get("logging", "base_log_folder")).resolve()
    if not base.is_relative_to(Path(os.environ["AIRFLOW_HOME"]).resolve()):
        return
    file = base / log_path
    try:
        file.unlink(missing_ok=True)
    except OSError as e:
        invocation_log.write("warning", "the task's log file cannot be removed", error=str(e))
        return
    for folder in file.parents:
        if folder == base:
            return
        try:
            folder.rmdir()
        except OSError:  # Not empty, or gone.
            return
