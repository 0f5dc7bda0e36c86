"""The supervisor's calls about a task's start and end: repeated in time, and remembered.

Every supported Airflow makes these calls through `TaskInstanceOperations`. `install` wraps its
methods in the running process:

- The start is repeated until Airflow accepts it: an API server that is away for minutes costs no
  try of a task. A second start with the same host name, user and process id is the same start to
  the API server (`ti_run` in airflow/api_fastapi/execution_api/routes/task_instances.py).
- The end is repeated as long as the deadline allows. Its answer may have been lost, and by then
  another process may run the rest of a deferred task: a heartbeat asks first whether Airflow still
  holds this process as running.
- A heartbeat is sent once, as since Airflow 3.4: the supervisor sends the next one soon.

`docs/decisions/0030-calls-that-airflow-must-hear.md` has the reasons.
"""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from typing import Any

import structlog
from airflow.sdk.api import client as api_client
from airflow.sdk.execution_time.comms import RescheduleTask

from lambda_image.deadline import Deadline
from lambda_image.runtime import api_errors, compat

log = structlog.get_logger(__name__)

#: The methods that end a task's start, with the state that they ask for; `finish` is given its own.
_ENDS = {
    "succeed": "success",
    "retry": "up_for_retry",
    "defer": "deferred",
    "reschedule": "up_for_reschedule",
    "await_input": "awaiting_input",  # Since Airflow 3.3.
}
_FINISHED = frozenset({"failed", "skipped", "removed"})

#: States in Airflow which show that a lost call about another state has not arrived.
_CONTRADICTIONS = frozenset({"success", "failed", "skipped", "restarting"})

#: The wait before a repeated call, in seconds; it doubles.
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 8.0
#: What an attempt gets at least, in seconds, even if the time is over.
_LEAST_ATTEMPT_S = 0.5

#: Within so many seconds Airflow has not failed a queued try, waited and queued the next one.
_FRESH_S = 1.0


class StaleEventError(Exception):
    """The invocation is of an older try than the one that Airflow waits for."""


