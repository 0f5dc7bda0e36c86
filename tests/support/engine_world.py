"""Airflow, Lambda and SQS around two schedulers: in memory, without threads, on a given clock.

Whatever may happen there is a method, so that a test decides what happens next. What must never
happen is noted when it does: an exception would end in a log line of what is tested.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from airflow.executors.workloads import ExecuteCallback
from airflow.models.callback import CallbackKey
from airflow.models.taskinstancekey import TaskInstanceKey

from lambda_executor import LambdaExecutor
from lambda_executor.contract.errors import AwsError, DecodeError, RejectedError, ThrottledError
from lambda_executor.contract.wire import DeadLetter, Invocation, InvocationId, Outcome, Result
from lambda_executor.core.ports import BATCH
from lambda_executor.core.reports import is_about_a_start, is_duplicate
from lambda_executor.core.routing import Target
from lambda_executor.engine.dispatcher import Dispatcher
from lambda_executor.engine.poller import Poller
from lambda_executor.engine.reconciliation import PERIOD_S
from lambda_executor.engine.traffic import Traffic
from lambda_executor.testing import MemoryFunction, MemoryQueue
from tests.support.scheduler import SETTINGS, workload

#: Two tasks, and a callback: Airflow never offers those for adoption.
NAMES = ("task-1", "task-2", "callback")
WAITING = ("queued", "running")
#: Seconds for which a queue hides what it delivered.
VISIBILITY_TIMEOUT_S = 30.0
#: Seconds after which a callback is in no function any more.
LONGEST_WAIT_S = 2 * PERIOD_S
#: Seconds after which every message that was handed back is visible again.
ROUND_S = 1000.0
#: Rounds after which everything has come to its end; reconciliation alone takes two dozen.
ROUNDS = 40

Key = Any
NO_ID = InvocationId("")


@dataclass(eq=False, slots=True)
class Row:
    """A task or a callback as Airflow's database has it."""

    name: str
    key: Key = None
    id: InvocationId = NO_ID
    state: str = "none"
    tries: int = 0
    owner: Scheduler | None = field(default=None, repr=False)
    queued_at_s: float = 0.0

    @property
    def is_callback(self) -> bool:
        """Whether it is one."""
        return self.name == "callback"

    @property
    def is_waited_for(self) -> bool:
        """Whether it is queued or running."""
        return self.state in WAITING


class Airflow:
    """Airflow's database; the reconciler's `AirflowState`.

    Attributes:
        rows: What it has, by name.
        row_of: The row that each invocation was made for, and its key then.
        silent: Invocations of which nobody will ever say anything.
        is_away: Whether every question fails.
    """

    def __init__(self) -> None:
        self.rows = {name: Row(name) for name in NAMES}
        self.row_of: dict[InvocationId, tuple[Row, Key]] = {}
        self.silent: set[InvocationId] = set()
        self.is_away = False

    def queue(self, row: Row, owner: Scheduler, now_s: float) -> None:
        """Queue a workload under a fresh id; a deferred task goes on in the same try."""
        row.id = InvocationId(str(UUID(int=len(self.row_of))))
        if row.is_callback:
            row.key = CallbackKey(row.id)
        elif row.state != "deferred":
            row.tries += 1
            row.key = TaskInstanceKey("dag", row.name, "run", row.tries, -1)
        row.state, row.owner, row.queued_at_s = "queued", owner, now_s
        self.row_of[row.id] = row, row.key

    def current(self, id: InvocationId) -> Row | None:
        """The row of an invocation, unless a later try or another callback is there now."""
        row, key = self.row_of[id]
        return row if row.key == key else None

    def idle(self) -> list[Row]:
        """What may be queued."""
        return [row for row in self.rows.values() if not row.is_waited_for]

    def waiting(self) -> list[Row]:
        """What is queued or running."""
        return [row for row in self.rows.values() if row.is_waited_for]

    def tasks(self) -> list[Row]:
        """The tasks among them."""
        return [row for row in self.waiting() if not row.is_callback]

    def take(self, scheduler: Scheduler, events: Mapping[Key, tuple[Any, Any]]) -> None:
        """Do with a scheduler's events what it does; a task writes its own success."""
        for row in self.rows.values():
            state, _ = events.get(row.key, (None, None))
            if row.is_waited_for and row.is_callback and state:
                row.state = state.value
            elif row.is_waited_for and row.owner is scheduler and state == "failed":
                row.state = "failed"

    def waits_for(self, in_flight: Mapping[InvocationId, Key]) -> set[InvocationId]:
        """Those that are queued or running under the same id."""
        return {row.id for row in self._rows_in(WAITING)} & set(in_flight)

    def started(self, tasks: Mapping[InvocationId, Key]) -> set[InvocationId]:
        """Those of the tasks that are running."""
        running = {row.id for row in self._rows_in(["running"]) if not row.is_callback}
        return running & set(tasks)

    def unowned(self) -> dict[InvocationId, Key]:
        """The callbacks that are queued or running."""
        return {row.id: row.key for row in self._rows_in(WAITING) if row.is_callback}

    def longest_wait_s(self) -> float:
        """Two looks."""
        return LONGEST_WAIT_S

    def _rows_in(self, states: Container[str]) -> list[Row]:
        if self.is_away:
            raise ConnectionError("the database is away")
        return [row for row in self.rows.values() if row.state in states]


