"""The local log file of a task: written for a task that was not started, removed after every one.

Airflow's supervisor writes and uploads the log of a task that it starts. For a task that the
handler rejects nobody would, and Airflow's UI would only say that there is no log.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from airflow.configuration import conf
from airflow.sdk import log as airflow_log

from lambda_image.logs import invocation_log


def leads_out(path: str) -> bool:
    """Whether a path leads out of the folder that it is joined to.

    Whoever may invoke the function may name any path, without a token that Airflow signed.
    """
    pure = PurePosixPath(path)
    return pure.is_absolute() or ".." in pure.parts or "\0" in path


def write(log_path: str, text: str, level: str = "info") -> bool:
    """Add a line to a task's local log file; return whether that worked, and never raise."""
    if leads_out(log_path):
        return False
    now = datetime.now(UTC).isoformat()
    line = {"timestamp": now, "level": level, "event": text, "logger": "task"}
    try:
        with airflow_log.init_log_file(log_path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except Exception as e:  # noqa: BLE001 - the folder is made by Airflow, the disk may be full
        invocation_log.write("warning", "the task's log cannot be written", error=str(e))
        return False
    return True


def explain(
    log_path: str,
    reason: str,
    ti: Any,  # noqa: ANN401 - Airflow's type
    level: str = "error",
) -> None:
    """Add the reason why a task was not run to its log, and upload it; never raises."""
    if not write(log_path, reason, level):
        return
    try:
        if (remote := airflow_log.load_remote_log_handler()) is not None:
            remote.upload(log_path, ti)
    except Exception as e:  # noqa: BLE001 - an uploader is anybody's code, and the reason is reported
        invocation_log.write("warning", "the task's log cannot be written", error=str(e))


def discard_if_private(log_path: str | None) -> None:
    """Remove a task's log file, unless it lies outside AIRFLOW_HOME, for others; never raises."""
    if not log_path or leads_out(log_path):
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
