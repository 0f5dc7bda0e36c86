"""Log streams in ministack's CloudWatch Logs."""

from __future__ import annotations

from dataclasses import dataclass

from ministack.services import cloudwatch_logs

from local_aws.lambda_service.model import FunctionVersion
from local_aws.on_ministack import function_records


@dataclass(slots=True)
class CloudWatchStream:
    """A log stream, made with its log group when first needed.

    Unlike on AWS, an environment whose function was deleted does not recreate a deleted log group:
    nothing of a destroyed stack must be left.
    """

    function: FunctionVersion
    name: str

    def append(self, lines: list[tuple[int, str]]) -> None:
        """Add lines, each with its time in milliseconds since the epoch."""
        scope = (self.function.account, self.function.region)
        group_name = self.function.log_group
        groups = cloudwatch_logs._log_groups
        now_ms = lines[-1][0]
        group = groups.get_scoped(*scope, group_name)
        if group is None and not function_records.exists(self.function.function_key):
            return
        if group is None:
            group = {
                "arn": f"arn:aws:logs:{scope[1]}:{scope[0]}:log-group:{group_name}:*",
                "creationTime": now_ms,
                "retentionInDays": None,
                "tags": {},
                "subscriptionFilters": {},
                "streams": {},
            }
            groups.set_scoped(*scope, group_name, group)
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
