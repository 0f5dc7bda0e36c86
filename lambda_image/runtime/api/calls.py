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

`docs/decisions/0030-repeated-calls.md` has the reasons.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial, wraps
from typing import Any

import structlog
from airflow.sdk.api import client as api_client

from lambda_executor.contract.lambda_limits import LONGEST_TIMEOUT_S
from lambda_image.deadline import Deadline
from lambda_image.runtime import compat
from lambda_image.runtime.api import connections, current_try, errors
from lambda_image.runtime.api.attempts import one_attempt
from lambda_image.runtime.api.current_try import StaleEventError

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

#: How long calls about a task's end are repeated if no deadline says so, in seconds from the first
#: one: as long as in a function with the longest time-out.
_MAX_END_S = float(LONGEST_TIMEOUT_S)

#: The wait before a repeated call, in seconds; it doubles.
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 8.0


class TaskCalls:
    """The calls of one workload, which `begin` starts.

    Attributes:
        start_error: Why Airflow did not accept the start; None if it did, or was not asked.
        state: The state that Airflow took from this start; None if there is none.
        asked: The last state that Airflow was asked for.
        not_notified: Why Airflow could not be notified of `asked`.
        refused: Airflow's refusal of `asked`: it has given the task another state.
        dismissed: Airflow's answer to a heartbeat that this process does not run the task any more.
    """

    def __init__(self) -> None:
        self._deadline: Deadline | None = None
        self._is_started = False
        self._ti: Any = None
        self._pid = 0
        self._forget()

    def _forget(self) -> None:
        self.start_error: Exception | None = None
        self.state: str | None = None
        self.asked: str | None = None
        self.not_notified: Exception | None = None
        self.refused: Exception | None = None
        self.dismissed: Exception | None = None
        self._no_later_s = math.inf

    def begin(self, deadline: Deadline, ti: Any = None) -> None:  # noqa: ANN401 - Airflow's type
        """Forget the last workload; `ti` is the task of this one, if it is one."""
        self._deadline, self._is_started, self._ti = deadline, False, ti
        self._forget()

    @property
    def _by_s(self) -> float:
        """Until when a call is repeated: while the start is not accepted, not as long as the end.

        It may come nearer while a call is repeated.
        """
        if self._deadline is None:
            return 0.0
        return self._deadline.notify_by_s if self._is_started else self._deadline.start_by_s

    @property
    def _end_by_s(self) -> float:
        """Until when a call about the end is repeated; all of them have one time."""
        return min(self._by_s, self._no_later_s)

    def not_notified_reason(self, server: str) -> str | None:
        """Why Airflow does not know how the task ended; None if it does."""
        if self.not_notified is None:
            return None
        why = errors.reason(self.not_notified, server)
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
            if self._ti is not None:
                waited_s = self._deadline.waited_s if self._deadline else None
                current_try.give_back_if_stale(operations, context, self._ti, waited_s, self._by_s)
            self._is_started = True
        except StaleEventError as e:
            self._forget()  # The state that gives the start back is not the task's.
            self.start_error = e
            raise
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
        self._no_later_s = min(self._no_later_s, time.monotonic() + _MAX_END_S)
        if self.not_notified is not None and time.monotonic() >= self._end_by_s:
            raise self.not_notified
        self.asked, self.not_notified, self.refused = state, None, None
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
                if is_lost and errors.is_not_ours(e) and self._has_arrived(e):
                    break
                if errors.is_not_ours(e):
                    self.refused = e
                    raise
                if not self._waits_for(e, wait_s, self._end_by_s):
                    self.not_notified = e
                    raise
                is_lost = is_lost or errors.may_have_arrived(e)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
        self.state, self.dismissed = state, None

    def _has_arrived(self, refusal: Exception) -> bool:
        """Whether an answer was lost and not the call, now that Airflow refuses a heartbeat."""
        holds = errors.state_in_airflow(refusal)
        return holds == self.asked or holds not in _CONTRADICTIONS

    @staticmethod
    def _waits_for(error: Exception, wait_s: float, by_s: float) -> bool:
        """Wait before the next attempt; returns False if there is none."""
        left_s = by_s - time.monotonic()
        if not errors.is_passing(error) or left_s <= 0:
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


def install(calls: TaskCalls) -> None:
    """Wrap the methods of Airflow's client, and keep its connections, for good."""
    connections.install()
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
        try:
            with one_attempt(self.client):
                stock_heartbeat(self, *args, **kwargs)
        except compat.http.HTTPError as e:
            if errors.is_not_ours(e):
                calls.dismissed = e
            raise

    operations.heartbeat = heartbeat


def _ending(calls: TaskCalls, stock: Callable[..., Any], state: str) -> Callable[..., None]:
    @wraps(stock)
    def end(self: Any, id: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        calls.end(self, id, state, partial(stock, self, id, *args, **kwargs))

    return end
