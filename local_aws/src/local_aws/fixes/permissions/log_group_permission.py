"""Permissions on a log group are granted on the ARN that ends with `:*`.

AWS checks calls to CloudWatch Logs, except those about tags, against `log-group:<name>:*`, and CDK
grants that ARN. ministack under `--auth` checks `log-group:<name>` and denies such a role.
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogGroup.html
"""

from __future__ import annotations

from typing import Any

from ministack.core import iam_actions


def apply() -> None:
    """Append `:*` to the ARN that ministack has found."""
    stock = iam_actions.extract_resource_arn

    def extract_resource_arn(*request: Any) -> str:  # noqa: ANN401 - passed through
        service, headers = request[0], request[3]
        arn = str(stock(*request))
        of_tags = "Tag" in headers.get("x-amz-target", "")
        return f"{arn}:*" if service == "logs" and ":log-group:" in arn and not of_tags else arn

    iam_actions.extract_resource_arn = extract_resource_arn
