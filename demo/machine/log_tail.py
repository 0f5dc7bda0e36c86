"""The last lines of a program's log, for messages."""

from __future__ import annotations

from pathlib import Path

from demo import paths

LINES_SHOWN = 25


def log_tail(log: Path) -> str:
    """The last lines of a log, under its path."""
    try:
        text = log.read_text(errors="replace").splitlines()
    except OSError as e:
        return f"No log: {e}"
    shown = "\n".join(f"  | {line}" for line in text[-LINES_SHOWN:])
    return (
        f"The last lines of {paths.shown(log)}:\n{shown}"
        if shown
        else f"{paths.shown(log)} is empty."
    )
