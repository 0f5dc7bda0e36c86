"""CloudWatch Logs: finding one line, and reading a stream from that line on, or from its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambda_executor.aws.clients import Clients

if TYPE_CHECKING:
    from mypy_boto3_logs.type_defs import (
        FilterLogEventsRequestTypeDef,
        GetLogEventsRequestTypeDef,
    )


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log stream."""

    stream: str
    at_ms: int  # Since the epoch.
    text: str


class LogGroup:
    """One log group. Every method raises `AwsError` when AWS does not answer."""

    def __init__(self, clients: Clients, name: str) -> None:
        self._clients = clients
        self.name = name

    def first(self, phrase: str, *, since_ms: int, pages: int = 5) -> LogLine | None:
        """Return the first line with a phrase; None: it is not in the first pages."""
        return next(self._search((phrase,), since_ms, pages), None)

    def first_with_all(
        self, phrases: Sequence[str], *, since_ms: int, pages: int = 5
    ) -> LogLine | None:
        """Return the first line that has all of some phrases; None: as with `first`."""
        found = self._search(phrases, since_ms, pages)
        return next((line for line in found if all(each in line.text for each in phrases)), None)

    def _search(self, phrases: Sequence[str], since_ms: int, pages: int) -> Iterator[LogLine]:
        """Yield the first lines of some pages.

        CloudWatch may answer with an empty page although more pages follow.
        """
        request: FilterLogEventsRequestTypeDef = {
            "logGroupName": self.name,
            "filterPattern": " ".join('"' + each.replace('"', '\\"') + '"' for each in phrases),
            "startTime": since_ms,
        }
        if len(phrases) == 1:
            request["limit"] = 1
        for _ in range(pages):
            with self._clients.errors():
                page = self._clients.logs.filter_log_events(**request)
            for event in page["events"]:
                yield _line(event["logStreamName"], event)
            if "nextToken" not in page:
                return
            request["nextToken"] = page["nextToken"]

    def read(self, stream: str, *, since_ms: int, until_s: float) -> Iterator[LogLine]:
        """Yield the existing lines of a stream, oldest first.

        After `until_s` on the monotonic clock no further page is requested.
        """
        request: GetLogEventsRequestTypeDef = {
            "logGroupName": self.name,
            "logStreamName": stream,
            "startTime": since_ms,
            "startFromHead": True,
        }
        while True:
            with self._clients.errors():
                page = self._clients.logs.get_log_events(**request)
            for event in page["events"]:
                yield _line(stream, event)
            following = page["nextForwardToken"]
            # At the end of the stream the token stays the same.
            # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
            if request.get("nextToken") == following or time.monotonic() >= until_s:
                return
            request["nextToken"] = following

    def newest_pages(self, stream: str, *, since_ms: int) -> Iterator[list[LogLine]]:
        """Yield the existing lines of a stream in pages: the newest page, then the one before it.

        Within a page the oldest line is first. A page may be empty although more pages follow.
        """
        request: GetLogEventsRequestTypeDef = {
            "logGroupName": self.name,
            "logStreamName": stream,
            "startTime": since_ms,
        }
        while True:
            with self._clients.errors():
                page = self._clients.logs.get_log_events(**request)
            yield [_line(stream, event) for event in page["events"]]
            before = page["nextBackwardToken"]
            if request.get("nextToken") == before:  # As at the other end.
                return
            request["nextToken"] = before


def _line(stream: str, event: Mapping[str, Any]) -> LogLine:
    return LogLine(stream, event["timestamp"], event["message"].rstrip("\n"))
