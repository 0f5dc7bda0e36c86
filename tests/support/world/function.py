"""An in-memory Lambda whose events the test starts, expires, finishes and kills."""

from __future__ import annotations

from collections.abc import Mapping

from lambda_executor.contract.wire import Invocation, InvocationId, Outcome, Result
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.testing import MemoryFunction, MemoryQueue
from tests.support.world.airflow import Airflow

DEAD_LETTERS = "dead-letters"


class Lambda(MemoryFunction):
    """A function whose handler asks Airflow before it starts anything.

    Airflow would accept every start of a callback. Here a second copy of one is ignored, which is
    not true to life.

    Attributes:
        events: The events that were taken and not started, with copies delivered by mistake.
        runs: The running invocations, by id.
    """

    def __init__(self, airflow: Airflow, queues: Mapping[str, MemoryQueue]) -> None:
        super().__init__()
        self.events: list[Invocation] = []
        self.runs: dict[InvocationId, Invocation] = {}
        self._begun: set[InvocationId] = set()
        self._airflow = airflow
        self._queues = queues

    def invoke(self, target: FunctionTarget, payload: bytes) -> None:
        """Take an event, or fail, or take it and lose the answer."""
        before = len(self.invocations)
        try:
            super().invoke(target, payload)
        finally:
            self.events += self.invocations[before:]

    def is_under_way(self, id: InvocationId) -> bool:
        """Whether an invocation waits for its only start, or runs."""
        waits = id not in self._begun and any(event.id == id for event in self.events)
        return waits or id in self.runs

    def start(self, number: int) -> None:
        """Start one of the events."""
        event = self.events.pop(number)
        row = self._airflow.current(event.id)
        if row and row.is_callback:
            if event.id not in self._begun:
                self.runs[event.id] = event
        elif row and row.state == "queued":
            row.state = "running"
            self.runs[event.id] = event
            if event.id != row.id:  # A late copy of the first half's event.
                self._airflow.silent.add(row.id)
        elif row and row.state == "running":
            self._reply(event, Result(event.id, 0, Outcome.DUPLICATE))
        else:
            self._reply(event, Result(event.id, 0, reason="the task has ended"))
        self._begun.add(event.id)

    def expire(self, number: int, reason: str) -> None:
        """Give up on one of the events."""
        event = self.events.pop(number)
        row, _ = self._airflow.row_of[event.id]
        if not (row.is_callback and event.id in self._begun):
            self._give_up(event, reason)
        self._begun.add(event.id)

    def finish(
        self, id: InvocationId, state: str, return_code: int, *, is_named: bool = False
    ) -> None:
        """End a run with a result, after storing the state of its task.

        Args:
            id: The invocation.
            state: The state.
            return_code: The handler's return code.
            is_named: Whether the result of a task names the state, as our handler's does if it
                knows it.
        """
        event = self.runs.pop(id)
        row = self._airflow.current(id)
        is_task = row is not None and not row.is_callback
        if row and is_task and row.state == "running":
            row.state = state
        named = state if is_named and is_task else None
        self._reply(event, Result(id, return_code, task_state=named))

    def kill(self, id: InvocationId, reason: str) -> None:
        """End a run without a result; Lambda sends a dead letter."""
        self._give_up(self.runs.pop(id), reason)

    def end_all(self, id: InvocationId) -> None:
        """End all starts and events of an invocation: its time is over."""
        for number in reversed([n for n, event in enumerate(self.events) if event.id == id]):
            self.expire(number, "EventAgeExceeded")
        if id in self.runs:
            self.kill(id, "Task timed out after 900.00 seconds")

    def has_taken(self, id: InvocationId) -> bool:
        """Whether the function ever took an invocation."""
        return any(invocation.id == id for invocation in self.invocations)

    def is_running(self, id: InvocationId, *, was_taken: bool = False) -> bool:
        """Whether the workload that Airflow has under this id is running.

        Args:
            id: The invocation.
            was_taken: Whether that counts only if Lambda took this very invocation: a late copy of
                a deferred task's first half can run the second one, which was refused.
        """
        row = self._airflow.current(id)
        return (
            row is not None
            and row.id == id
            and (row.is_callback or row.state == "running")
            and any(self._airflow.current(run) is row for run in self.runs)
            and (self.has_taken(id) or not was_taken)
        )

    def _reply(self, event: Invocation, result: Result) -> None:
        self._queues[str(event.reply_to)].send(result)

    def _give_up(self, event: Invocation, reason: str) -> None:
        body = event.encode().decode()
        self._queues[DEAD_LETTERS].send(body, {"RequestID": "r", "ErrorMessage": reason})
