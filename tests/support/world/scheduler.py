"""One scheduler and its engine without threads: a test calls each of their steps."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.backlog import Waiting
from lambda_executor.core.metrics import Meter, Statistics
from lambda_executor.core.outgoing import Outgoing
from lambda_executor.core.places import Limit
from lambda_executor.core.ports import BATCH, Endpoints, Queue
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.engine.dispatcher import Begun
from lambda_executor.engine.engine import Engine, EngineSettings
from lambda_executor.engine.listening import Listeners
from lambda_executor.engine.poller import Poller
from lambda_executor.engine.ports import Airflow as Port
from lambda_executor.engine.ports import AirflowState
from tests.support.world.airflow import Key, Row

if TYPE_CHECKING:
    from tests.support.world.world import World

EngineKey = TypeVar("EngineKey", bound=Hashable)

FUNCTION = "function"
_ROUTES = Routes(FunctionTarget(FUNCTION))


@dataclass(slots=True)
class Workload:
    """The attributes of Airflow's workload that the engine reads."""

    token: str = "token"

    def model_dump_json(self) -> str:
        """Return an empty workload."""
        return "{}"


class NoStatistics:
    """A receiver of metrics that ignores them."""

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, Any] | None = None) -> None:
        """Do nothing."""

    def gauge(self, stat: str, value: float) -> None:
        """Do nothing."""

    def timing(self, stat: str, dt: float) -> None:
        """Do nothing."""


class Unwaited(threading.Event):
    """An event for which nobody waits."""

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - the event's own
        """Return at once whether it is set."""
        return self.is_set()


class SteppedPoller(Poller):
    """A poller without threads: a test calls its steps."""

    def __init__(self, queue: Queue, **options: Any) -> None:
        super().__init__(queue, **options)
        self._closed = Unwaited()

    def start(self) -> None:
        """Start no thread."""

    def receive(self) -> int:
        """Receive once; return the number of messages."""
        return self._receive(0)

    def delete(self) -> None:
        """Delete the acknowledged messages."""
        while batch := self._deletable[:BATCH]:
            self._deletable = self._deletable[BATCH:]
            self._deletes_under_way += 1
            self._deleters.acquire()
            self._delete_batch(batch)


class SteppedListeners(Listeners):
    """Listeners without threads."""

    POLLER = SteppedPoller


def stepped_engine(  # noqa: PLR0913 - what an engine needs
    airflow: Port[EngineKey],
    state: AirflowState[EngineKey],
    endpoints: Endpoints,
    number: int,
    *,
    statistics: Statistics,
    clock: Callable[[], float],
) -> Engine[EngineKey]:
    """Make the engine of a scheduler, without threads.

    Args:
        airflow: The scheduler.
        state: Its database.
        endpoints: What it uses of AWS.
        number: The index of its own results queue.
        statistics: Receives the metrics.
        clock: A monotonic clock, in seconds.
    """
    engine = Engine(
        airflow,
        state,
        endpoints,
        EngineSettings(number, dispatch_threads=16, poll_threads=1, max_invoke_attempts=2),
        meter=Meter(statistics),
        clock=clock,
    )
    engine.listeners = SteppedListeners(
        endpoints,
        number,
        knows=engine.ledger.knows,
        unclaimed=engine.unclaimed,
        arrived=engine.arrived,
        threads=1,
    )
    return engine


