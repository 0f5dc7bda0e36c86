"""Whether a job that failed is tried again.

https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html
https://docs.aws.amazon.com/batch/latest/APIReference/API_EvaluateOnExit.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_aws.batch_service.attempt import Ended


def is_retried(strategy: Mapping[str, Any], attempts: int, ended: Ended) -> bool:
    """Whether another attempt follows; the first condition that fits decides.

    Args:
        strategy: `retryStrategy` of the job.
        attempts: How many there were.
        ended: How the last one ended.
    """
    if ended.succeeded or ended.final or attempts >= strategy.get("attempts", 1):
        return False
    for condition in strategy.get("evaluateOnExit", []):
        if _fits(condition, ended):
            return str(condition["action"]).upper() == "RETRY"
    return True


def _fits(condition: Mapping[str, str], ended: Ended) -> bool:
    found = {
        "onStatusReason": ended.status_reason,
        "onReason": ended.reason or "",
        "onExitCode": "" if ended.exit_code is None else str(ended.exit_code),
    }
    return all(_matches(condition[name], text) for name, text in found.items() if name in condition)


def _matches(pattern: str, text: str) -> bool:
    """Whether a text is the pattern, or begins with it if it ends with an asterisk."""
    if pattern.endswith("*"):
        return text.lower().startswith(pattern[:-1].lower())
    return text.lower() == pattern.lower()
