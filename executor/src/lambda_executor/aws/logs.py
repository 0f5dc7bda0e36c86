"""CloudWatch Logs: finding one line, and reading a stream from that line on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        """Return the first line with a phrase; None: it is not in the first pages.

        CloudWatch may answer with an empty page although more pages follow.
        """
        request: FilterLogEventsRequestTypeDef = {
            "logGroupName": self.name,
            "filterPattern": '"' + phrase.replace('"', '\\"') + '"',
            "startTime": since_ms,
            "limit": 1,
        }
        for _ in range(pages):
            with self._clients.errors():
                page = self._clients.logs.filter_log_events(**request)
            for event in page["events"]:
                return LogLine(event["logStreamName"], event["timestamp"], event["message"])
            if "nextToken" not in page:
                break
            request["nextToken"] = page["nextToken"]
        return None

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
                yield LogLine(stream, event["timestamp"], event["message"].rstrip("\n"))
            following = page["nextForwardToken"]
            # At the end of the stream the token stays the same.
            # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
            if request.get("nextToken") == following or time.monotonic() >= until_s:
                return
            request["nextToken"] = following