class TaskCalls:
    """The calls of one workload, which `begin` starts.

    Attributes:
        start_error: Why Airflow did not accept the start; None if it did, or was not asked.
        state: The state that Airflow took from this start; None if there is none.
        asked: The last state that Airflow was asked for.
        unheard: Why Airflow could not be notified of `asked`.
        refused: Airflow's refusal of `asked`: it has given the task another state.
    """

    def __init__(self) -> None:
        self._by_s = self._end_by_s = 0.0
        self._waited_s: float | None = None
        self._ti: Any = None
        self._pid = 0
        self._forget()

    def _forget(self) -> None:
        self.start_error: Exception | None = None
        self.state: str | None = None
        self.asked: str | None = None
        self.unheard: Exception | None = None
        self.refused: Exception | None = None

    def begin(self, deadline: Deadline, ti: Any = None) -> None:  # noqa: ANN401 - Airflow's type
        """Forget the last workload; `ti` is the task of this one, if it is one."""
        #: Until when a call is repeated: while the start is not accepted, not as long as the end.
        self._by_s, self._end_by_s = deadline.start_by_s, deadline.notify_by_s
        self._waited_s, self._ti = deadline.waited_s, ti
        self._forget()

    def unheard_reason(self, server: str) -> str | None:
        """Why Airflow does not know how the task ended; None if it does."""
        if self.unheard is None:
            return None
        why = api_errors.reason(self.unheard, server)
        return f"the task ended as {self.asked}, but Airflow could not be notified: {why}"

    def start(self, operations: Any, pid: int, call: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Have Airflow accept the start; returns its context."""
        self._pid = pid
        wait_s = _FIRST_WAIT_S
        try:
            while True:
                try:
                    with one_attempt(operations.client, self._by_s):
                        context = call()
                    break
                except compat.http.HTTPError as e:
                    if not self._waits_for(e, wait_s, self._by_s):
                        raise
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            self._give_back_if_stale(operations, context)
            self._by_s = self._end_by_s
        except Exception as e:
            self.start_error = e
            raise
        return context

    def end(
        self,
        operations: Any,  # noqa: ANN401 - Airflow's type
        id: Any,  # noqa: ANN401 - Airflow's type
        state: str,
        call: Callable[[], Any],
    ) -> None:
        """Notify Airflow of the state with which the task ended."""
        if self.unheard is not None and time.monotonic() >= self._by_s:
            raise self.unheard
        self.asked, self.unheard, self.refused = state, None, None
        wait_s, is_lost = _FIRST_WAIT_S, False
        while True:
            try:
                with one_attempt(operations.client, self._by_s):
                    if is_lost:
                        operations.heartbeat(id, pid=self._pid)
                        is_lost = False
                    call()
                break
            except compat.http.HTTPError as e:
                if is_lost and api_errors.is_not_ours(e) and self._has_arrived(e):
                    break
                if api_errors.is_not_ours(e):
                    self.refused = e
                    raise
                if not self._waits_for(e, wait_s, self._by_s):
                    self.unheard = e
                    raise
                is_lost = is_lost or api_errors.may_have_arrived(e)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
        self.state = state

    def _has_arrived(self, refusal: Exception) -> bool:
        """Whether an answer was lost and not the call, now that Airflow refuses a heartbeat."""
        holds = api_errors.state_in_airflow(refusal)
        return holds == self.asked or holds not in _CONTRADICTIONS

    @staticmethod
    def _waits_for(error: Exception, wait_s: float, by_s: float) -> bool:
        """Wait before the next attempt; returns False if there is none."""
        left_s = by_s - time.monotonic()
        if not api_errors.is_passing(error) or left_s <= 0:
            return False
        pause_s = min(left_s, wait_s * random.uniform(0.75, 1.25))  # noqa: S311 - spreads calls
        log.warning(
            "the Execution API is called again",
            reason=f"{type(error).__name__}: {error}",
            in_s=round(pause_s, 1),
            for_s=round(left_s, 1),
        )
        time.sleep(pause_s)
        return True

    def _give_back_if_stale(self, operations: Any, context: Any) -> None:  # noqa: ANN401
        """Give the start of an older try back to Airflow, which queues its current try again.

        Raises:
            StaleEventError: Airflow waits for another try.
        """
        current = self._current_try(operations, context)
        if current is None or current == self._ti.try_number:
            return
        now = datetime.now(tz=UTC)
        operations.reschedule(self._ti.id, RescheduleTask(reschedule_date=now, end_date=now))
        self._forget()
        raise StaleEventError(
            f"this event is of try {self._ti.try_number}, and Airflow waits for try {current}: "
            "nothing was run, and Airflow queues the current try again"
        )

    def _current_try(self, operations: Any, context: Any) -> int | None:  # noqa: ANN401
        """The number of Airflow's current try, as far as it can differ from the event's.

        Before Airflow 3.4 a try that was failed while it was queued leaves its id to the next one.
        No answer to a start has the number. With `max_tries`, `should_retry` tells the last try
        from all others; since Airflow 3.2 another call has the number of a run's latest try.
        """
        if compat.VERSION >= (3, 4) or self._ti is None or not self._may_be_stale(context):
            return None
        if not context.should_retry:
            return int(context.max_tries) + 1
        at = context.dag_run.logical_date
        if not hasattr(operations, "get_previous") or at is None:
            return None
        try:
            with one_attempt(operations.client, self._by_s):
                found = operations.get_previous(
                    dag_id=self._ti.dag_id,
                    task_id=self._ti.task_id,
                    logical_date=at + timedelta(microseconds=1),
                    map_index=getattr(self._ti, "map_index", -1),
                    state="running",
                ).task_instance
        except Exception as e:  # noqa: BLE001 - the start itself has succeeded
            log.warning("the current try is not known", reason=f"{type(e).__name__}: {e}")
            return None
        return found.try_number if found and found.run_id == self._ti.run_id else None

    def _may_be_stale(self, context: Any) -> bool:  # noqa: ANN401 - Airflow's type
        if self._waited_s is not None and 0 <= self._waited_s < _FRESH_S:
            return False
        return bool(self._ti.try_number <= context.max_tries)


def install(calls: TaskCalls) -> None:
    """Wrap the methods of Airflow's client, for good."""
    operations: Any = api_client.TaskInstanceOperations
    stock_start, stock_finish = operations.start, operations.finish

    @wraps(stock_start)
    def start(self: Any, id: Any, pid: int, when: datetime) -> Any:  # noqa: ANN401
        return calls.start(self, pid, partial(stock_start, self, id, pid, when))

    @wraps(stock_finish)
    def finish(self: Any, id: Any, state: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        call = partial(stock_finish, self, id, state, *args, **kwargs)
        name = getattr(state, "value", state)
        calls.end(self, id, name, call) if name in _FINISHED else call()

    operations.start, operations.finish = start, finish
    for name, state in _ENDS.items():
        if hasattr(operations, name):
            setattr(operations, name, _ending(calls, getattr(operations, name), state))
    stock_heartbeat = operations.heartbeat

    @wraps(stock_heartbeat)
    def heartbeat(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        with one_attempt(self.client):
            stock_heartbeat(self, *args, **kwargs)

    operations.heartbeat = heartbeat


def _ending(calls: TaskCalls, stock: Callable[..., Any], state: str) -> Callable[..., None]:
    @wraps(stock)
    def end(self: Any, id: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        calls.end(self, id, state, partial(stock, self, id, *args, **kwargs))

    return end


@contextmanager
def one_attempt(client: Any, by_s: float | None = None) -> Iterator[None]:  # noqa: ANN401
    """Let a client call once, where Airflow's would repeat, and wait only until `by_s`."""
    request = type(client).request
    before, stock_timeout = vars(client).get("request"), client.timeout
    if "retry" in inspect.signature(request).parameters:  # Since Airflow 3.4.
        client.request = partial(request, client, retry=False)
    else:
        client.request = partial(request.__wrapped__, client)
    if by_s is not None:
        left_s = max(_LEAST_ATTEMPT_S, by_s - time.monotonic())
        client.timeout = min(left_s, stock_timeout.read or left_s)
    try:
        yield
    finally:
        client.timeout = stock_timeout
        if before is None:
            del client.request
        else:
            client.request = before
