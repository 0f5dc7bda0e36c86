"""One scheduler of a simulation: its engine without threads, and what it knows of its workloads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.outgoing import Outgoing
from lambda_executor.core.targets import FunctionTarget, JobTarget
from lambda_executor.engine.engine import Engine
from tests.chaos.volume.aws import FUNCTION, JOBS, LARGE, ROUTES
from tests.chaos.volume.faults import KILLED
from tests.chaos.volume.rows import Flight, Row
from tests.chaos.volume.sends import Sends
from tests.support.world.airflow import Key
from tests.support.world.scheduler import NoStatistics, SteppedPoller, Workload, stepped_engine

if TYPE_CHECKING:
    from tests.chaos.volume.simulation import Simulation

#: `[core] parallelism`.
PARALLELISM = 400


class Scheduler:
    """A scheduler's process, from its start to its end; its engine's `Airflow`.

    Attributes:
        number: The index of its own results queue.
        engine: The engine of its executor.
        is_alive: Whether it has not been killed.
        skew_s: How far its clock is ahead.
        dies_after: The part of a loop after which it is killed; empty: it is not.
    """

    def __init__(self, simulation: Simulation, number: int, skew_s: float) -> None:
        self.number = number
        self.is_alive = True
        self.skew_s = skew_s
        self.dies_after = ""
        self._agenda, self._chance = simulation.agenda, simulation.chance
        self._airflow, self._aws = simulation.airflow, simulation.aws
        self._oracle = simulation.oracle
        self.engine: Engine[Key] = stepped_engine(
            self,
            simulation.airflow,
            simulation.aws.endpoints,
            number,
            statistics=NoStatistics(),
            clock=simulation.agenda.clock,
        )
        self._flights: dict[Key, Flight] = {}
        self._events: dict[Key, str] = {}
        self._untaken: set[InvocationId] = set()
        self._slots: set[Key] = set()
        self._sends = Sends(simulation, self)

    # ---- called by the engine ----

    def succeed(self, key: Key) -> None:
        """Keep an event until the loop takes it."""
        self._hear(key, "success", "")

    def fail(self, key: Key, reason: str) -> None:
        """Keep an event until the loop takes it."""
        self._hear(key, "failed", reason)

    def has_taken(self, key: Key) -> bool:
        """Whether the event was taken."""
        return key not in self._events

    def states(self, invocations: Mapping[InvocationId, Key]) -> dict[InvocationId, str]:
        """Query the database."""
        return self._airflow.states(invocations)

    def out_of_time(self, keys: Sequence[Key]) -> None:
        """Do nothing: no retry goes elsewhere."""

    def hold_slot(self, key: Key) -> None:
        """Count a workload as running."""
        self._slots.add(key)
        flight = self._airflow.flight_of(key)
        if key not in self._flights and flight:  # A callback that nobody looks after.
            self._flights[key] = flight
            self._oracle.counts["callbacks adopted"] += 1

    def free_slot(self, key: Key) -> None:
        """Stop counting a workload as running."""
        self._slots.discard(key)
        self._flights.pop(key, None)

    def _hear(self, key: Key, state: str, reason: str) -> None:
        flight = self._flights.get(key)
        if flight is not None and self._chance.hits("failed_notification", flight):
            # A copy may start before the next attempt: that is known to go wrong.
            flight.was_attempted = True
            raise RuntimeError("the event buffer is broken")
        self._slots.discard(key)
        self._events[key] = state
        if flight is None:
            self._oracle.broken("notified twice, or about a revoked workload", f"{key} {state}")
            return
        del self._flights[key]
        self._untaken.add(flight.id)
        self._judge(flight, state, reason)

    def _judge(self, flight: Flight, state: str, reason: str) -> None:
        """Check that Airflow is told the truth."""
        row = flight.row
        if state == "failed" and not any(part in reason for part in flight.reasons):
            self._oracle.broken(f"failed for an untrue reason ({reason})", flight)
        if not row.is_in(flight) or flight.was_attempted:
            return
        if state == "success" and not flight.has_run:
            self._oracle.broken("succeeded without a run", flight)
        elif not row.is_callback and row.state == "running" and row.runner:
            self._oracle.broken(f"told that it is {state} while it runs ({reason})", flight)

    # ---- on its own thread ----

    def begin_loop(self) -> None:
        """Queue what has a slot, and let the executor have its heartbeat."""
        self._agenda.skew_s = self.skew_s
        self._queue()
        if self._dies("queued"):
            return
        self._sends.send_all()
        self.engine.step()
        self._check_sizes()
        if not self._dies("stepped"):
            self._sends.send_all()

    def end_loop(self) -> None:
        """Take the events, and commit that."""
        events, self._events = self._events, {}
        self._untaken.clear()
        self._airflow.take(self, events)
        self._dies("taken")

    def _queue(self) -> None:
        room = self.engine.room()
        slots = PARALLELISM - len(self._slots)
        rows = self._airflow.queue(
            self, max(0, slots if room == math.inf else min(slots, int(room)))
        )
        workloads = []
        for row in rows:
            if flight := row.flight:
                self._flights[row.key] = flight
                workloads.append((row.key, self._outgoing(row, flight)))
        if self.dies_after == "queued":
            return  # It dies between the commit and the executor's heartbeat.
        self.engine.dispatch(workloads)

    def _outgoing(self, row: Row, flight: Flight) -> Outgoing:
        return Outgoing(
            flight.id,
            Workload(self._airflow.token()),
            queue=None if row.is_callback else row.queue,
            executor_config=None,
            routes=ROUTES,
            reply_to=f"results-{self.number}",
            queued_at_s=self._agenda.wall(),
            payloads=self._aws.endpoints.payloads,
            priority=row.priority,
        )

    def _dies(self, after: str) -> bool:
        if self.dies_after != after:
            return False
        self.is_alive = False
        untaken = filter(None, map(self._aws.flight, sorted(self._untaken)))
        self._chance.met(KILLED, *self._flights.values(), *untaken)
        for flight in self._flights.values():
            flight.is_silent()  # If it is a callback, nobody may have sent it.
            self._aws.left.add(flight.id)
        for watch in self.engine.jobs.watches.values():
            self._aws.left.update(stop.id for _, _, stop in watch._stops._waiting)
        for queue in self._aws.queues.values():
            queue.look_through()
        # The memory of a process ends with it, but what it owned in Airflow still names it.
        self._flights.clear()
        self._slots.clear()
        self._events.clear()
        self._untaken.clear()
        self._agenda.drop(self, self._sends)
        del self.engine, self._sends
        return True

    def revoke(self, key: Key) -> None:
        """Take a task back."""
        self._agenda.skew_s = self.skew_s
        self.engine.revoke(key)

    def adopt(self, rows: Sequence[Row]) -> None:
        """Adopt the tasks of schedulers that are gone."""
        self._agenda.skew_s = self.skew_s
        for row in rows:
            if flight := row.flight:
                row.owner = self
                self._flights[row.key] = flight
                self._oracle.counts["tasks adopted"] += 1
                self.engine.adopt(flight.id, row.key, _target(row))

    # ---- on its engine's threads ----

    def poll(self) -> None:
        """Receive from all queues until they are empty, and delete what is acknowledged."""
        self._agenda.skew_s = self.skew_s
        for poller in self.engine.listeners:
            assert isinstance(poller, SteppedPoller)
            while poller.receive() == 10:
                pass
            poller.delete()
        for watch in self.engine.jobs.watches.values():
            while watch._stops.next_s() <= self._agenda.now_s:
                watch.make_stop()
        self._sends.send_all()

    def look(self) -> None:
        """Ask the services for the jobs in flight."""
        self._agenda.skew_s = self.skew_s
        for watch in self.engine.jobs.watches.values():
            watch.look()

    def check(self) -> None:
        """Run one check of the reconciler, and read the limits."""
        self._agenda.skew_s = self.skew_s
        self.engine.limits.read()
        try:
            self.engine.reconciler.check()
        except ConnectionError:
            assert self._aws.is_away("database")

    # ---- promises ----

    def _check_sizes(self) -> None:
        """Check that the ledger holds what is open, and no more."""
        live = len(self.engine.ledger)
        self._oracle.highest("invocations in a ledger", live)
        self._oracle.highest("unacknowledged", len(self.engine._acknowledgements))
        if live > len(self._flights):
            self._oracle.broken("the ledger holds more than what is open", f"{live}")

    def about_to_delete(self, id: InvocationId) -> str:
        """Why a message about the end of an invocation must not be deleted now; empty: it may."""
        if self.engine.ledger.is_live(id):
            return "deleted before it was handled"
        return "deleted before its event was taken" if id in self._untaken else ""

    # ---- seen from outside ----

    def has_slot(self, key: Key) -> bool:
        """Whether it counts a workload as running."""
        return key in self._slots

    def flight_of(self, key: object) -> Flight | None:
        """The dispatch of a workload that it looks after."""
        return self._flights.get(key)  # type: ignore[call-overload, no-any-return]

    def is_about(self, key: Key) -> bool:
        """Whether it looks after a workload."""
        return key in self._flights

    def count_open(self) -> int:
        """How many invocations and deliveries it has not finished with."""
        return len(self.engine.ledger) + len(self.engine._acknowledgements)

    def open(self) -> dict[str, int]:
        """What it still has to do, by kind; empty: nothing."""
        engine = self.engine
        counts = {
            "slots": len(self._slots),
            "invocations": len(engine.ledger),
            "deliveries": len(engine._acknowledgements),
            "stops": sum(len(watch._stops) for watch in engine.jobs.watches.values()),
            "watched jobs": sum(len(watch._targets) for watch in engine.jobs.watches.values()),
            "places": len(engine.dispatcher._queue._places._functions),
            "workloads": len(self._flights),
        }
        return {name: count for name, count in counts.items() if count}


def _target(row: Row) -> FunctionTarget | JobTarget | None:
    """What the executor takes a task to have been sent to, as in `LambdaExecutor._target_of`."""
    if row.queue in JOBS:
        return JOBS[row.queue]
    target = {"default": FUNCTION, "large": LARGE}.get(row.queue)
    return target if row.state == "running" else None
