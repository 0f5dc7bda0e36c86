"""The local file of a task's log, after the task.

A warm environment runs thousands of tasks, and its /tmp is small. The supervisor has uploaded the
log when remote logging is on, and the invocation's log stream holds a copy in any case.
"""

from __future__ import annotations

import os
from pathlib import Path

from airflow.configuration import conf

from lambda_image.logs import invocation_log


def discard_if_private(log_path: str | None) -> None:
    """Remove a task's log file if nobody outside this execution environment can read it.

    Never raises: the task is over, and its result is not told yet.

    That is so inside AIRFLOW_HOME. A log folder elsewhere is one that somebody set up for others
    to read (a mounted file system, the demo's shared folder): there the file stays.
    """
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