class Lambda(MemoryFunction):
    """A function that does with what it took what the test says.

    Attributes:
        events: What was taken and not started; of one that is delivered twice there is a copy.
        runs: What is running, by id.
    """

    def __init__(self, airflow: Airflow, queues: Mapping[str, MemoryQueue]) -> None:
        super().__init__()
        self.events: list[Invocation] = []
        self.runs: dict[InvocationId, Invocation] = {}
        self._begun: set[InvocationId] = set()
        self._airflow = airflow
        self._queues = queues

    def invoke(self, target: Target, payload: bytes) -> None:
        """Take an event, perhaps without an answer."""
        before = len(self.invocations)
        try:
            super().invoke(target, payload)
        finally:
            self.events += self.invocations[before:]

    def has_taken(self, id: InvocationId) -> bool:
        """Whether it ever took an invocation."""
        return any(invocation.id == id for invocation in self.invocations)

    def start(self, number: int) -> None:
        """Start an event: of a try Airflow lets one start through.

        Of a callback it would let each, and a second one does not happen here: then the end of
        one is not the end of the other, and nobody could tell.
        """
        event = self.events.pop(number)
        row = self._airflow.current(event.id)
        if row and row.is_callback:
            if event.id not in self._begun:
                self.runs[event.id] = event
        elif row and row.state == "queued":
            row.state = "running"
            self.runs[event.id] = event
            if event.id != row.id:  # A copy of what the first half of a deferred task was sent as.
                self._airflow.silent.add(row.id)
        elif row and row.state == "running":
            self._reply(event, Result(event.id, 0, Outcome.DUPLICATE))
        else:
            self._reply(event, Result(event.id, 0, reason="the task has ended"))
        self._begun.add(event.id)

    def finish(self, id: InvocationId, state: str, return_code: int) -> None:
        """End a run with a result, after it has written the state of its task."""
        event = self.runs.pop(id)
        row = self._airflow.current(id)
        if row and not row.is_callback and row.state == "running":
            row.state = state
        self._reply(event, Result(id, return_code))

    def kill(self, id: InvocationId, reason: str) -> None:
        """End a run without a word."""
        self._give_up(self.runs.pop(id), reason)

    def expire(self, number: int, reason: str) -> None:
        """Give up on an event that was not started."""
        event = self.events.pop(number)
        row, _ = self._airflow.row_of[event.id]
        if not (row.is_callback and event.id in self._begun):
            self._give_up(event, reason)
        self._begun.add(event.id)

    def is_running(self, id: InvocationId) -> bool:
        """Whether the workload that Airflow has under this id is running."""
        row = self._airflow.current(id)
        return (
            row is not None
            and row.id == id
            and (row.is_callback or row.state == "running")
            and any(self._airflow.current(run) is row for run in self.runs)
        )

    def _reply(self, event: Invocation, result: Result) -> None:
        self._queues[str(event.reply_to)].send(result)

    def _give_up(self, event: Invocation, reason: str) -> None:
        body = event.encode().decode()
        self._queues["dead-letters"].send(body, {"RequestID": "r", "ErrorMessage": reason})


class WatchedQueue(MemoryQueue):
    """A queue whose messages are looked at before they are deleted."""

    def __init__(
        self, name: str, clock: Callable[[], float], look: Callable[[str, Mapping[str, str]], None]
    ) -> None:
        super().__init__(name, visibility_timeout_s=VISIBILITY_TIMEOUT_S, clock=clock)
        self._look = look

    def delete(self, receipts: Sequence[str]) -> int:
        """Look, then delete."""
        if not self.delete_failures:
            for stored in filter(None, map(self._find, receipts)):
                self._look(stored.body, stored.attributes)
        return super().delete(receipts)


