"""A batch call to SQS needs the permission of its single call.

AWS has no action `sqs:DeleteMessageBatch`: `sqs:DeleteMessage` covers both calls, and so do
`SendMessage` and `ChangeMessageVisibility`. ministack under `--auth` requires the batch's name.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
"""

from __future__ import annotations

from typing import Any

from ministack.core import iam_actions


def apply() -> None:
    """Remove `Batch` from the name of an SQS action."""
    stock = iam_actions.extract_iam_action

    def extract_iam_action(*request: Any) -> str | None:  # noqa: ANN401 - passed through
        action: str | None = stock(*request)
        if action and action.startswith("sqs:"):
            return action.removesuffix("Batch")
        return action

    iam_actions.extract_iam_action = extract_iam_action
