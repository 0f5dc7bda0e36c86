"""Random histories of jobs: each workload ends once, and no job is left behind.

`test_engine_machine.py` has the histories of functions. Here the services know of every job, and
Airflow revokes what was never started.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lambda_executor.contract.errors import (
    AwsError,
    InDoubtError,
    LambdaExecutorError,
    NoRoomError,
    ThrottledError,
    TransientError,
)
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.backlog import Waiting
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.engine.engine import OBSOLETE_JOB_S
from lambda_executor.testing import MemoryJobs
from tests.support.jobs import HUGE, LONG, VM, Aws, JobScheduler

Item = TypeVar("Item")

SCHEDULER = st.integers(0, 1)
#: The number of an item in a list, modulo the list's length.
ANY = st.integers(0, 5)
#: The answers to a launch: the error, and whether the service started the job.
ANSWERS: tuple[tuple[AwsError | None, bool], ...] = (
    (None, True),
    (InDoubtError("reset"), True),
    (InDoubtError("500"), False),
    (ThrottledError("429"), False),
    (NoRoomError("no capacity"), False),
)
#: Rounds after which everything has ended.
ROUNDS = 10


def one(items: Sequence[Item], any: int) -> Item:
    """Choose one of the items."""
    return items[any % len(items)]


class Jobs(MemoryJobs):
    """A service that knows which of its jobs run."""

    def __init__(self) -> None:
        super().__init__()
        self.running: set[InvocationId] = set()

    def launch(
        self, target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
    ) -> None:
        """Start a job, or know that it was started before."""
        before = len(self.launches)
        try:
            super().launch(target, id, event, overrides)
        finally:
            if len(self.launches) > before:
                self.running.add(id)

    def stop(self, target: JobTarget, id: InvocationId, reason: str) -> bool:
        """End a job, if it runs."""
        self.end(id, reason)
        return super().stop(target, id, reason)

    def end(self, id: InvocationId, reason: str) -> None:
        """Let a job end, if it runs."""
        if id in self.running:
            self.running.remove(id)
            self.ends[id] = reason


@dataclass(eq=False, slots=True)
class Row:
    """A task's try in Airflow's database, until its end is stored."""

    key: str
    id: InvocationId
    target: JobTarget
    owner: JobScheduler


class JobsMachine(RuleBasedStateMachine):
    """Two schedulers, the services of jobs, and all that can happen between them."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.CRITICAL)
        self.aws = Aws()
        self.services = {service: Jobs() for service in Service}
        self.aws.jobs = dict(self.services)
        self.idle: set[InvocationId] = set()
        self.states: dict[InvocationId, str] = {}
        self.rows: dict[str, Row] = {}
        self.ended: list[str] = []
        self.broken: list[str] = []
        #: Jobs that nobody waited for when their scheduler ended, before it knew or stopped them.
        self.excused: set[InvocationId] = set()
        self.answers: dict[JobScheduler, list[Any]] = {}
        self.schedulers = [self._scheduler(number) for number in range(2)]
        self.count = 0

    def _scheduler(self, number: int) -> JobScheduler:
        scheduler = JobScheduler(self.aws, number)
        scheduler.idle, scheduler.states_of = self.idle, self.states
        self.answers[scheduler] = []
        return scheduler

    def running(self) -> list[InvocationId]:
        """All jobs that run."""
        return sorted(id for service in self.services.values() for id in service.running)

    def service_of(self, id: InvocationId) -> Jobs:
        """The service that runs a job."""
        return next(service for service in self.services.values() if id in service.running)

    def waiting(self) -> list[Row]:
        """The rows whose end is not stored."""
        return [row for row in self.rows.values() if row.id not in self.states]

    def owned(self) -> list[Row]:
        """Those of the living schedulers."""
        return [row for row in self.waiting() if row.owner in self.schedulers]

    def senders(self) -> list[tuple[JobScheduler, Service]]:
        """The schedulers that have something to send, each with where to."""
        return [
            (scheduler, service)
            for scheduler in self.schedulers
            for service, dispatcher in scheduler.engine.jobs.dispatchers.items()
            if dispatcher._queue.wait_s(self.aws.now_s) is not None
        ]

    @initialize(
        stages=st.lists(st.tuples(st.sampled_from([LONG, HUGE, VM]), st.booleans()), max_size=3)
    )
    def begin(self, stages: list[tuple[JobTarget, bool]]) -> None:
        """Begin with some jobs running: a history is too short to get there each time."""
        for to, is_running in stages:
            self.queue(0, to)
            if is_running:
                self.schedulers[0].send()

    # ---- Airflow ----

    @rule(number=SCHEDULER, to=st.sampled_from([LONG, HUGE, VM]))
    def queue(self, number: int, to: JobTarget) -> None:
        """A scheduler queues a task."""
        self.count += 1
        key = f"task.{self.count}"
        owner = self.schedulers[number]
        self.rows[key] = Row(key, owner.queue(key, to.name), to, owner)

    @precondition(lambda self: self.owned())
    @rule(any=ANY)
    def revoke(self, any: int) -> None:
        """Airflow revokes a task."""
        row = one(self.owned(), any)
        del self.rows[row.key]
        row.owner.engine.revoke(row.key)

    @precondition(lambda self: self.owned())
    @rule(any=ANY)
    def mark(self, any: int) -> None:
        """A person ends a task; the checks of the reconciler find that."""
        row = one(self.owned(), any)
        del self.rows[row.key]
        self.idle.add(row.id)
        self.states[row.id] = "failed"

    @rule(number=SCHEDULER)
    def check(self, number: int) -> None:
        """The reconciler checks twice."""
        self.schedulers[number].check(2)

    @rule(number=SCHEDULER, is_away=st.booleans())
    def step(self, number: int, is_away: bool) -> None:
        """The executor's part of a loop; the database may be away."""
        scheduler = self.schedulers[number]
        scheduler.is_away = is_away
        scheduler.loop()
        scheduler.is_away = False
        self._hear(scheduler)

    @rule(number=SCHEDULER, is_killed=st.booleans())
    def replace(self, number: int, is_killed: bool) -> None:
        """A scheduler ends, or is killed, and another takes its place."""
        scheduler = self.schedulers[number]
        if not is_killed:
            self._answer(scheduler)
            scheduler.make_stops()
            scheduler.engine.close(0)
        # Nobody is offered them for adoption. Their own heartbeats end them.
        live = {row.id for row in self.waiting()}
        self.excused.update(id for id in self.running() if id not in live)
        # What is under way reaches the service, but nobody hears of it.
        self.schedulers[number] = self._scheduler(number)

    @rule(number=SCHEDULER)
    def adopt(self, number: int) -> None:
        """A scheduler is offered the tasks of those that are gone."""
        for row in self.waiting():
            if row.owner not in self.schedulers:
                row.owner = self.schedulers[number]
                row.owner.engine.adopt(row.id, row.key, row.target)

    def _hear(self, scheduler: JobScheduler) -> None:
        for key, reason in scheduler.notified:
            row = self.rows.pop(key, None)
            if key in self.ended:
                self.broken.append(f"notified twice of {key}")
            if row and "ended without a result" in reason and row.id in self.running():
                self.broken.append(f"notified that it ended while it runs: {key}")
            self.ended.append(key)
        scheduler.notified.clear()

    # ---- the executor's other threads ----

    @precondition(lambda self: self.senders())
    @rule(any=ANY, how=st.sampled_from(ANSWERS), is_answered=st.booleans())
    def launch(self, any: int, how: tuple[AwsError | None, bool], is_answered: bool) -> None:
        """A job is launched; the answer comes now or later."""
        (scheduler, service), (error, is_taken) = one(self.senders(), any), how
        jobs = self.services[service]
        if error:
            (jobs.lost_answers if is_taken else jobs.failures).append(error)
        dispatcher = scheduler.engine.jobs.dispatchers[service]
        sent: tuple[Waiting, LambdaExecutorError | None] | None
        if sent := scheduler.begin(dispatcher, self.aws.now_s + 60):
            self.answers[scheduler].append((dispatcher, *sent))
        jobs.lost_answers.clear()
        jobs.failures.clear()
        if is_answered:
            self._answer(scheduler)

    def _answer(self, scheduler: JobScheduler) -> None:
        for dispatcher, waiting, error in self.answers[scheduler]:
            dispatcher._record(waiting, error)
        self.answers[scheduler].clear()

    @rule(number=SCHEDULER, fails=st.booleans())
    def look(self, number: int, fails: bool) -> None:
        """The services are asked for the jobs in flight."""
        for service in self.services.values():
            service.end_failures.extend([TransientError("503")] * fails)
        for watch in self.schedulers[number].engine.jobs.watches.values():
            watch.look()
        for service in self.services.values():
            service.end_failures.clear()

    @rule(number=SCHEDULER)
    def make_stops(self, number: int) -> None:
        """The stops that wait are made."""
        self.schedulers[number].make_stops()

    # ---- AWS ----

    @precondition(lambda self: self.running())
    @rule(any=ANY, return_code=st.sampled_from([0, 1]))
    def finish(self, any: int, return_code: int) -> None:
        """A job sends its result and ends."""
        id = one(self.running(), any)
        self.service_of(id).end(id, "Essential container in task exited")
        self.states.setdefault(id, "failed" if return_code else "success")
        self.schedulers[0].reply(id, return_code)

    @precondition(lambda self: self.running())
    @rule(any=ANY)
    def die(self, any: int) -> None:
        """A job ends without a result."""
        id = one(self.running(), any)
        self.service_of(id).end(id, "OutOfMemoryError")

    @rule(number=SCHEDULER)
    def deliver_again(self, number: int) -> None:
        """A queue delivers its messages once more."""
        self.aws.results[number].deliver_again()

    # ---- promises ----

    @invariant()
    def every_promise_is_kept(self) -> None:
        """Airflow is notified once, and not of the end of what runs."""
        assert not self.broken, self.broken

    def teardown(self) -> None:
        """Every slot is freed, and every job has ended or was stopped."""
        try:
            self._settle_down()
        finally:
            logging.disable(logging.NOTSET)
        self.every_promise_is_kept()

    def _settle_down(self) -> None:
        for _ in range(ROUNDS):
            self.adopt(0)
            for number, scheduler in enumerate(self.schedulers):
                self._answer(scheduler)
                scheduler.send(within_s=1000)
                self.check(number)
                scheduler.make_stops(within_s=OBSOLETE_JOB_S)
            wanted = {row.id for row in self.waiting()}
            left_behind = set(self.running()) - wanted - self.excused
            assert not left_behind, f"nobody wants them, and they run: {left_behind}"
            for id in self.running():
                self.service_of(id).end(id, "Host terminated")
            for number in range(2):
                self.look(number, fails=False)
                self.look(number, fails=False)
                self.step(number, is_away=False)
        for row in self.owned():  # They were never started, and nobody knows that.
            if any(launch.id == row.id for s in self.services.values() for launch in s.launches):
                self.broken.append(f"it never ended: {row}")
            row.owner.engine.revoke(row.key)
        for scheduler in self.schedulers:
            assert not scheduler.slots
            assert not len(scheduler.engine.ledger)
            for watch in scheduler.engine.jobs.watches.values():
                scheduler.engine.step()
                assert not watch._targets


TestJobsMachine = JobsMachine.TestCase
# The same histories in every run.
TestJobsMachine.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, derandomize=True
)
