"""Two schedulers with a results queue each, and Airflow and Lambda around them, in memory.

There are no threads and no real time. Each possible event is a method, so that a test decides
what happens next. A broken promise is recorded in `World.broken`, because an exception
would be caught and logged by the code under test.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lambda_executor.contract.errors import (
    DecodeError,
    LambdaExecutorError,
    RejectedError,
    ThrottledError,
)
from lambda_executor.contract.wire import DeadLetter, InvocationId, Result
from lambda_executor.core.ports import Endpoints
from lambda_executor.core.reports import is_about_a_start, is_duplicate
from lambda_executor.testing import MemoryQueue
from tests.support.world.airflow import LONGEST_WAIT_S, NAMES, Airflow, Row
from tests.support.world.function import DEAD_LETTERS, Lambda
from tests.support.world.scheduler import Scheduler

#: Seconds for which a queue hides a delivered message.
VISIBILITY_TIMEOUT_S = 30.0
#: Seconds after which every message that was handed back is visible again.
ROUND_S = 1000.0
#: Rounds after which everything has ended; a callback without a result takes about 24.
ROUNDS = 40


class WatchedQueue(MemoryQueue):
    """A queue whose messages are inspected before they are deleted."""

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        inspect: Callable[[str, Mapping[str, str]], None],
    ) -> None:
        super().__init__(name, visibility_timeout_s=VISIBILITY_TIMEOUT_S, clock=clock)
        self._inspect = inspect

    def delete(self, receipts: Sequence[str]) -> int:
        """Inspect, then delete."""
        if not self.delete_failures:
            for stored in filter(None, map(self._find, receipts)):
                self._inspect(stored.body, stored.attributes)
        return super().delete(receipts)


class World:
    """Two schedulers with a results queue each, and Airflow, Lambda and queues around them.

    Attributes:
        now_s: Seconds since it began.
        foreign: Invocations that no scheduler knows.
        deleter: The scheduler that deletes now.
        places: How many invocations the function may run at once; None: nobody knows.
        broken: The promises that were not kept.
    """

    def __init__(self) -> None:
        self.places: int | None = None
        self.now_s = 0.0
        self.results = [self._queue("results-0"), self._queue("results-1")]
        self.dead_letters = self._queue(DEAD_LETTERS)
        self.queues = (*self.results, self.dead_letters)
        self.airflow = Airflow()
        self.function = Lambda(self.airflow, {queue.name: queue for queue in self.queues})
        self.endpoints = Endpoints(self.function, self.results, self.dead_letters)
        self.schedulers = [Scheduler(self, number) for number in range(2)]
        self.foreign: set[InvocationId] = set()
        self.deleter = self.schedulers[0]
        self.broken: list[str] = []

    def clock(self) -> float:
        """Seconds since it began."""
        return self.now_s

    def limit(self, places: int | None) -> None:
        """Let every scheduler know how many invocations the function may run at once."""
        self.places = places
        for scheduler in self.schedulers:
            scheduler.limit(places)

    def priority(self, row: Row) -> float:
        """The priority of a row: the same for all, unless the places are few."""
        if self.places is None:
            return 0
        return 1 if row.is_callback else -NAMES.index(row.name)

    # ---- what happens ----

    def wait(self, seconds: float) -> None:
        """Let time pass, and end a callback that has become too old."""
        self.now_s += seconds
        row = self.airflow.rows["callback"]
        if self._is_too_old(row):
            self.function.end_all(row.id)

    def queue(self, scheduler: Scheduler, row: Row) -> None:
        """Queue a workload with a scheduler."""
        self.airflow.queue(row, scheduler, self.now_s)
        scheduler.queue(row)

    def send(
        self, scheduler: Scheduler, error: LambdaExecutorError | None, *, is_taken: bool
    ) -> None:
        """Send the next invocation of a scheduler; `Scheduler.answer` brings the answer.

        Args:
            scheduler: The scheduler that sends.
            error: The error in the answer; None: success.
            is_taken: Whether Lambda takes the invocation, with or without an error.
        """
        self.wait(scheduler.wait_s() or 0)
        if (id := scheduler.next_to_send()) is None:
            return
        self._check_order(scheduler, id)
        if self._is_too_old(self.airflow.row_of[id][0]):
            error, is_taken = RejectedError("its token has run out"), False
        if error:
            answers: deque[Any] = self.function.lost_answers if is_taken else self.function.failures
            answers.append(error)
        scheduler.send()

    def _check_order(self, scheduler: Scheduler, id: InvocationId) -> None:
        """Check that what leaves is the most urgent, and that it has a place."""
        if self.priority(self.airflow.row_of[id][0]) < scheduler.most_urgent():
            self.broken.append(f"sent before what is urgent: {id}")
        if self.places is not None and len(scheduler.in_flight()) >= self.places:
            self.broken.append(f"sent although the function is full: {id}")

    def step(
        self,
        scheduler: Scheduler,
        *,
        is_away: bool = False,
        hears: bool = True,
        is_refused: bool = False,
    ) -> None:
        """Run one step of a scheduler's engine, with its receives and deletes.

        Args:
            scheduler: The scheduler.
            is_away: Whether the database is down.
            hears: Whether the scheduler can be notified.
            is_refused: Whether deletes fail.
        """
        self.airflow.is_away, scheduler.hears = is_away, hears
        scheduler.receive()
        scheduler.engine.step()
        self.airflow.is_away, scheduler.hears = False, True
        for queue in self.queues:
            queue.delete_failures.extend([ThrottledError("slow down")] * is_refused)
        scheduler.delete()
        for queue in self.queues:
            queue.delete_failures.clear()

    def loop(self, scheduler: Scheduler) -> None:
        """Run one loop of a scheduler without failures."""
        self.step(scheduler)
        self.take_events(scheduler)

    def take_events(self, scheduler: Scheduler) -> None:
        """Let a scheduler take its events."""
        for row in self.airflow.take(scheduler, scheduler.take_events()):
            self.broken.append(f"failed although it continues: {row}")

    def replace(self, scheduler: Scheduler) -> None:
        """Let a scheduler die, and start another in its place."""
        scheduler.is_alive = False
        self.schedulers[scheduler.number] = Scheduler(self, scheduler.number)
        self.schedulers[scheduler.number].limit(self.places)

    def send_foreign(self, queue: MemoryQueue) -> None:
        """Send a message about an invocation that no scheduler here knows."""
        id = InvocationId(f"foreign-{len(self.foreign)}")
        self.foreign.add(id)
        queue.send(json.dumps({"task_key": id, "return_code": 1}))

    def purge(self, queue: MemoryQueue) -> None:
        """Empty a queue, as a person might."""
        for body in queue.bodies:
            with contextlib.suppress(DecodeError):
                self.airflow.silent.add(DeadLetter.decode(body).id)
        queue.purge()

    # ---- the current state ----

    def busy(self) -> list[Scheduler]:
        """The schedulers that wait for something."""
        return [scheduler for scheduler in self.schedulers if scheduler.is_busy()]

    def senders(self) -> list[Scheduler]:
        """The schedulers that have something to send."""
        return [scheduler for scheduler in self.schedulers if scheduler.can_send()]

    def filled(self) -> list[WatchedQueue]:
        """The queues that hold something."""
        return [queue for queue in self.queues if len(queue)]

    # ---- the end ----

    def empty(self) -> None:
        """Let the schedulers take all messages, when everything has ended."""
        for _ in range(ROUNDS):
            if not self.filled():
                return
            for scheduler in self.schedulers:
                self.wait(ROUND_S)
                scheduler.check()
                self.loop(scheduler)
        left = {queue.name: queue.bodies for queue in self.filled()}
        raise AssertionError(f"messages that nobody deletes: {left}")

    def settle_down(self) -> None:
        """Let everything end without further failures."""
        for _ in range(ROUNDS):
            if not (self.airflow.waiting() or any(s.slots() for s in self.schedulers)):
                return
            for row in self.airflow.deferred():
                row.state = "scheduled"
            for scheduler in reversed(self.schedulers):
                scheduler.adopt(self.airflow.orphans())
                scheduler.answer()
                while scheduler.can_send():
                    self.send(scheduler, None, is_taken=True)
                    scheduler.answer()
            while self.function.events:
                self.function.start(0)
            for id in list(self.function.runs):
                self.function.finish(id, "success", 0)
            for scheduler in self.schedulers:
                self.wait(ROUND_S)
                scheduler.check()
                self.loop(scheduler)
            self._time_out()
        slots = [scheduler.slots() for scheduler in self.schedulers]
        raise AssertionError(f"waited for: {self.airflow.waiting()}, slots that are held: {slots}")

    def _time_out(self) -> None:
        """Let Airflow end tasks that were never sent, or that no report will ever be about."""
        for row in self.airflow.waiting():
            is_silent = row.id in self.airflow.silent
            if row in self.airflow.stuck():
                if row.owner and (is_silent or not self.function.has_taken(row.id)):
                    row.owner.revoke(row)
            elif is_silent and not row.is_callback and row not in self.airflow.orphans():
                row.state = "failed"

    def _is_too_old(self, row: Row) -> bool:
        return row.is_callback and self.now_s - row.queued_at_s > LONGEST_WAIT_S

    def _queue(self, name: str) -> WatchedQueue:
        return WatchedQueue(name, self.clock, self._before_deleting)

    def _before_deleting(self, body: str, attributes: Mapping[str, str]) -> None:
        try:
            report = DeadLetter.decode(body, attributes) if attributes else Result.decode(body)
        except DecodeError:
            return
        row, _ = self.airflow.row_of.get(report.id, (None, None))
        is_ours = self.deleter.engine.ledger.knows(report.id)
        if row and row.is_waited_for and row.id == report.id and not is_ours:
            self.broken.append(f"deleted although another scheduler may wait for it: {report}")
        elif is_duplicate(report) or is_about_a_start(report):
            return  # It is about one start; another message is about the end.
        elif self.deleter.engine.ledger.is_live(report.id):
            self.broken.append(f"deleted before it was handled: {report}")
        elif report.id in self.deleter.untaken:
            self.broken.append(f"deleted before its event was taken: {report}")