class SteppedDispatcher(Dispatcher):
    """Sends without threads, and has the answers arrive later."""

    def __init__(self, function: MemoryFunction, clock: Callable[[], float]) -> None:
        super().__init__(function, threads=16, max_attempts=1_000_000, clock=clock)
        self._popped: Any = None
        self._answers: list[tuple[Any, AwsError | None]] = []

    def wait_s(self) -> float | None:
        """In how many seconds the next may be sent."""
        return self._queue.wait_s(self._clock())

    def pop(self) -> InvocationId | None:
        """Choose the next; returns its id."""
        self._popped = self._queue.pop(self._clock())
        return self._popped.dispatch.id if self._popped else None

    def send(self) -> None:
        """Send it."""
        popped, self._popped = self._popped, None
        self._answers.append((popped, self._send(popped.dispatch)))

    def answer(self) -> None:
        """Have the answers arrive."""
        answers, self._answers = self._answers, []
        for waiting, error in answers:
            self._note(waiting, error)


class SteppedTraffic(Traffic[Any]):
    """Traffic without threads."""

    def watch_other_queues(self) -> None:
        """Have the pollers, and do not start them."""
        if not self.heirs:
            self.heirs = [self._results_poller(queue) for queue in self._others]


class WatchedExecutor(LambdaExecutor):
    """An executor that says what it is about to tell Airflow."""

    tells: Callable[[Key, bool], None]

    def success(self, key: Key, info: Any = None) -> None:
        """Say, then tell."""
        self.tells(key, True)
        super().success(key, info)

    def fail(self, key: Key, info: Any = None) -> None:
        """Say, then tell."""
        self.tells(key, False)
        super().fail(key, info)


class Scheduler:
    """One scheduler's process, from its start to its end.

    Attributes:
        is_alive: Whether it has not ended.
        ids: The invocation of each workload that it has.
        told: The invocations of whose end it was told.
        untaken: Those of them whose event it has not taken.
        hears: Whether telling it succeeds.
    """

    def __init__(self, world: World, number: int) -> None:
        self.number = number
        self.is_alive = True
        self.ids: dict[Key, InvocationId] = {}
        self.told: set[InvocationId] = set()
        self.untaken: set[InvocationId] = set()
        self.hears = True
        self._world = world
        self._executor = WatchedExecutor(parallelism=100)
        self._executor.tells = self._hear
        self._executor._airflow = world.airflow  # type: ignore[assignment]
        self._parts = SteppedTraffic(
            dataclasses.replace(SETTINGS, queue_urls=tuple(queue.name for queue in world.results)),
            number,
            ledger=self._executor._ledger,
            airflow=world.airflow,
            functions=world.function,
            results=world.results,
            dead_letters=world.dead_letters,
        )
        self.dispatcher = SteppedDispatcher(world.function, world.clock)
        self._parts.dispatcher = self.dispatcher
        self._executor._parts = self._parts

    # ---- on the scheduler's thread ----

    def queue(self, row: Row) -> None:
        """Hand a workload over that the database has as queued."""
        self.ids[row.key] = row.id
        self._executor._process_workloads([_workload(row)])

    def step(self) -> None:
        """What the executor does in each loop."""
        self._executor._handover.acknowledge(self._executor.event_buffer)
        self._executor._take(self._parts)

    def take_events(self) -> Mapping[Key, tuple[Any, Any]]:
        """Take the events; the next step may count on their being in the database."""
        self.untaken.clear()
        return self._executor.get_event_buffer()

    def adopt(self, rows: Iterable[Row]) -> None:
        """Take over what another scheduler left; what it refuses begins anew."""
        for row in rows:
            self.ids[row.key] = row.id
            row.owner = self
            ti: Any = SimpleNamespace(key=row.key, external_executor_id=row.id)
            if self._executor.try_adopt_task_instances([ti]):
                del self.ids[row.key]
                row.state = "none"

    def revoke(self, row: Row) -> None:
        """Take a workload back."""
        self.ids.pop(row.key, None)
        ti: Any = SimpleNamespace(key=row.key)
        self._executor.revoke_task(ti=ti)
        row.state = "none"

    def end(self) -> None:
        """End in order; nobody takes events any more."""
        self.delete()
        self._executor.terminate()

    # ---- on the executor's own threads ----

    def receive(self) -> None:
        """One receive of each poller."""
        for poller in self._pollers():
            poller._receive(0)

    def delete(self) -> None:
        """Delete what was acknowledged."""
        self._world.deleter = self
        for poller in self._pollers():
            while batch := poller._deletable[:BATCH]:
                poller._deletable = poller._deletable[BATCH:]
                poller._deletes_under_way += 1
                poller._deleters.acquire()
                poller._delete_batch(batch)

    def look(self) -> None:
        """One look of the reconciler."""
        try:
            self._parts.reconciler.look()
        except ConnectionError:
            assert self._world.airflow.is_away

    def _pollers(self) -> tuple[Poller, ...]:
        return self._parts.all_pollers()

    # ---- seen from outside ----

    def is_live(self, id: InvocationId) -> bool:
        """Whether it waits for the end of an invocation."""
        return self._executor._ledger.is_live(id)

    def is_busy(self) -> bool:
        """Whether it waits for something."""
        return bool(self.slots() or len(self._executor._handover))

    def can_send(self) -> bool:
        """Whether there is something to send, now or later."""
        return self.dispatcher.wait_s() is not None

    def slots(self) -> int:
        """How many invocations and workloads are not at their end for it."""
        return max(len(self._executor._ledger), len(self._executor.running))

    def _hear(self, key: Key, succeeded: bool) -> None:
        if not self.hears:
            raise RuntimeError("the event buffer is broken")
        # The reconciler adopts callbacks by itself; their keys are their ids.
        id = self.ids.get(key) or InvocationId(str(key))
        world = self._world
        if id in self.told or id not in world.airflow.row_of:
            world.broken.append(f"told twice, or of what was revoked: {key}")
        if world.function.is_running(id):
            world.broken.append(f"{'succeeded' if succeeded else 'failed'} while it runs: {key}")
        self.told.add(id)
        self.untaken.add(id)