class Scheduler:
    """A scheduler's process, from its start to its end; its engine's `Airflow`.

    Attributes:
        number: The index of its own results queue.
        engine: The engine of its executor.
        is_alive: Whether it has not ended.
        hears: Whether notifying it succeeds.
        untaken: The invocations whose event it has, but has not taken.
    """

    def __init__(self, world: World, number: int) -> None:
        self.number = number
        self.engine: Engine[Key] = stepped_engine(
            self,
            world.airflow,
            world.endpoints,
            number,
            statistics=NoStatistics(),
            clock=world.clock,
        )
        self.is_alive = True
        self.hears = True
        self.untaken: set[InvocationId] = set()
        self._world = world
        self._ids: dict[Key, InvocationId] = {}
        self._notified: set[InvocationId] = set()
        self._attempted: set[InvocationId] = set()
        self._events: dict[Key, str] = {}
        self._slots: set[Key] = set()
        self._popped: Waiting | None = None
        self._sent: set[InvocationId] = set()
        self._answers: list[tuple[Waiting, LambdaExecutorError | None]] = []

    # ---- called by the engine ----

    def succeed(self, key: Key) -> None:
        """Keep an event until `take_events`."""
        self._hear(key, "success")

    def fail(self, key: Key, reason: str) -> None:
        """Keep an event until `take_events`."""
        assert reason
        self._hear(key, "failed")

    def has_taken(self, key: Key) -> bool:
        """Whether the event was taken."""
        return key not in self._events

    def states(self, invocations: Mapping[InvocationId, Key]) -> dict[InvocationId, str]:
        """Query the database."""
        return self._world.airflow.states(invocations)

    def out_of_time(self, keys: Sequence[Key]) -> None:
        """Do nothing: no retry goes elsewhere."""

    def hold_slot(self, key: Key) -> None:
        """Count a workload as running."""
        self._slots.add(key)

    def free_slot(self, key: Key) -> None:
        """Stop counting a workload as running."""
        self._slots.discard(key)

    def _hear(self, key: Key, state: str) -> None:
        world = self._world
        id = self._ids.get(key) or world.airflow.callbacks.get(key)
        if not self.hears:
            # The promise is about this moment: a copy may start before the next attempt.
            if id is not None and not world.function.is_running(id):
                self._attempted.add(id)
            raise RuntimeError("the event buffer is broken")
        if id is None or id in self._notified:
            world.broken.append(f"notified twice, or about a revoked workload: {key}")
        elif id not in self._attempted and world.function.is_running(id, was_taken=True):
            world.broken.append(f"notified that it is {state} while it runs: {key}")
        else:
            self._notified.add(id)
            self.untaken.add(id)
        self._events[key] = state
        self._slots.discard(key)

    # ---- on its own thread ----

    def queue(self, row: Row) -> None:
        """Hand a workload over that the database has as queued."""
        self._ids[row.key] = row.id
        outgoing = Outgoing(
            row.id,
            Workload(),
            queue=None,
            executor_config=None,
            routes=_ROUTES,
            reply_to=self._world.results[self.number].name,
            queued_at_s=time.time(),
            priority=self._world.priority(row),
        )
        self.engine.dispatch([(row.key, outgoing)])

    def take_events(self) -> Mapping[Key, str]:
        """Take the events; by the next step they are in the database."""
        self.untaken.clear()
        events, self._events = self._events, {}
        return events

    def adopt(self, rows: Iterable[Row]) -> None:
        """Adopt the rows of another scheduler."""
        for row in rows:
            row.owner = self
            self._ids[row.key] = row.id
            target = FunctionTarget(FUNCTION) if row.state == "running" else None
            self.engine.adopt(row.id, row.key, target)

    def revoke(self, row: Row) -> None:
        """Take a workload back."""
        self._ids.pop(row.key, None)
        self.engine.revoke(row.key)
        row.state = "none"

    def end(self) -> None:
        """End cleanly; no events are taken any more."""
        self.delete()
        self.engine.close(0)

    # ---- on its engine's threads ----

    def can_send(self) -> bool:
        """Whether there is something to send, now or later."""
        return self.wait_s() is not None

    def wait_s(self) -> float | None:
        """Seconds until the next invocation may be sent."""
        return self.engine.dispatcher._queue.wait_s(self._world.now_s)

    def limit(self, places: int | None) -> None:
        """Learn how many invocations the function may run at once.

        There is no reserve: it would follow from the time, which hardly passes here.
        """
        places_of = self.engine.dispatcher._queue._places
        places_of._reserve = lambda *_: 0  # type: ignore[method-assign]
        self.engine.dispatcher.limit({FUNCTION: Limit(FUNCTION, places) if places else None})

    def most_urgent(self) -> float:
        """The highest priority of what could have been sent now, if the function has a place."""
        backlog = self.engine.dispatcher._queue._backlogs.get(FUNCTION)
        ready = backlog._ready if backlog else []
        wanted = [waiting.dispatch for waiting in ready if waiting.dispatch.wanted()]
        return max((dispatch.priority for dispatch in wanted), default=-math.inf)

    def in_flight(self) -> set[InvocationId]:
        """Return the invocations that Lambda took from it, and has not ended."""
        return {
            id
            for id in self._sent
            if self.engine.ledger.is_live(id) and self._world.function.is_under_way(id)
        }

    def next_to_send(self) -> InvocationId | None:
        """Choose the next invocation to send."""
        self._popped = self.engine.dispatcher._queue.pop(self._world.now_s)
        return self._popped.dispatch.id if self._popped else None

    def send(self) -> None:
        """Send the chosen invocation; `answer` brings the answer."""
        if self._popped:
            answer = self.engine.dispatcher._send(self._popped.dispatch)
            assert answer is not Begun.BEGUN  # Nothing was given to call back.
            self._answers.append((self._popped, answer))

    def answer(self) -> None:
        """Let the answers arrive."""
        answers, self._answers = self._answers, []
        for waiting, error in answers:
            if error is None:
                self._sent.add(waiting.dispatch.id)
            self.engine.dispatcher._record(waiting, error)

    def receive(self) -> None:
        """Receive once with each poller."""
        for poller in self._pollers():
            poller.receive()

    def delete(self) -> None:
        """Make all waiting deletes."""
        self._world.deleter = self
        for poller in self._pollers():
            poller.delete()

    def check(self) -> None:
        """Run one check of the reconciler."""
        try:
            self.engine.reconciler.check()
        except ConnectionError:
            assert self._world.airflow.is_away

    def _pollers(self) -> Iterable[SteppedPoller]:
        return (poller for poller in self.engine.listeners if isinstance(poller, SteppedPoller))

    # ---- seen from outside ----

    def has_slot(self, key: Key) -> bool:
        """Whether it counts a workload as running."""
        return key in self._slots

    def slots(self) -> int:
        """The number of workloads it counts as running."""
        return max(len(self._slots), len(self.engine.ledger))

    def is_busy(self) -> bool:
        """Whether it holds slots or unacknowledged deliveries."""
        return bool(self.slots() or len(self.engine._acknowledgements))
