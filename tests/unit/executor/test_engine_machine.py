"""Random histories: Airflow is notified once, acknowledgements are in time, all slots are freed.

In the end no queue keeps a message.

If it is known how many invocations the function may run at once, a scheduler sends no more, and
the most urgent leaves first.

Two cases are excluded because they are known to fail; `tests/support/world` marks each of them: a
callback that Lambda delivers twice (`Lambda`), and a copy that starts after Airflow could not be
notified of the end of another (`Scheduler._hear`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    InDoubtError,
    RejectedError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from tests.support.world.airflow import NAMES
from tests.support.world.world import World

Item = TypeVar("Item")

#: The number of a scheduler.
SCHEDULER = st.integers(0, 1)
#: The number of a queue.
QUEUE = st.integers(0, 2)
#: The number of an item in a list, modulo the list's length.
ANY = st.integers(0, 5)
#: The answers to a send: the error, and whether Lambda took the event.
SENDS: tuple[tuple[AwsError | None, bool], ...] = (
    (None, True),
    (InDoubtError("the connection was reset"), True),
    (InDoubtError("500"), False),
    (UnreachableError("connection refused"), False),
    (ThrottledError("429"), False),
    (TransientError("409"), False),
    (CredentialsError("expired"), False),
    (RejectedError("404"), False),
)
#: The stages of a workload at the beginning; `running twice` has another copy of the event waiting.
STAGES = ("idle", "queued", "taken", "running", "running twice")
#: The ends of a run with a result: the state that the task has stored, and the return code.
ENDS = (("success", 0), ("failed", 1), ("deferred", 0), ("running", -9))
#: The reasons in dead letters about a run.
DEATHS = ("Task timed out after 900.00 seconds", "signal: killed", "exited with error", "?")
#: The reasons in dead letters about an event that was never started.
EXPIRIES = ("EventAgeExceeded", "function concurrency is 0")


def one(items: Sequence[Item], any: int) -> Item:
    """Choose one of the items."""
    return items[any % len(items)]


class EngineMachine(RuleBasedStateMachine):
    """All events of a `World` in any order; at the end everything settles."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        # Hypothesis prints the history; logging ten thousand of them would be slow.
        logging.disable(logging.CRITICAL)

    @initialize(
        stages=st.tuples(*[st.sampled_from(STAGES)] * len(NAMES)),
        places=st.sampled_from([None, 1]),
    )
    def begin(self, stages: tuple[str, ...], places: int | None) -> None:
        """Begin with some workloads under way: a history is too short to get there each time."""
        self.world.limit(places)
        scheduler, *_ = self.world.schedulers
        function = self.world.function
        for name, stage in zip(NAMES, stages, strict=True):
            if stage == "idle":
                continue
            self.world.queue(scheduler, self.world.airflow.rows[name])
            if stage == "queued":
                continue
            while scheduler.can_send():
                self.world.send(scheduler, None, is_taken=True)
            scheduler.answer()
            if not function.has_taken(self.world.airflow.rows[name].id):
                continue  # The function is full.
            if stage == "running twice":
                function.events.append(function.events[-1])
            if stage != "taken":
                function.start(-1)

    # ---- Airflow ----

    @precondition(lambda self: self.world.airflow.idle())
    @rule(any=ANY, number=SCHEDULER)
    def queue(self, any: int, number: int) -> None:
        """A scheduler queues a workload; a deferred task continues."""
        row = one(self.world.airflow.idle(), any)
        self.world.queue(self.world.schedulers[number], row)

    @precondition(lambda self: self.world.airflow.waiting())
    @rule(any=ANY)
    def clear(self, any: int) -> None:
        """A person clears a workload in any state."""
        one(self.world.airflow.waiting(), any).state = "none"

    @precondition(lambda self: self.world.airflow.deferred())
    @rule(any=ANY)
    def trigger(self, any: int) -> None:
        """A deferred task's trigger fires: it is to be queued again."""
        one(self.world.airflow.deferred(), any).state = "scheduled"

    @precondition(lambda self: self.world.airflow.stuck())
    @rule(any=ANY)
    def revoke(self, any: int) -> None:
        """Airflow revokes a task that was queued for too long."""
        row = one(self.world.airflow.stuck(), any)
        assert row.owner
        row.owner.revoke(row)

    @precondition(lambda self: self.world.busy())
    @rule(any=ANY, is_away=st.booleans(), hears=st.booleans(), is_refused=st.booleans())
    def step(self, any: int, is_away: bool, hears: bool, is_refused: bool) -> None:
        """The executor's part of a loop; database, event buffer or deletes may fail."""
        self.world.step(
            one(self.world.busy(), any), is_away=is_away, hears=hears, is_refused=is_refused
        )

    @precondition(lambda self: self.world.busy())
    @rule(any=ANY)
    def take_events(self, any: int) -> None:
        """The scheduler's part of a loop."""
        self.world.take_events(one(self.world.busy(), any))

    @precondition(lambda self: self.world.busy())
    @rule(any=ANY, how=st.sampled_from(["killed", "killed in a commit", "ended"]))
    def stop(self, any: int, how: str) -> None:
        """A scheduler stops, and another takes its place."""
        scheduler = one(self.world.busy(), any)
        if how == "killed in a commit":
            scheduler.take_events()
        elif how == "ended":
            scheduler.end()
        self.world.replace(scheduler)

    @precondition(lambda self: self.world.airflow.orphans())
    @rule(number=SCHEDULER)
    def adopt(self, number: int) -> None:
        """A scheduler is offered the tasks of dead schedulers."""
        self.world.schedulers[number].adopt(self.world.airflow.orphans())

    @rule(number=SCHEDULER, is_away=st.booleans())
    def check(self, number: int, is_away: bool) -> None:
        """The reconciler checks once; the database may be down."""
        self.world.wait(60)
        self.world.airflow.is_away = is_away
        self.world.schedulers[number].check()
        self.world.airflow.is_away = False

    # ---- Lambda ----

    @precondition(lambda self: self.world.senders())
    @rule(any=ANY, how=st.sampled_from(SENDS), is_answered=st.booleans())
    def send(self, any: int, how: tuple[AwsError | None, bool], is_answered: bool) -> None:
        """An invocation is sent; the answer comes now or later."""
        scheduler, (error, is_taken) = one(self.world.senders(), any), how
        self.world.send(scheduler, error, is_taken=is_taken)
        if is_answered:
            scheduler.answer()

    @precondition(lambda self: self.world.function.invocations)
    @rule(any=ANY)
    def copy(self, any: int) -> None:
        """Lambda delivers an event once more."""
        self.world.function.events.append(one(self.world.function.invocations, any))

    @precondition(lambda self: self.world.function.events)
    @rule(any=ANY)
    def start(self, any: int) -> None:
        """Lambda starts an event."""
        self.world.function.start(any % len(self.world.function.events))

    @precondition(lambda self: self.world.function.events)
    @rule(any=ANY, reason=st.sampled_from(EXPIRIES))
    def expire(self, any: int, reason: str) -> None:
        """Lambda gives up an event that was not started."""
        self.world.function.expire(any % len(self.world.function.events), reason)

    @precondition(lambda self: self.world.function.runs)
    @rule(any=ANY, end=st.sampled_from(ENDS), is_named=st.booleans())
    def finish(self, any: int, end: tuple[str, int], is_named: bool) -> None:
        """A run ends with a result, which names the state if that is the task's last one."""
        state, return_code = end
        self.world.function.finish(
            one(list(self.world.function.runs), any),
            state,
            return_code,
            is_named=is_named and state != "running",
        )

    @precondition(lambda self: self.world.function.runs)
    @rule(any=ANY, reason=st.sampled_from(DEATHS))
    def kill(self, any: int, reason: str) -> None:
        """A run ends without a result."""
        self.world.function.kill(one(list(self.world.function.runs), any), reason)

    # ---- SQS ----

    @precondition(lambda self: self.world.filled())
    @rule(any=ANY, how=st.sampled_from(["again", "in another order", "never"]))
    def deliver(self, any: int, how: str) -> None:
        """A queue delivers again, in another order, or never."""
        queue = one(self.world.filled(), any)
        if how == "again":
            queue.deliver_again()
        elif how == "in another order":
            queue.rotate(1)
        else:
            self.world.purge(queue)

    @precondition(lambda self: not self.world.foreign)
    @rule(any=QUEUE)
    def send_foreign(self, any: int) -> None:
        """A message about an unknown invocation comes, and a malformed one."""
        self.world.send_foreign(self.world.queues[any])
        self.world.queues[any].send("{")

    @invariant()
    def every_promise_is_kept(self) -> None:
        """No promise of the engine was broken."""
        assert not self.world.broken, self.world.broken

    def teardown(self) -> None:
        """Every slot is freed, Airflow waits for nothing, and no queue keeps a message."""
        try:
            self.world.settle_down()
            self.world.empty()
        finally:
            logging.disable(logging.NOTSET)
        self.every_promise_is_kept()


TestEngineMachine = EngineMachine.TestCase
# The same histories in every run: `make chaos` is where new ones are tried.
TestEngineMachine.settings = settings(
    max_examples=300, stateful_step_count=30, deadline=None, derandomize=True
)
