"""AWS of a simulation: functions with few places, services of jobs, and queues, all at fault."""

from __future__ import annotations

import math

from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    InDoubtError,
    RejectedError,
    ThrottledError,
    UnreachableError,
)
from lambda_executor.contract.wire import Invocation, InvocationId
from lambda_executor.core.places import Limit, Limits
from lambda_executor.core.ports import Endpoints
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service
from tests.chaos.volume.agenda import Agenda
from tests.chaos.volume.airflow import Airflow
from tests.chaos.volume.faults import Chance, Faults
from tests.chaos.volume.messages import Messages
from tests.chaos.volume.oracle import Oracle
from tests.chaos.volume.rows import Flight
from tests.chaos.volume.runs import Runs
from tests.chaos.volume.twins import FaultyQueue, Fleet, Function, Jobs, Payloads
from tests.support.world.function import DEAD_LETTERS

FUNCTION, LARGE = FunctionTarget("function"), FunctionTarget("large")
JOBS = {
    "batch": JobTarget("batch", Service.BATCH, "{}"),
    "ecs": JobTarget("ecs", Service.ECS, "{}", "task"),
    "vm": JobTarget("vm", Service.MICROVM, "{}"),
}
ROUTES = Routes(FUNCTION, by_queue={"default": FUNCTION, "large": LARGE}, jobs=JOBS)
#: How many invocations each function may run at once, and how many of one scheduler.
PLACES = {FUNCTION.function: 240, LARGE.function: 60}
MAX_IN_FLIGHT = {name: places // 2 for name, places in PLACES.items()}
#: The words of AWS about an environment, and about a job, that died.
DEATHS = ("Task timed out after 900.00 seconds", "signal: killed", "exited with error")
JOB_DEATHS = ("OutOfMemoryError: container killed", "Host EC2 (instance i-1) terminated")
NEVER_STARTED = "CannotPullContainerError"
EXITED = "Essential container in task exited"
#: Seconds within which a second attempt of a job starts. One that came after its task has been
#: deferred and queued again would run the second part, and the job of that part would have nothing
#: to do. If its result were lost, nobody could tell that from a job that died.
SECOND_ATTEMPT_S = 2.0
#: Seconds after which a queue forgets a message, and the bucket a payload. It must be longer than
#: it takes until another scheduler adopts a callback, whose result waits for that in its queue.
RETENTION_S = 3 * 3600.0


class Aws:
    """Functions, jobs and queues; a `LimitReader`.

    Attributes:
        chance: Decides what goes wrong.
        services: The services of jobs.
        queues: The queues, by name.
        runs: What their starts do.
        payloads: The payload bucket.
        endpoints: All of it, as the executors see it.
        sending: The dispatch that is being sent now.
        left: What killed schedulers had in flight, or were to stop. If Airflow does not wait for
            one of these jobs any more, nobody stops it.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a simulation
        self,
        faults: Faults,
        agenda: Agenda,
        airflow: Airflow,
        chance: Chance,
        oracle: Oracle,
        messages: Messages,
    ) -> None:
        self.chance = chance
        self.sending: Flight | None = None
        self.left: set[InvocationId] = set()
        self.services = {service: Jobs(self) for service in Service}
        self._faults, self._agenda, self._airflow, self._oracle = faults, agenda, airflow, oracle
        names = ("results-0", "results-1", DEAD_LETTERS)
        self.queues = {name: FaultyQueue(name, agenda.clock, chance, messages) for name in names}
        self.runs = Runs(agenda, airflow, chance, oracle, self.queues)
        self._fleets = {name: Fleet(places) for name, places in PLACES.items()}
        self.payloads = Payloads(self, agenda.clock)
        self.endpoints = Endpoints(
            Function(self),
            [self.queues["results-0"], self.queues["results-1"]],
            self.queues[DEAD_LETTERS],
            self.payloads,
            self,
            self.services,
        )

    def read(self) -> Limits:
        """Return how much of the functions one scheduler may use."""
        return {name: Limit(name, most) for name, most in MAX_IN_FLIGHT.items()}

    # ---- sends ----

    def upset(self, twin: Function | Jobs) -> None:
        """Decide how the next call fails, if it does; it must not be about what was taken."""
        if self.sending and self.sending.was_taken:
            self._oracle.broken("sent again although it was taken", self.sending)
        twin.failures.clear()
        twin.lost_answers.clear()
        if (error := self._outage() or self._failure()) is not None:
            twin.failures.append(error)
        elif self.chance.hits("lost_answer", self.sending):
            twin.lost_answers.append(InDoubtError("the connection was reset"))

    def say_taken(self) -> None:
        """Record that the sender is told that its send was taken."""
        if self.sending:
            self.sending.was_taken = True

    def _outage(self) -> AwsError | None:
        if self.is_away("unreachable", self.sending):
            return UnreachableError("connection refused")
        if self.is_away("throttled", self.sending):
            return ThrottledError("429")
        return CredentialsError("expired") if self.is_away("credentials", self.sending) else None

    def _failure(self) -> AwsError | None:
        if self.chance.hits("throttled_send", self.sending):
            return ThrottledError("429")
        flight = self.sending
        if self.chance.hits("rejected_send", flight):
            if flight:
                flight.may_fail("404 no such target")
            return RejectedError("404 no such target")
        if self.chance.hits("server_error", flight):
            if flight:
                flight.is_silent()
            return InDoubtError("500")
        return None

    def is_away(self, name: str, *about: Flight | None) -> bool:
        """Whether something is away; count that if it is."""
        outage = next(each for each in self._faults.outages if each.name == name)
        if not outage.is_now(self._agenda.now_s):
            return False
        self.chance.met(f"outage: {name}", *about)
        return True

    def flight(self, id: InvocationId) -> Flight | None:
        """The dispatch with an id, if somebody still has it."""
        return self._airflow.flights.get(id)

    # ---- functions ----

    def take(self, function: str, event: Invocation) -> None:
        """Take an event for a function."""
        flight = self._airflow.flights[event.id]
        if self.chance.hits("lost_event", flight):
            flight.is_silent()
            return
        fleet = self._fleets[function]
        self._deliver(fleet, flight, event, self.chance.between(0.01, 0.2))
        if self.chance.hits("duplicated_event", flight):
            flight.was_copied = True
            self._deliver(fleet, flight, event, self.chance.between(0, 60))

    def _deliver(self, fleet: Fleet, flight: Flight, event: Invocation, in_s: float) -> None:
        flight.copies += 1
        self._agenda.after(in_s, self._arrive, fleet, flight, event)

    def _arrive(self, fleet: Fleet, flight: Flight, event: Invocation) -> None:
        if self.chance.hits("expired_event", flight):
            flight.copies -= 1
            flight.may_fail("EventAgeExceeded")
            self.runs.give_up(flight, event, "EventAgeExceeded")
        else:
            fleet.waiting.append(lambda: self._start(fleet, flight, event))
            self._next(fleet)

    def _next(self, fleet: Fleet) -> None:
        while fleet.waiting and fleet.busy < fleet.places:
            fleet.waiting.popleft()()

    def _start(self, fleet: Fleet, flight: Flight, event: Invocation) -> None:
        if not self.runs.is_let_start(flight, event):
            flight.copies -= 1
            return
        fleet.busy += 1
        part = self.runs.begin(flight)
        duration_s = self.runs.duration_s()
        self._agenda.after(duration_s, self._finish, fleet, flight, event, part)

    def _finish(self, fleet: Fleet, flight: Flight, event: Invocation, part: int) -> None:
        fleet.busy -= 1
        flight.copies -= 1
        if self.chance.hits("killed_environment", flight):
            reason = self.chance.drawn.choice(DEATHS)
            self.runs.die(flight, reason)
            self.runs.give_up(flight, event, reason)
        else:
            self.runs.end(flight, event, part)
        self._next(fleet)

    # ---- jobs ----

    def take_job(self, service: Jobs, event: Invocation) -> None:
        """Start a job some time later, and perhaps a second attempt of it."""
        flight = self._airflow.flights[event.id]
        if self.chance.hits("stalled_job", flight):
            return
        starts_s = [self.chance.between(1, 20)]
        if self.chance.hits("duplicated_event", flight):
            flight.was_copied = True
            starts_s.append(starts_s[0] + self.chance.between(0, SECOND_ATTEMPT_S))
        for in_s in starts_s:
            flight.copies += 1
            self._agenda.after(in_s, self._start_job, service, flight, event)

    def _start_job(self, service: Jobs, flight: Flight, event: Invocation) -> None:
        if flight.id not in service.alive:
            flight.copies -= 1  # It was stopped.
            return
        if not flight.was_copied and self.chance.hits("unstarted_job", flight):
            flight.copies -= 1
            flight.may_fail(NEVER_STARTED)
            service.end(flight.id, NEVER_STARTED)
            return
        if event.payload is None or event.payload.key not in self.payloads.objects:
            self._oracle.broken("a job has no payload", flight)
        if not self.runs.is_let_start(flight, event):
            flight.copies -= 1
            self._exit(service, flight)
            return
        part = self.runs.begin(flight)
        duration_s = self.runs.duration_s()
        self._agenda.after(duration_s, self._finish_job, service, flight, event, part)

    def _finish_job(self, service: Jobs, flight: Flight, event: Invocation, part: int) -> None:
        flight.copies -= 1
        if flight.id not in service.alive:
            self.runs.leave(flight)  # It was stopped.
        elif (
            flight.row.was_marked and not flight.was_copied and self.chance.hits("hung_job", flight)
        ):  # Its heartbeats are refused, but only a stop ends it.
            self.runs.leave(flight)
        elif self.chance.hits("killed_environment", flight):
            reason = self.chance.drawn.choice(JOB_DEATHS)
            self.runs.die(flight, reason)
            service.end(flight.id, reason)
        else:
            self.runs.end(flight, event, part)
            self._exit(service, flight)

    def _exit(self, service: Jobs, flight: Flight) -> None:
        """End a job that did its work, unless another attempt of it runs or waits."""
        if not flight.copies:
            service.end(flight.id, EXITED)
            # If its result is late, this is what its try is said to have failed of. That is no
            # harm, because the task has stored its own end.
            flight.reasons.append(EXITED)

    # ---- housekeeping ----

    def forget(self) -> None:
        """Forget jobs that nobody knows, and messages and payloads that nobody takes."""
        for service in self.services.values():
            service.forget(self._airflow.flights)
        for queue in self.queues.values():
            queue.expire(self._agenda.wall() - RETENTION_S)
        self.payloads.expire(self._agenda.now_s - RETENTION_S)

    def empty(self) -> None:
        """End the retention of all messages."""
        for queue in self.queues.values():
            queue.expire(math.inf)

    def jobs_alive(self) -> list[InvocationId]:
        """The jobs that wait or run, but those that a killed scheduler has left."""
        alive = (id for service in self.services.values() for id in service.alive)
        return sorted(id for id in alive if id not in self.left)
