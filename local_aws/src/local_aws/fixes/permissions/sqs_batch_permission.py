"""A batch call to SQS is permitted by the action of its single call.

AWS has no `sqs:DeleteMessageBatch` to grant: `sqs:DeleteMessage` covers both, and likewise
`SendMessage` and `ChangeMessageVisibility`. ministack under `--auth` looks for the batch call's own
name, so a role with AWS's actions can receive messages and never delete them.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ministack.core import iam_actions

if TYPE_CHECKING:
    from local_aws.images.store import ImageStore


def apply(_images: ImageStore) -> None:
    """Name the single call's action, leave the rest to ministack."""
    stock = iam_actions.extract_iam_action

    def extract_iam_action(*request: Any) -> str | None:  # noqa: ANN401 - passed through
        action: str | None = stock(*request)
        if action and action.startswith("sqs:"):
            return action.removesuffix("Batch")
        return action

    iam_actions.extract_iam_action = extract_iam_action
