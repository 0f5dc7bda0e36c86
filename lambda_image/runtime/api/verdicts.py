"""Turns what the calls about a task's start and end came to into a `Verdict`."""

from __future__ import annotations

import errno
import traceback
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeGuard

from airflow.sdk.api.client import ServerResponseError

from lambda_executor.contract.wire import Outcome
from lambda_image import host
from lambda_image.runtime import compat
from lambda_image.runtime.api import errors
from lambda_image.runtime.api.calls import TaskCalls
from lambda_image.runtime.api.current_try import StaleEventError
from lambda_image.runtime.compat import TaskAlreadyRunningError
from lambda_image.verdict import Verdict, crashed, duplicate, overtaken, rejected

#: States that end a try which Airflow does not let this start run. If the scheduler or a person has
#: set one, nobody else settles the invocation; if an earlier start has, settling it again changes
#: nothing. In any other state another start of the same try is the one that counts.
_FINAL_STATES = frozenset(
    {"success", "failed", "skipped", "up_for_retry", "upstream_failed", "removed"}
)


def of_calls(calls: TaskCalls, server: str, ended: Verdict | None) -> Verdict | None:
    """The verdict if Airflow did not take the task's start or its end; None if it did.

    Args:
        calls: The calls about this task.
        server: The URL of the Execution API.
        ended: How the task's process ended, if it did.
    """
    if calls.start_error is not None:
        return of_error(calls.start_error, server)
    verdict = of_end(calls, server, ended)
    if verdict is None and calls.dismissed is not None and _is_crashed(ended):
        return replace(ended, reason=_dismissal(calls.dismissed))
    return verdict


def of_end(calls: TaskCalls, server: str, ended: Verdict | None = None) -> Verdict | None:
    """The verdict if Airflow did not take the task's end, as `of_calls` has it; None if it did."""
    if why := calls.not_notified_reason(server):
        return of_unknown_end(why, ended)
    if calls.refused is not None:
        return _refused(calls.asked, calls.refused)
    return None


def of_error(error: Exception, server: str) -> Verdict:
    """The verdict when the supervisor could not start the task, or failed while it ran.

    Args:
        error: The supervisor's error.
        server: The URL of the Execution API.
    """
    if isinstance(error, (StaleEventError, TaskAlreadyRunningError)):
        other = "the same try of the task is already running elsewhere"
        return duplicate(str(error) if isinstance(error, StaleEventError) else other)
    if isinstance(error, ServerResponseError) and (state := _taken_state(error)):
        return _taken(state)
    if isinstance(error, compat.http.HTTPError):
        reason = errors.reason(error, server)
        return rejected(reason) if _before_start(error) else crashed(reason)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return crashed(
            f"the {host.name()}'s disk filled up while the task ran, and its log could not be "
            f"written: give the {host.name()} more ephemeral storage"
        )
    return crashed(f"the supervisor failed with {type(error).__name__}: {error}{place_of(error)}")


def of_unknown_end(why: str, ended: Verdict | None) -> Verdict:
    """The verdict when Airflow does not know how the task ended, by `ended` if that is known."""
    if ended is None:
        return crashed(why)
    is_late = ended.outcome is Outcome.DEADLINE
    outcome = Outcome.DEADLINE if is_late else Outcome.CRASHED
    return replace(ended.adding(why), outcome=outcome, return_code=ended.return_code or 1)


def _is_crashed(ended: Verdict | None) -> TypeGuard[Verdict]:
    return ended is not None and ended.outcome is Outcome.CRASHED


def _dismissal(answer: Exception) -> str:
    """Why a task was killed after Airflow's answer to a heartbeat, whatever signal killed it."""
    holds = errors.state_in_airflow(answer)
    now = f": it is {holds} now" if holds else ""
    return f"Airflow stopped it because its state was changed{now}"


def _refused(asked: str | None, refusal: Exception) -> Verdict:
    """The verdict when Airflow did not take the task's end: it had changed the task's state."""
    holds = errors.state_in_airflow(refusal)
    if holds in _FINAL_STATES:
        return overtaken(f"the task ended as {asked}, but Airflow had already set it to {holds}")
    if holds == "restarting":
        return crashed(f"the task ended as {asked}, but it was cleared while it ran")
    return duplicate(
        f"the task ended as {asked}, but Airflow does not wait for this start any more"
    )


def _taken(state: str) -> Verdict:
    """The verdict when Airflow refused the start because of the task's state."""
    if state in _FINAL_STATES:
        return overtaken(f"Airflow had already set the task's state to {state}")
    if state == "restarting" and compat.VERSION >= (3, 4):
        # Airflow clears queued tasks too, and goes on when it is notified of an end.
        return overtaken("the task was cleared before it was started")
    return duplicate(f"another start of the same try came first, its state is {state}")


def _taken_state(error: ServerResponseError) -> str | None:
    """The state because of which the API server refused to start the try (HTTP 409)."""
    detail = errors.detail(error)
    if error.response.status_code != HTTPStatus.CONFLICT:
        return None
    return str(detail.get("previous_state")) if detail.get("reason") == "invalid_state" else None


def _before_start(error: Any) -> bool:  # noqa: ANN401 - httpx's or httpx2's
    """Whether the failed call is the one that reports the task's start to Airflow."""
    try:
        return bool(error.request.url.path.endswith("/run"))
    except RuntimeError:  # No request: the client failed before it made one.
        return True


def place_of(error: BaseException) -> str:
    """Where an error was raised, in parentheses; empty if nobody knows."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" (in {frames[-1].name}, {Path(frames[-1].filename).name}:{frames[-1].lineno})"