class World:
    """Two schedulers with a results queue each, and all that is around them.

    Attributes:
        now_s: Seconds since it began.
        foreign: Invocations that no scheduler knows.
        deleter: Who deletes now.
        broken: The promises that were not kept.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.results = [self._queue("results-0"), self._queue("results-1")]
        self.dead_letters = self._queue("dead-letters")
        self.queues = (*self.results, self.dead_letters)
        self.airflow = Airflow()
        self.function = Lambda(self.airflow, {queue.name: queue for queue in self.queues})
        self.schedulers = [Scheduler(self, number) for number in range(2)]
        self.foreign: set[InvocationId] = set()
        self.deleter = self.schedulers[0]
        self.broken: list[str] = []

    def clock(self) -> float:
        """Seconds since it began."""
        return self.now_s

    def wait(self, seconds: float) -> None:
        """Let time pass: what is too old to be in a function ends there."""
        self.now_s += seconds
        row = self.airflow.rows["callback"]
        if self.now_s - row.queued_at_s > LONGEST_WAIT_S:
            for id in [id for id in self.function.runs if id == row.id]:
                self.function.kill(id, "Task timed out")
            for number in range(len(self.function.events) - 1, -1, -1):
                if self.function.events[number].id == row.id:
                    self.function.expire(number, "EventAgeExceeded")

    def queue(self, scheduler: Scheduler, row: Row) -> None:
        """A scheduler queues a workload."""
        self.airflow.queue(row, scheduler, self.now_s)
        scheduler.queue(row)

    def step(
        self,
        scheduler: Scheduler,
        *,
        is_away: bool = False,
        hears: bool = True,
        is_refused: bool = False,
    ) -> None:
        """What the executor does between two looks of the scheduler at its events.

        Args:
            scheduler: Whose.
            is_away: The database is.
            hears: The scheduler can be told.
            is_refused: Deletes are.
        """
        self.airflow.is_away, scheduler.hears = is_away, hears
        scheduler.receive()
        scheduler.step()
        self.airflow.is_away, scheduler.hears = False, True
        for queue in self.queues:
            queue.delete_failures.extend([ThrottledError("slow down")] * is_refused)
        scheduler.delete()
        for queue in self.queues:
            queue.delete_failures.clear()

    def send(self, scheduler: Scheduler, error: AwsError | None, *, is_taken: bool) -> None:
        """Send what is next, once it may be; the answer is on its way."""
        if (wait_s := scheduler.dispatcher.wait_s()) is None:
            return
        self.wait(wait_s)
        if (id := scheduler.dispatcher.pop()) is None:
            return
        row, _ = self.airflow.row_of[id]
        if row.is_callback and self.now_s - row.queued_at_s > LONGEST_WAIT_S:
            error, is_taken = RejectedError("its token has run out"), False
        elif isinstance(error, RejectedError) and self.function.has_taken(id):
            error = ThrottledError("429")
        if error:
            (self.function.lost_answers if is_taken else self.function.failures).append(error)
        scheduler.dispatcher.send()

    def replace(self, scheduler: Scheduler) -> None:
        """A scheduler is gone, and another is started in its place."""
        scheduler.is_alive = False
        self.schedulers[scheduler.number] = Scheduler(self, scheduler.number)

    def busy(self) -> list[Scheduler]:
        """The schedulers that wait for something."""
        return [scheduler for scheduler in self.schedulers if scheduler.is_busy()]

    def senders(self) -> list[Scheduler]:
        """Those that have something to send."""
        return [scheduler for scheduler in self.schedulers if scheduler.can_send()]

    def filled(self) -> list[WatchedQueue]:
        """The queues that hold something."""
        return [queue for queue in self.queues if len(queue)]

    def orphans(self) -> list[Row]:
        """The tasks of schedulers that are gone."""
        return [row for row in self.airflow.tasks() if row.owner and not row.owner.is_alive]

    def stuck(self) -> list[Row]:
        """The tasks of a living scheduler that are queued."""
        tasks = self.airflow.tasks()
        return [r for r in tasks if r.state == "queued" and r.owner and r.owner.is_alive]

    def send_foreign(self, queue: MemoryQueue) -> None:
        """Put a message in that is no scheduler's here."""
        id = InvocationId(f"foreign-{len(self.foreign)}")
        self.foreign.add(id)
        queue.send(json.dumps({"task_key": id, "return_code": 1}))

    def purge(self, queue: MemoryQueue) -> None:
        """Somebody empties a queue."""
        for body in queue.bodies:
            with contextlib.suppress(DecodeError):
                self.airflow.silent.add(DeadLetter.decode(body).id)
        queue.purge()

    def settle_down(self) -> None:
        """Let everything come to its end, as it does when nothing goes wrong any more."""
        for _ in range(ROUNDS):
            if self._is_quiet():
                return
            for scheduler in reversed(self.schedulers):
                scheduler.adopt(self.orphans())
                scheduler.dispatcher.answer()
                while scheduler.can_send():
                    self.send(scheduler, None, is_taken=True)
                    scheduler.dispatcher.answer()
            while self.function.events:
                self.function.start(0)
            for id in list(self.function.runs):
                self.function.finish(id, "success", 0)
            for scheduler in self.schedulers:
                self.wait(ROUND_S)
                scheduler.look()
                self.step(scheduler)
                self.airflow.take(scheduler, scheduler.take_events())
            self._time_out()
        slots = [scheduler.slots() for scheduler in self.schedulers]
        raise AssertionError(f"waited for: {self.airflow.waiting()}, slots that are held: {slots}")

    def _time_out(self) -> None:
        """Airflow gives up what was never sent, or what nobody will ever say a word about.

        It has no such time for callbacks: those a person has to end.
        """
        for row in self.airflow.rows.values():
            is_silent = row.id in self.airflow.silent
            if row.owner not in self.schedulers or not row.is_waited_for:
                continue
            if row.state == "queued" and not row.is_callback:
                if is_silent or not self.function.has_taken(row.id):
                    row.owner.revoke(row)
            elif is_silent:
                row.state = "failed"

    def _is_quiet(self) -> bool:
        return not (self.airflow.waiting() or any(s.slots() for s in self.schedulers))

    def _queue(self, name: str) -> WatchedQueue:
        return WatchedQueue(name, self.clock, self._before_deleting)

    def _before_deleting(self, body: str, attributes: Mapping[str, str]) -> None:
        try:
            report = DeadLetter.decode(body, attributes) if attributes else Result.decode(body)
        except DecodeError:
            return
        if report.id in self.foreign:
            self.broken.append(f"deleted, and foreign: {report}")
        elif is_duplicate(report) or is_about_a_start(report):
            return  # Of one start; what comes of it says another message.
        elif self.deleter.is_live(report.id):
            self.broken.append(f"deleted before it was dealt with: {report}")
        elif report.id in self.deleter.untaken:
            self.broken.append(f"deleted before its event was taken: {report}")


def _workload(row: Row) -> Any:
    if row.is_callback:
        return ExecuteCallback.model_validate(
            {
                "token": "token",
                "dag_rel_path": "dag.py",
                "bundle_info": {"name": "dags-folder"},
                "log_path": "x.log",
                "callback": {"id": row.id, "fetch_method": "import_path", "data": {"path": "a.b"}},
            }
        )
    task = workload(row.name)
    task.ti.external_executor_id, task.ti.try_number = row.id, row.tries
    return task
