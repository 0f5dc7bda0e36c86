"""What Amazon ECS tells a container about itself; AWS Batch runs its jobs there too.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

#: The variable with the address of the endpoint, which is on this machine.
METADATA = "ECS_CONTAINER_METADATA_URI_V4"

#: What one attempt may take, how many there are, and the pause between them, in seconds.
_TIMEOUT_S = 2
_ATTEMPTS = 3
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Container:
    """A container of an ECS task; a field is None if nothing tells it.

    Attributes:
        task_arn: The task's.
        log_stream: Where its output goes, with the log driver `awslogs`.
        memory_mb: The container's memory, or else the task's, in MiB.
    """

    task_arn: str | None = None
    log_stream: str | None = None
    memory_mb: int | None = None

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Container:
        """Ask the endpoint, if there is one; never raises."""
        if not (address := environ.get(METADATA)):
            return cls()
        return cls.of(_get(address), _get(f"{address}/task"))

    @classmethod
    def of(cls, container: object, task: object) -> Container:
        """Read the answers about the container and about its task, of any shape."""
        memory = _field(container, "Limits", "Memory") or _field(task, "Limits", "Memory")
        return cls(
            _text(_field(task, "TaskARN")),
            _text(_field(container, "LogOptions", "awslogs-stream")),
            memory if type(memory) is int and memory > 0 else None,
        )

    @property
    def task_id(self) -> str | None:
        """The last part of the task's ARN, which is unique in the account."""
        return self.task_arn.rpartition("/")[2] if self.task_arn else None

    @property
    def region(self) -> str | None:
        """The Region of the task."""
        parts = (self.task_arn or "").split(":")
        return (parts[3] or None) if len(parts) > 3 else None  # noqa: PLR2004 - of an ARN


def _get(url: str) -> object:
    """The answer of the endpoint; None if it gives none.

    It is asked again: on an instance nothing else tells the Region, without which no result is
    sent.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S)
        with (
            contextlib.suppress(OSError, ValueError, RecursionError, http.client.HTTPException),
            opener.open(url, timeout=_TIMEOUT_S) as answer,
        ):
            return cast("object", json.load(answer))
    return None


def _field(given: Any, *names: str) -> object:  # noqa: ANN401 - any JSON
    for name in names:
        given = given.get(name) if isinstance(given, Mapping) else None
    return given


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
