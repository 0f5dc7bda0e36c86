"""What the dispatchers of one scheduler send, without threads, and in what order they must."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.backlog import Waiting
from lambda_executor.engine.dispatcher import Begun, Dispatcher
from tests.chaos.volume.aws import MAX_IN_FLIGHT
from tests.chaos.volume.rows import Flight

if TYPE_CHECKING:
    from tests.chaos.volume.scheduler import Scheduler
    from tests.chaos.volume.simulation import Simulation

#: Seconds from a send to its answer.
FASTEST_S, SLOWEST_S = 0.03, 0.06
#: How many more than its places a scheduler may have sent to a function. The reserve hides the way
#: from one end to the next start, here at most a second, of tasks that take six seconds or so.
MOST_RESERVE = 0.5
#: Of so many sends one is checked for its order, and then all in flight are counted.
CHECKED = 16


class Sends:
    """The sends of one scheduler."""

    def __init__(self, simulation: Simulation, scheduler: Scheduler) -> None:
        self._agenda, self._chance = simulation.agenda, simulation.chance
        self._aws, self._oracle = simulation.aws, simulation.oracle
        self._scheduler = scheduler
        self._engine = scheduler.engine
        self._sent: dict[str, dict[InvocationId, Flight]] = {name: {} for name in MAX_IN_FLIGHT}
        self._alarms_s: dict[Dispatcher, float] = {}
        self._count = 0

    def send_all(self) -> None:
        """Send what may leave now, to all targets."""
        for dispatcher in (self._engine.dispatcher, *self._engine.jobs.dispatchers.values()):
            self._send(dispatcher)

    def _send(self, dispatcher: Dispatcher) -> None:
        """Send what may leave now, and set an alarm for the rest."""
        queue, now_s = dispatcher._queue, self._agenda.now_s
        while waiting := queue.pop(now_s):
            flight = self._scheduler.flight_of(waiting.dispatch.key)
            self._check(dispatcher, waiting, flight)
            self._aws.sending = flight
            answer = dispatcher._send(waiting.dispatch)
            assert answer is not Begun.BEGUN
            in_s = self._chance.between(FASTEST_S, SLOWEST_S)
            self._agenda.after(in_s, self._answer, dispatcher, waiting, answer, flight)
        if (wait_s := queue.wait_s(now_s)) is not None:
            at_s = now_s + max(wait_s, 0.001)
            if not now_s < self._alarms_s.get(dispatcher, -math.inf) <= at_s:
                self._alarms_s[dispatcher] = at_s
                self._agenda.after(at_s - now_s, self._wake, dispatcher)

    def _wake(self, dispatcher: Dispatcher) -> None:
        self._agenda.skew_s = self._scheduler.skew_s
        self._send(dispatcher)

    def _answer(
        self,
        dispatcher: Dispatcher,
        waiting: Waiting,
        error: LambdaExecutorError | None,
        flight: Flight | None,
    ) -> None:
        self._agenda.skew_s = self._scheduler.skew_s
        if flight and error is None:
            flight.is_answered = True
        elif (sent := self._sent.get(waiting.dispatch.target_name)) is not None:
            sent.pop(waiting.dispatch.id, None)
        dispatcher._record(waiting, error)
        self._send(dispatcher)

    # ---- promises ----

    def _check(self, dispatcher: Dispatcher, waiting: Waiting, flight: Flight | None) -> None:
        """Check that what leaves is the most urgent, and that its function has a place."""
        dispatch = waiting.dispatch
        if flight is None or flight.id != dispatch.id:
            self._oracle.broken("sent although nobody wants it", f"{dispatch}")
            return
        self._count += 1
        if is_checked := self._count % CHECKED == 0:
            ready = dispatcher._queue._backlogs[dispatch.target_name]._ready
            wanted = [other.dispatch for other in ready if other.dispatch.wanted()]
            if any(other.priority > flight.row.priority for other in wanted):
                self._oracle.broken("sent before what is more urgent", flight)
        name = dispatch.target_name
        if name not in MAX_IN_FLIGHT:
            return
        sent, most = self._sent[name], MAX_IN_FLIGHT[name]
        sent[dispatch.id] = flight
        if is_checked or len(sent) > most * (1 + MOST_RESERVE):
            for id in [id for id, each in sent.items() if not self._is_in_flight(each)]:
                del sent[id]
            self._oracle.highest(f"in flight, of {most} in {name}", len(sent))
        if len(sent) > most * (1 + MOST_RESERVE):
            self._oracle.broken(f"{len(sent)} in flight, {most} places", flight)

    def _is_in_flight(self, flight: Flight) -> bool:
        return self._engine.ledger.is_live(flight.id) and bool(
            flight.copies or not flight.is_answered
        )
