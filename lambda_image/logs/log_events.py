"""Turns a task's log file into batches of events for CloudWatch Logs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_logs.type_defs import InputLogEventTypeDef

#: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
_MAX_EVENTS = 10_000
_MAX_BATCH_BYTES = 1_048_576
_EVENT_OVERHEAD_BYTES = 26
_MAX_EVENT_BYTES = 256 * 1024 - _EVENT_OVERHEAD_BYTES


def events(lines: Iterable[bytes]) -> Iterator[InputLogEventTypeDef]:
    """The lines of a log file as events, each with its own time."""
    at_ms = 0
    for line in lines:
        text = line.strip()
        if not text:
            continue
        at_ms = max(at_ms, _time_ms(text) or 0) or int(time.time() * 1000)
        readable = text.decode(errors="replace").encode()
        message = readable[:_MAX_EVENT_BYTES].decode(errors="ignore")
        yield {"timestamp": at_ms, "message": message}


def batches(
    found: Iterable[InputLogEventTypeDef],
) -> Iterator[list[InputLogEventTypeDef]]:
    """The events in as few batches as CloudWatch allows."""
    batch: list[InputLogEventTypeDef] = []
    size_bytes = 0
    for event in found:
        event_bytes = len(event["message"].encode()) + _EVENT_OVERHEAD_BYTES
        if len(batch) == _MAX_EVENTS or size_bytes + event_bytes > _MAX_BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
        batch.append(event)
        size_bytes += event_bytes
    if batch:
        yield batch


def _time_ms(line: bytes) -> int | None:
    try:
        return int(datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp() * 1000)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
