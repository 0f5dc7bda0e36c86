"""Recognizes an event of an older try after its start, and gives the start back to Airflow.

Before Airflow 3.4 a try that was failed while it was queued leaves its id to the next one, so an
event of the first could start as the second. No answer to a start has the number of the try.
`docs/decisions/0030-repeated-calls.md` has the reasons.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from airflow.sdk.execution_time.comms import RescheduleTask

from lambda_image.runtime import compat
from lambda_image.runtime.api.attempts import one_attempt

log = structlog.get_logger(__name__)

#: Within so many seconds Airflow has not failed a queued try, waited and queued the next one.
_FRESH_S = 1.0


class StaleEventError(Exception):
    """The invocation is of an older try than the one that Airflow waits for."""


def give_back_if_stale(
    operations: Any,  # noqa: ANN401 - Airflow's type
    context: Any,  # noqa: ANN401 - Airflow's type
    ti: Any,  # noqa: ANN401 - Airflow's type
    waited_s: float | None,
    by_s: float,
) -> None:
    """Give the start of an older try back to Airflow, which queues its current try again.

    Args:
        operations: The `TaskInstanceOperations` of Airflow's client.
        context: Airflow's answer to the start.
        ti: The task of the event.
        waited_s: How long the event had waited for its start, if known.
        by_s: Until when a call may take, on the monotonic clock.

    Raises:
        StaleEventError: Airflow waits for another try.
    """
    if compat.VERSION >= (3, 4) or not _may_be_stale(context, ti, waited_s):
        return
    current = _current_try(operations, context, ti, by_s)
    if current is None or current == ti.try_number:
        return
    now = datetime.now(tz=UTC)
    operations.reschedule(ti.id, RescheduleTask(reschedule_date=now, end_date=now))
    raise StaleEventError(
        f"this event is of try {ti.try_number}, and Airflow waits for try {current}: nothing was "
        "run, and Airflow queues the current try again"
    )


def _may_be_stale(context: Any, ti: Any, waited_s: float | None) -> bool:  # noqa: ANN401
    if waited_s is not None and 0 <= waited_s < _FRESH_S:
        return False
    return bool(ti.try_number <= context.max_tries)


def _current_try(operations: Any, context: Any, ti: Any, by_s: float) -> int | None:  # noqa: ANN401
    """The number of Airflow's current try; None if nothing tells it.

    With `max_tries`, `should_retry` tells the last try from all others; since Airflow 3.2 another
    call has the number of a run's latest try.
    """
    if not context.should_retry:
        return int(context.max_tries) + 1
    at = context.dag_run.logical_date
    if not hasattr(operations, "get_previous") or at is None:
        return None
    try:
        with one_attempt(operations.client, by_s):
            found = operations.get_previous(
                dag_id=ti.dag_id,
                task_id=ti.task_id,
                logical_date=at + timedelta(microseconds=1),
                map_index=getattr(ti, "map_index", -1),
                state="running",
            ).task_instance
    except Exception as e:  # noqa: BLE001 - the start itself has succeeded
        log.warning("the current try is not known", reason=f"{type(e).__name__}: {e}")
        return None
    return found.try_number if found and found.run_id == ti.run_id else None
