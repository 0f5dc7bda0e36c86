"""Shared by the fixes that read a request before ministack does."""

from __future__ import annotations

import contextlib
import json
from typing import Any


def request_of(body: bytes) -> dict[str, Any]:
    """A request's parameters; of an invalid one, which ministack refuses, there are none."""
    with contextlib.suppress(ValueError):
        given = json.loads(body)
        if isinstance(given, dict):
            return given
    return {}


def operation(path: str, headers: dict[str, str]) -> str:
    """An operation's name: of the header or, in lower case, of the path's end."""
    target = headers.get("x-amz-target", "")
    return target.rpartition(".")[2] or path.rstrip("/").rpartition("/")[2].lower()
