"""FilterLogEvents returns every event, page by page.

On AWS a page ends at the `limit`, which is at most 10,000 events, or at 1 MB. A page may be partly
full or empty; only an answer without `nextToken` is the last. `logStreamNamePrefix` limits the
streams, and with `startFromHead` false the newest event is the first. ministack has one page, never
a token, and ignores these two parameters.
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html

Unlike on AWS, where a token expires after 24 hours, a token here does not expire.
"""

from __future__ import annotations

import base64
import heapq
import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ministack.core.responses import error_response_json, json_response
from ministack.services import cloudwatch_logs as logs

_MAX_EVENTS = 10_000
_MAX_BYTES = 1024 * 1024


class _Place(NamedTuple):
    """Where an event is in the order of all; events that are logged later do not move it."""

    timestamp: int
    ingestion_time: int
    stream: str
    #: Counts the events of this stream and timestamp.
    number: int


class _InvalidError(Exception):
    """The request is invalid; the message is AWS's."""


def apply() -> None:
    """Replace the operation."""
    logs._filter_log_events = _filter_log_events


def _filter_log_events(request: dict[str, Any]) -> tuple[Any, ...]:
    group = logs._log_groups.get(logs._resolve_log_group_name(request))
    if group is None:
        missing = f"The specified log group does not exist: {logs._resolve_log_group_name(request)}"
        return tuple(error_response_json("ResourceNotFoundException", missing, 400))
    try:
        return tuple(json_response({**_page(group["streams"], request), "searchedLogStreams": []}))
    except _InvalidError as e:
        return tuple(error_response_json("InvalidParameterException", str(e), 400))


def _page(streams: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """The events of one page and, if there may be more, the token of the next."""
    limit = request.get("limit", _MAX_EVENTS)
    if not 1 <= limit <= _MAX_EVENTS:
        raise _InvalidError(f"The limit is {limit}: it must be between 1 and {_MAX_EVENTS}.")
    oldest_first, last = _read_token(request)
    start, end = request.get("startTime"), request.get("endTime")
    if last and oldest_first:
        start = max(last.timestamp, start or 0)
    elif last:
        end = last.timestamp if end is None else min(last.timestamp, end)
    matches = logs._compile_filter_pattern(request.get("filterPattern", ""))
    events: list[dict[str, Any]] = []
    size = 0
    ranges = (_between(name, streams[name], start, end) for name in _chosen(streams, request))
    # Lazily, because a page needs only a few of many.
    in_order = (
        heapq.merge(*ranges)
        if oldest_first
        else heapq.merge(*(reversed([*events]) for events in ranges), reverse=True)
    )
    for place, event in in_order:
        if last and (place <= last if oldest_first else place >= last):
            continue
        if matches(event["message"]):
            size += len(event["message"].encode())
            if len(events) == limit or (events and size > _MAX_BYTES):
                return {"events": events, "nextToken": _token(oldest_first, last)}
            events.append({**event, "logStreamName": place.stream})
        last = place
    return {"events": events}


def _chosen(streams: Mapping[str, Any], request: Mapping[str, Any]) -> list[str]:
    names, prefix = request.get("logStreamNames"), request.get("logStreamNamePrefix")
    if names and prefix:
        raise _InvalidError("logStreamNames and logStreamNamePrefix exclude each other: give one.")
    return [
        name
        for name in list(streams)
        if (not names or name in names) and name.startswith(prefix or "")
    ]


def _between(
    name: str, stream: Mapping[str, Any], start: int | None, end: int | None
) -> Iterator[tuple[_Place, Mapping[str, Any]]]:
    """A stream's events of a time range, with both ends, in milliseconds since the epoch."""
    with logs._log_events_lock:
        history = stream["events"]
        size = len(history)
    times = logs._event_timestamp
    first = 0 if start is None else bisect_left(history, start, hi=size, key=times)
    behind = size if end is None else bisect_right(history, end, hi=size, key=times)
    number, timestamp = 0, None
    for index in range(first, behind):
        event = history[index]
        number = number + 1 if event["timestamp"] == timestamp else 0
        timestamp = event["timestamp"]
        yield _Place(timestamp, event["ingestionTime"], name, number), event


def _token(oldest_first: bool, last: _Place | None) -> str:
    return base64.urlsafe_b64encode(json.dumps([oldest_first, last]).encode()).decode()


def _read_token(request: Mapping[str, Any]) -> tuple[bool, _Place | None]:
    """The direction, and the last event of the page before; without a token, the first page's."""
    if "nextToken" not in request:
        return bool(request.get("startFromHead", True)), None
    try:
        oldest_first, (timestamp, ingestion_time, stream, number) = json.loads(
            base64.urlsafe_b64decode(request["nextToken"])
        )
        return bool(oldest_first), _Place(
            int(timestamp), int(ingestion_time), str(stream), int(number)
        )
    except (ValueError, TypeError):
        raise _InvalidError("The specified nextToken is invalid.") from None
