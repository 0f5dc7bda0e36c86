"""The settle loop: it sends Airflow's workloads and notifies Airflow once of each end.

The engine owns the ledger and everything that runs beside the scheduler's thread: the dispatcher,
the jobs, the pollers and the reconciler. The scheduler's thread calls the engine and never waits
for AWS; each `step` takes in what the other threads found. Airflow is reached through the protocols
`Airflow` and `AirflowState` of `engine/ports.py`, AWS through those of `core/ports.py`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from lambda_executor.contract.errors import RouteError
from lambda_executor.contract.log_lines import about
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.apis import LAMBDA
from lambda_executor.core.dispatch import Dispatch, InDoubt, Outcome, Outlived, Refused, Sent
from lambda_executor.core.ledger import Ledger, Settlement, State
from lambda_executor.core.metrics import Meter
from lambda_executor.core.outgoing import Outgoing
from lambda_executor.core.ports import Endpoints
from lambda_executor.core.reports import is_about_a_start, is_duplicate
from lambda_executor.core.targets import FunctionTarget, JobTarget, Target
from lambda_executor.engine.acknowledgements import Acknowledgements
from lambda_executor.engine.arrivals import Arrivals
from lambda_executor.engine.dispatcher import Dispatcher
from lambda_executor.engine.jobs import Jobs
from lambda_executor.engine.limits import LimitWatcher
from lambda_executor.engine.listening import Listeners
from lambda_executor.engine.poller import Arrival
from lambda_executor.engine.ports import Airflow, AirflowState
from lambda_executor.engine.reconciliation import Reconciler
from lambda_executor.engine.unclaimed import Unclaimed

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

#: Seconds between two log lines that say that the same function is full.
SAY_FULL_S = 60.0
#: Seconds for which a job may run on for which Airflow does not wait any more. Its task may have
#: just ended, and its process still sends the log and calls callbacks. A task that runs ends by
#: itself when Airflow refuses its heartbeat.
OBSOLETE_JOB_S = 900.0
#: What should be left to send when a heartbeat has handed over, as a multiple of what was sent
#: since the last step.
AHEAD = 1.5


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The settings of one engine.

    Attributes:
        own_results: The index of this scheduler's own results queue.
        dispatch_threads: The most invokes under way at once.
        poll_threads: The most receives from its own results queue under way at once.
        max_invoke_attempts: How often an invocation is sent that may have been taken.
    """

    own_results: int
    dispatch_threads: int
    poll_threads: int
    max_invoke_attempts: int


