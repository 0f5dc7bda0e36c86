"""What one start of an invocation does, and what it sends back."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lambda_executor.contract.wire import Invocation, Outcome, Result
from tests.chaos.volume.agenda import Agenda
from tests.chaos.volume.airflow import Airflow
from tests.chaos.volume.faults import Chance
from tests.chaos.volume.oracle import Oracle
from tests.chaos.volume.rows import Flight
from tests.chaos.volume.twins import FaultyQueue
from tests.support.world.function import DEAD_LETTERS

#: Seconds that a task takes.
SHORTEST_S, LONGEST_S = 1.0, 20.0


class Runs:
    """The starts of all functions and jobs."""

    def __init__(
        self,
        agenda: Agenda,
        airflow: Airflow,
        chance: Chance,
        oracle: Oracle,
        queues: Mapping[str, FaultyQueue],
    ) -> None:
        self._agenda, self._airflow, self._chance, self._oracle = agenda, airflow, chance, oracle
        self._queues = queues

    # ---- runs ----

    def is_let_start(self, flight: Flight, event: Invocation) -> bool:
        """Ask Airflow for the start, as the handler does; send the result if it is refused."""
        if event.not_after_s is not None and self._agenda.wall() >= event.not_after_s:
            flight.may_fail("token has expired")
            reason = "its token has expired"
            self._reply(flight, event, Result(flight.id, 1, Outcome.REJECTED, reason))
            return False
        verdict = "run" if flight.row.is_callback else self._airflow.start(flight)
        if flight.row.is_callback and flight.row.state == "queued":
            flight.row.state = "running"
        if verdict == "duplicate":
            result = Result(flight.id, 0, Outcome.DUPLICATE, "it runs elsewhere")
            self._reply(flight, event, result)
        elif verdict == "ended":
            self._reply(flight, event, Result(flight.id, 0, reason="the task has ended"))
        return verdict == "run"

    def duration_s(self) -> float:
        """How long a task takes."""
        return self._chance.duration_s(SHORTEST_S, LONGEST_S)

    def begin(self, flight: Flight) -> int:
        """Run the code of a task; return which part of its try that is."""
        row = flight.row
        self._oracle.counts["starts"] += 1
        if row.is_callback:
            self._oracle.counts["second starts of callbacks"] += row.started
            row.started = 1
            return 1
        if row.runner is not None:
            self._oracle.broken("run twice at the same time", flight)
        if row.started >= row.part:
            self._oracle.broken("run twice within a try", flight)
        row.runner, row.started = flight, row.part
        if self._chance.hits("marked_task", flight):
            self._agenda.after(self._chance.between(0, SHORTEST_S), self._airflow.mark, row)
        return row.part

    def end(self, flight: Flight, event: Invocation, part: int) -> None:
        """End a run with a result."""
        row, id = flight.row, flight.id
        self.leave(flight)
        if row.is_callback:
            flight.has_run = True
            self._reply(flight, event, Result(id, 0))
            return
        ends = "success"
        if self._chance.hits("crashed_process", flight):
            ends = "crashed"
        elif self._chance.hits("failed_task", flight):
            ends = "failed"
        elif part == 1 and self._chance.drawn.random() < 0.06:
            ends = self._chance.drawn.choice(["deferred", "up_for_reschedule"])
        stored = self._airflow.end(flight, "failed" if ends == "crashed" else ends)
        named = stored if self._chance.drawn.random() < 0.7 else None
        if stored is None:
            flight.may_fail("ended from outside")
            result = Result(id, 1, reason="it was ended from outside")
        elif ends == "crashed":
            flight.may_fail("signal 9")
            result = Result(id, -9, Outcome.CRASHED, "it died by signal 9", task_state=named)
        elif ends == "failed" and named is None:
            flight.may_fail("exit code 1")
            result = Result(id, 1, reason="exit code 1")  # As the reference's handler has it.
        else:
            flight.has_run = True
            result = Result(id, 0, task_state=named, queue_to_start_ms=1.0)
        self._reply(flight, event, result)

    def die(self, flight: Flight, reason: str) -> None:
        """End a run without a word."""
        flight.may_fail(reason)
        self.leave(flight)
        if not flight.row.is_callback:
            self._airflow.miss_heartbeats(flight)

    def leave(self, flight: Flight) -> None:
        """End a run."""
        if flight.row.runner is flight:
            flight.row.runner = None

    # ---- queues ----

    def _reply(self, flight: Flight, event: Invocation, result: Result) -> None:
        self._post(self._queues[str(event.reply_to)], flight, result.encode(), {})

    def give_up(self, flight: Flight, event: Invocation, reason: str) -> None:
        """Send a dead letter, in one of Lambda's two formats."""
        body, attributes = event.encode().decode(), {"RequestID": "r", "ErrorMessage": reason}
        if self._chance.drawn.random() < 0.5:
            envelope = {
                "requestContext": {"requestId": "r", "condition": "RetriesExhausted"},
                "requestPayload": json.loads(body),
                "responsePayload": {"errorMessage": reason},
            }
            body, attributes = json.dumps(envelope), {}
        self._post(self._queues[DEAD_LETTERS], flight, body, attributes)

    def _post(
        self, queue: FaultyQueue, flight: Flight, body: str, attributes: Mapping[str, str]
    ) -> None:
        if self._chance.hits("lost_result", flight):
            flight.is_silent()
            return
        if self._chance.hits("malformed_result", flight):
            flight.is_silent()
            body = body[: len(body) // 2]
        late = self._chance.hits("delayed_result", flight)
        in_s = self._chance.between(1, 20) if late else self._chance.between(0.02, 0.3)
        self._agenda.after(in_s, queue.send, body, attributes)
        if self._chance.hits("duplicated_result", flight):
            self._agenda.after(in_s + self._chance.between(0, 30), queue.send, body, attributes)
