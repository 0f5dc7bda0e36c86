"""Log streams in ministack's CloudWatch Logs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ministack.services import cloudwatch_logs

from local_aws.lambda_service.model import FunctionVersion
from local_aws.on_ministack import function_records


@dataclass(frozen=True, slots=True)
class CloudWatchStream:
    """A log stream, made with its log group when first needed.

    Unlike on AWS, what runs of a deleted function or image does not recreate a deleted log group:
    nothing of a destroyed stack must be left.

    Attributes:
        may_make_group: Whether what it belongs to still exists.
    """

    account: str
    region: str
    group: str
    name: str
    may_make_group: Callable[[], bool]

    def append(self, lines: list[tuple[int, str]]) -> None:
        """Add lines, each with its time in milliseconds since the epoch."""
        scope = (self.account, self.region)
        groups = cloudwatch_logs._log_groups
        now_ms = lines[-1][0]
        group = groups.get_scoped(*scope, self.group)
        if group is None and not self.may_make_group():
            return
        if group is None:
            group = {
                "arn": f"arn:aws:logs:{self.region}:{self.account}:log-group:{self.group}:*",
                "creationTime": now_ms,
                "retentionInDays": None,
                "tags": {},
                "subscriptionFilters": {},
                "streams": {},
            }
            groups.set_scoped(*scope, self.group, group)
        stream = group["streams"].setdefault(
            self.name,
            {
                "events": [],
                "uploadSequenceToken": "1",
                "creationTime": now_ms,
                "firstEventTimestamp": None,
                "lastEventTimestamp": None,
                "lastIngestionTime": None,
            },
        )
        cloudwatch_logs._append_log_events(
            stream,
            [{"timestamp": at, "message": line, "ingestionTime": at} for at, line in lines],
        )


def function_stream(function: FunctionVersion, name: str) -> CloudWatchStream:
    """A stream of a function's log group."""
    exists = partial(function_records.exists, function.function_key)
    return CloudWatchStream(function.account, function.region, function.log_group, name, exists)