class Engine(Generic[Key]):
    """One executor's invocations, from Airflow to AWS and back.

    Args:
        airflow: The scheduler.
        state: The scheduler's database, for the reconciler.
        endpoints: Lambda, the services that run jobs, and the queues.
        settings: The numbers of threads and attempts.
        meter: Receives the metrics.
        clock: A monotonic clock, in seconds.

    Attributes:
        ledger: The state of every invocation; changed by the engine alone.
        dispatcher: Sends pending invocations to functions.
        jobs: Sends the others, and looks after the jobs that they are.
        listeners: The pollers of all queues.
        reconciler: Finds slots that no report will free.
        unclaimed: The messages that nobody may ever claim.
        limits: Finds out how many invocations the functions may run at once.
    """

    def __init__(  # noqa: PLR0913 - Airflow, AWS, statistics and time
        self,
        airflow: Airflow[Key],
        state: AirflowState[Key],
        endpoints: Endpoints,
        settings: EngineSettings,
        *,
        meter: Meter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._airflow = airflow
        self._meter = meter
        self._clock = clock
        self._acknowledgements: Acknowledgements[Key] = Acknowledgements()
        self._adopted: set[InvocationId] = set()
        self.ledger: Ledger[Key] = Ledger()
        self._arrivals = Arrivals(airflow, self.ledger, self._acknowledgements, meter)
        self.dispatcher = Dispatcher(
            endpoints.functions,
            threads=settings.dispatch_threads,
            max_attempts=settings.max_invoke_attempts,
            clock=clock,
        )
        self.jobs = Jobs(
            endpoints,
            is_in_flight=self.ledger.is_in_flight,
            is_live=self.ledger.is_live,
            threads=settings.dispatch_threads,
            max_attempts=settings.max_invoke_attempts,
            clock=clock,
        )
        self.unclaimed = Unclaimed()
        self.listeners = Listeners(
            endpoints,
            settings.own_results,
            knows=self.ledger.knows,
            unclaimed=self.unclaimed,
            arrived=self.arrived,
            threads=settings.poll_threads,
            clock=clock,
        )
        self.reconciler = Reconciler(
            self.ledger.in_flight, self.ledger.knows, state, unclaimed=self.unclaimed
        )
        self.limits = LimitWatcher(endpoints.limits, self.dispatcher.limit)
        self._state = state
        self._said_full_s: dict[str, float] = {}

    # ---- life ----

    def start(self) -> None:
        """Start the threads.

        Raises:
            RuntimeError: The machine allows no more threads; then none is left running.
        """
        try:
            for part in (self.dispatcher, self.jobs, self.listeners, self.reconciler, self.limits):
                part.start()
        except RuntimeError:
            self.close(0)
            raise

    def drain(self, send_s: float) -> None:
        """Send pending invocations, for at most so many seconds."""
        ends_s = self._clock() + send_s
        unsent = self.dispatcher.drain(send_s)
        unsent += self.jobs.drain(max(0.0, ends_s - self._clock()))
        if unsent:
            log.warning("%d accepted workloads could not be sent before the end", unsent)

    def stop_sending(self, timeout_s: float) -> dict[InvocationId, Key]:
        """End the threads that send; what is under way gets `timeout_s` seconds.

        Returns:
            The accepted workloads that AWS certainly has not taken. They are forgotten here.
        """
        self.limits.close()
        ends_s = self._clock() + timeout_s
        self.dispatcher.close(timeout_s)
        self.jobs.stop_launching(max(0.0, ends_s - self._clock()))
        # An answer that comes at this moment makes an outcome first, so it is in one of the two.
        maybe_taken = self.dispatcher.maybe_taken() | self.jobs.maybe_taken()
        for outcome in self._outcomes():
            if isinstance(outcome, Sent | InDoubt):  # What was refused is unsent, too.
                self._take_outcome(outcome)
        pending = self.ledger.pending().items()
        unsent = {id: key for id, key in pending if id not in maybe_taken}
        for key in unsent.values():
            self.ledger.revoke(key)
        return unsent

    def settle(self, timeout_s: float) -> None:
        """Wait for those in flight to settle, for at most so many seconds; the rest stays."""
        deadline_s = self._clock() + timeout_s
        while len(self.ledger) and self._clock() < deadline_s:
            self._take()
            time.sleep(min(1.0, max(0.0, deadline_s - self._clock())))

    def close(self, timeout_s: float) -> None:
        """End the threads; sends and deletes under way get `timeout_s` seconds.

        The next scheduler adopts what is in flight, so no job is stopped.
        """
        # An event is acknowledged one loop after it was taken. There is no next loop, and nothing
        # here shows whether the last one was committed.
        self._acknowledgements.hand_back()
        self.limits.close()
        self.reconciler.close(0)
        self.dispatcher.close(timeout_s)
        self.jobs.close(timeout_s)
        if len(self.ledger):
            log.info("%d invocations stay in flight", len(self.ledger))
        self.listeners.close(timeout_s)

    # ---- on the scheduler's thread ----

    def dispatch(self, workloads: Iterable[tuple[Key, Outgoing]]) -> None:
        """Accept workloads; those of the highest priority are sent first, equals in this order."""
        dispatches: list[Dispatch] = []
        launches: list[tuple[JobTarget, Dispatch]] = []
        try:
            for key, outgoing in workloads:
                self.ledger.add(outgoing.id, key)
                self._acknowledgements.forget(key)
                self._airflow.hold_slot(key)
                target = _target_of(outgoing)
                dispatch = self._dispatch(key, outgoing, target)
                if isinstance(target, JobTarget) and self.jobs.can_run(target):
                    launches.append((target, dispatch))
                else:
                    dispatches.append(dispatch)
        finally:
            # If one fails, those before it are accepted and must be sent.
            self.dispatcher.submit(dispatches)
            self.jobs.submit(launches)

    def adopt(self, id: InvocationId, key: Key, target: Target | None = None) -> None:
        """Take over an invocation that another scheduler has sent.

        Args:
            id: The invocation.
            key: Its workload.
            target: The function that runs it now, or what its job was sent to; None: perhaps no
                function runs it, and it is no job.

        Raises:
            ValueError: The id is known with another key, or settled.
        """
        self.ledger.adopt(id, key)
        if isinstance(target, JobTarget):
            self.jobs.adopt(id, target)
        elif target is not None:
            self.dispatcher.adopted(id, target.function)
        self._airflow.hold_slot(key)
        self._adopted.add(id)

    def revoke(self, key: Key) -> None:
        """Forget a workload: it is not sent any more, and a report about it settles nothing.

        Its job is stopped, if it has one; a function runs on, and would not be let start a task.
        """
        self._airflow.free_slot(key)
        self._acknowledgements.forget(key)
        if (id := self.ledger.revoke(key)) is not None:
            self.jobs.stop(id, "Airflow has revoked its task")
            extra = about(id, key)
            log.warning("Revoked %s (%s): its result will settle nothing", key, id, extra=extra)

    def step(self) -> None:
        """Acknowledge reports whose events are taken, and take in what the threads found."""
        self._acknowledgements.acknowledge(self._airflow.has_taken)
        self._take()

    def room(self) -> float:
        """Return how many more workloads should be handed over; infinite if no limit is known.

        Airflow does not say for which target. So that full functions do not keep jobs away at once,
        as many as the functions have places may wait for them here beside jobs.
        """
        room = self.dispatcher.room()
        if not room:
            return math.inf
        free = sum(max(0, places) for places in room.values())
        if not self.jobs:
            return free
        return free + max(0, sum(limit.most for limit in room) - self.dispatcher.held())

    def has_enough(self) -> bool:
        """Whether more is left to send than will be before the next step, as since the last one.

        Jobs do not count: their services' rates are far lower, so many of them may be left.
        Airflow hands over before the step. So the ledger still has as pending what was sent since
        the last one.
        """
        sent = self.dispatcher.untaken()
        pending = self.ledger.count(State.PENDING) - self.jobs.pending()
        return pending - sent >= AHEAD * sent

    def summary(self) -> str:
        """The counts of invocations and deliveries, for people."""
        return (
            f"{self.ledger.count(State.PENDING)} pending ({self.dispatcher.held()} held), "
            f"{self.ledger.count(State.IN_FLIGHT)} in flight, "
            f"{len(self._acknowledgements)} deliveries not acknowledged"
        )

    def _dispatch(self, key: Key, outgoing: Outgoing, target: Target | None) -> Dispatch:
        id = outgoing.id
        # One that was revoked, superseded, or settled by another start is not sent (again).
        return Dispatch(
            id,
            outgoing.envelope,
            wanted=lambda: self.ledger.is_live(id),
            key=key,
            target_name=_name_of(target),
            priority=outgoing.priority,
        )

    # ---- on the pollers' threads ----

    def arrived(self, arrival: Arrival) -> None:
        """Send another invocation in the place of one that has ended, before the next step."""
        report, sent_at_s = arrival.report, arrival.sent_at_s
        if not (is_duplicate(report) or is_about_a_start(report)):
            result_s = 0.0 if sent_at_s is None else time.time() - sent_at_s
            self.dispatcher.ended(report.id, result_s)

    # ---- one step ----

    def _outcomes(self) -> Iterator[Outcome]:
        yield from self.dispatcher.outcomes()
        yield from self.jobs.outcomes()

    def _take(self) -> None:
        for outcome in self._outcomes():
            self._take_outcome(outcome)
        self._arrivals.take(
            [(poller, one) for poller in self.listeners for one in poller.arrivals()]
        )
        self._arrivals.take_ends(self.jobs.ends())
        self._reconcile()
        ended = self.ledger.ended()
        self.dispatcher.drop(ended)
        self.jobs.drop(ended)
        self._arrivals.drop(ended)
        self._acknowledgements.notify(self._notify)
        self._watch_other_queues()
        self._say_what_is_full()
        self._report_metrics()

    def _take_outcome(self, outcome: Outcome) -> None:
        id = outcome.id
        if isinstance(outcome, Refused):
            self._fail(id, outcome.reason)
        elif isinstance(outcome, Sent):
            self.ledger.sent(id)
            self._meter.time("dispatch_ms", outcome.waited_s * 1000)
        elif isinstance(outcome, Outlived):
            self._take_outlived(outcome)
        elif isinstance(outcome, InDoubt) and self.ledger.state(id) is State.PENDING:
            self._leave_in_flight(id, outcome.reason)

    def _take_outlived(self, outcome: Outlived) -> None:
        """Leave a task to Airflow, which revokes and queues it again; a callback has failed.

        Airflow may revoke it by another scheduler's executor. So it counts as in flight from now
        on, and the reconciler finds that Airflow does not wait for it any more.
        """
        key = self.ledger.key(outcome.id)
        if key is None or not self._state.ends(key):
            self._fail(outcome.id, outcome.reason)
            return
        self.ledger.sent(outcome.id)
        log.warning(
            "There was no room for %s until its token expired; Airflow queues it again when it has "
            "been queued for [scheduler] task_queued_timeout: %s",
            key,
            outcome.reason,
            extra=about(outcome.id, key),
        )

    def _leave_in_flight(self, id: InvocationId, reason: str) -> None:
        """Wait for the end of an invocation in doubt, as if it had been taken.

        If it was not, Airflow revokes a task that stays queued; the reconciler finds the rest.
        """
        key = self.ledger.key(id)
        self.ledger.sent(id)
        self._meter.count("in_doubt")
        log.error(
            "%s (%s) is in doubt: %s may have taken it, so it stays in flight: %s",
            key,
            id,
            (self.jobs.api(id) or LAMBDA).name,
            reason,
            extra=about(id, key),
        )

    def _reconcile(self) -> None:
        """Free the slots of obsolete invocations; adopt those that no scheduler holds."""
        for id in self.reconciler.obsolete():
            if (key := self.ledger.key(id)) is not None:
                self.ledger.revoke(key)
                reason = "Airflow does not wait for its task any more"
                self.jobs.stop(id, reason, in_s=OBSOLETE_JOB_S)
                self._airflow.free_slot(key)
                self._meter.count("reconciled")
                log.warning(
                    "No result of %s (%s) came, and Airflow does not wait for one: slot freed",
                    key,
                    id,
                    extra=about(id, key),
                )
        for id, key in self.reconciler.left_behind():
            if not self.ledger.knows(id):
                self.adopt(id, key)
                log.warning("Adopted %s: no scheduler holds it", key, extra=about(id, key))
        for id in self.reconciler.lost():
            # A job may run for any time. Its service says when it has ended.
            if self.jobs.api(id) is None:
                self._fail(id, "no result came, and none is in a results queue")

    def _fail(self, id: InvocationId, reason: str) -> None:
        self._acknowledgements.settled(self.ledger.settle(id, succeeded=False, reason=reason))

    def _notify(self, settlement: Settlement[Key]) -> None:
        key, reason = settlement.key, settlement.reason
        if settlement.succeeded:
            self._airflow.succeed(key)
        else:
            log.error("%s failed: %s", key, reason, extra=about(settlement.id, key))
            self._airflow.fail(key, reason)

    def _watch_other_queues(self) -> None:
        """Poll the other results queues while a result of an adopted invocation may come there."""
        self._adopted = {id for id in self._adopted if self.ledger.state(id) is State.IN_FLIGHT}
        if self._adopted:
            self.listeners.watch_others()
        elif self.listeners.foreign and not self._acknowledgements.uses(self.listeners.foreign):
            self.listeners.close_others()

    def _say_what_is_full(self) -> None:
        """Log why tasks stay scheduled, once in a while."""
        now_s = self._clock()
        for limit, free in self.dispatcher.room().items():
            if free <= 0 and now_s >= self._said_full_s.get(limit.name, -math.inf) + SAY_FULL_S:
                self._said_full_s[limit.name] = now_s
                log.info(
                    "%s runs the %d invocations that it may run at once; other tasks wait in "
                    "Airflow, the highest priority_weight first",
                    limit.name,
                    limit.most,
                )

    def _report_metrics(self) -> None:
        now_s = time.time()
        self._meter.gauge("pending", self.ledger.count(State.PENDING))
        self._meter.gauge("held", self.dispatcher.held())
        self._meter.gauge("in_flight", self.ledger.count(State.IN_FLIGHT))
        oldest_at_s = self._acknowledgements.oldest_at_s(now_s)
        self._meter.gauge("oldest_unacknowledged_s", now_s - oldest_at_s)
        for name, count in self.listeners.counts().items():
            self._meter.count(f"messages_{name}", count)
        if throttles := self.dispatcher.throttles() + self.jobs.throttles():
            self._meter.count("throttles", throttles)


def _name_of(target: Target | None) -> str:
    """Whose room an invocation needs: all versions of a function share its places."""
    if target is None:
        return ""
    return target.function if isinstance(target, FunctionTarget) else str(target)


def _target_of(outgoing: Outgoing) -> Target | None:
    try:
        return outgoing.target()
    except RouteError:
        return None  # The send refuses it, with the reason.
