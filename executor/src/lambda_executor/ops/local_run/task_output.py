"""The lines of the image's process, which are JSON, as a person reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

#: What is not worth a line of its own: it is about the process, not the task.
_QUIET = frozenset({"debug", "info"})
#: Airflow's UI folds what is between these.
_MARKS = ("::group::", "::endgroup::")


def lines(text: str) -> Iterator[str]:
    """Yield the readable lines of one line; none if it says nothing about the task."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        yield text
        return
    level, logger = str(found.get("level", "info")), str(found.get("logger", ""))
    if level in _QUIET and not logger.startswith("task"):
        return
    time = str(found.get("timestamp", ""))[11:19]
    name = "" if level == "info" else f"{level}: "
    if str(found.get("event", "")).startswith(_MARKS):
        return
    first, *more = str(found.get("event", "")).splitlines() or [""]
    yield f"{time} {name}{first}"
    for line in (*more, *_traces(found)):
        yield f"         {line}"


def _traces(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tracebacks as structlog writes them, with the cause last, as Python does."""
    for error in found.get("error_detail") or ():
        for frame in error.get("frames") or ():
            file, number = frame.get("filename"), frame.get("lineno")
            yield f'  File "{file}", line {number}, in {frame.get("name")}'
        yield f"{error.get('exc_type')}: {error.get('exc_value')}"
