"""A scheduler whose workloads run as jobs, one step at a time, with AWS in memory.

It has no threads and no real time, like `tests/support/world`. There Lambda is in the middle; here
are Batch, ECS and MicroVMs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.contract.wire import InvocationId, Result
from lambda_executor.core.backlog import Waiting
from lambda_executor.core.outgoing import Outgoing
from lambda_executor.core.ports import Endpoints
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service
from lambda_executor.engine.dispatcher import Begun, Dispatcher
from lambda_executor.engine.engine import Engine
from lambda_executor.testing import MemoryFunction, MemoryJobs, MemoryPayloads, MemoryQueue
from tests.support.world.scheduler import NoStatistics, SteppedPoller, Workload, stepped_engine

LONG = JobTarget("long", Service.BATCH, "{}")
HUGE = JobTarget("huge", Service.ECS, "{}", "task")
SPOT = JobTarget("spot", Service.ECS, "{}", "task")
VM = JobTarget("vm", Service.MICROVM, "{}")
JOBS = {"long": LONG, "huge": HUGE, "spot": SPOT, "vm": VM}
ROUTES = Routes(FunctionTarget("function"), jobs=JOBS)


class Aws:
    """What schedulers share: functions, services, queues.

    Attributes:
        function: The function.
        jobs: The service of each target.
        payloads: The payload bucket.
        results: The results queue of each scheduler.
        dead_letters: The dead-letter queue.
        now_s: The time, for all.
    """

    def __init__(self) -> None:
        self.function = MemoryFunction()
        self.jobs = {service: MemoryJobs() for service in Service}
        self.payloads = MemoryPayloads()
        self.results = [MemoryQueue(f"results-{number}", clock=self.clock) for number in range(2)]
        self.dead_letters = MemoryQueue("dead-letters", clock=self.clock)
        self.now_s = 0.0

    def clock(self) -> float:
        """The time."""
        return self.now_s


class Counters(NoStatistics):
    """A receiver of metrics that keeps the counters, by name and tags."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, Any] | None = None) -> None:
        """Count."""
        self.counts[" ".join([stat, *(tags or {}).values()])] += count


class JobScheduler:
    """A scheduler and the database of its Airflow; `Airflow` and `AirflowState` of its engine.

    Attributes:
        engine: The engine.
        counters: What it has counted.
        notified: The ends of which it was notified, in order: the workload, and why it failed.
        slots: The workloads that it counts as running.
        late: The workloads that ran out of time, as it was notified.
        states_of: The states of tasks in the database.
        idle: Invocations for which the database does not wait any more.
        is_away: Whether the database is down.
    """

    def __init__(self, aws: Aws, number: int = 0) -> None:
        self.notified: list[tuple[str, str]] = []
        self.slots: set[str] = set()
        self.late: list[str] = []
        self.states_of: dict[InvocationId, str] = {}
        self.idle: set[InvocationId] = set()
        self.is_away = False
        self.counters = Counters()
        self._aws = aws
        self._number = number
        endpoints = Endpoints(
            aws.function, aws.results, aws.dead_letters, aws.payloads, jobs=aws.jobs
        )
        self.engine: Engine[str] = stepped_engine(
            self, self, endpoints, number, statistics=self.counters, clock=aws.clock
        )

    # ---- called by the engine ----

    def succeed(self, key: str) -> None:
        """Record a success."""
        self.notified.append((key, ""))
        self.slots.discard(key)

    def fail(self, key: str, reason: str) -> None:
        """Record a failure."""
        assert reason
        self.notified.append((key, reason))
        self.slots.discard(key)

    def has_taken(self, key: str) -> bool:  # noqa: ARG002 - Airflow's
        """Whether the event was taken: at once."""
        return True

    def states(self, invocations: Mapping[InvocationId, str]) -> dict[InvocationId, str]:
        """Return the states of tasks."""
        if self.is_away:
            raise ConnectionError("the database is away")
        return {id: self.states_of[id] for id in invocations if id in self.states_of}

    def out_of_time(self, keys: Sequence[str]) -> None:
        """Record whose time was up."""
        self.late.extend(keys)

    def hold_slot(self, key: str) -> None:
        """Count a workload as running."""
        self.slots.add(key)

    def free_slot(self, key: str) -> None:
        """Stop counting a workload as running."""
        self.slots.discard(key)

    def waits_for(self, in_flight: Mapping[InvocationId, str]) -> set[InvocationId]:
        """Return what the database waits for."""
        return set(in_flight) - self.idle

    def awaited(self, ids: Collection[InvocationId]) -> set[InvocationId]:
        """Return what the database waits for."""
        return set(ids) - self.idle

    def unowned(self) -> Mapping[InvocationId, str]:
        """Return nothing: there are no callbacks."""
        return {}

    def ends(self, key: str) -> bool:
        """Whether Airflow ends a workload: not a connection test, of which it does not say so."""
        return not key.startswith("test")

    def longest_wait_s(self) -> float:
        """Return a minute."""
        return 60.0

    # ---- what happens ----

    def queue(self, name: str, queue: str | None = "long", **executor_config: Any) -> InvocationId:
        """Hand a workload over; its id is its name and the number of the scheduler."""
        id = InvocationId(f"{name}-{self._number}")
        outgoing = Outgoing(
            id,
            Workload(),
            queue=queue,
            executor_config=executor_config,
            routes=ROUTES,
            reply_to=self._aws.results[self._number].name,
            queued_at_s=time.time(),
            payloads=self._aws.payloads,
        )
        self.engine.dispatch([(name, outgoing)])
        return id

    def send(self, within_s: float = 1.0) -> None:
        """Send all that can be within some time, on all targets, and take the answers in."""
        ends_s = self._aws.now_s + within_s
        for dispatcher in (self.engine.dispatcher, *self.engine.jobs.dispatchers.values()):
            began_s = self._aws.now_s
            while one := self.begin(dispatcher, ends_s):
                dispatcher._record(*one)
            self._aws.now_s = began_s
        self.engine.step()

    def begin(
        self, dispatcher: Dispatcher, ends_s: float
    ) -> tuple[Waiting, LambdaExecutorError | None] | None:
        """Send the next invocation; return it with the answer, which nobody knows yet."""
        queue = dispatcher._queue
        while (wait_s := queue.wait_s(self._aws.now_s)) is not None:
            if self._aws.now_s + wait_s > ends_s:
                return None
            self._aws.now_s += wait_s
            if waiting := queue.pop(self._aws.now_s):  # If not, what was due was revoked.
                answer = dispatcher._send(waiting.dispatch)
                assert answer is not Begun.BEGUN
                return waiting, answer
        return None

    def reply(self, id: InvocationId, return_code: int = 0) -> None:
        """Let the job of an invocation send its result, to the scheduler that sent it."""
        number = int(id.rpartition("-")[2])
        state = "failed" if return_code else "success"
        self._aws.results[number].send(Result(id=id, return_code=return_code, task_state=state))

    def loop(self) -> None:
        """Receive and step."""
        for poller in self.engine.listeners:
            assert isinstance(poller, SteppedPoller)
            poller.receive()
        self.engine.step()

    def look(self) -> None:
        """Ask all services once, and take in what they say."""
        for watch in self.engine.jobs.watches.values():
            watch.look()
        self.loop()

    def make_stops(self, within_s: float = 0.0) -> None:
        """Make all stops that are due within some time."""
        ends_s = self._aws.now_s + within_s
        for watch in self.engine.jobs.watches.values():
            while (next_s := watch._stops.next_s()) <= ends_s:
                self._aws.now_s = max(self._aws.now_s, next_s)
                watch.make_stop()

    def check(self, times: int = 1) -> None:
        """Run checks of the reconciler."""
        for _ in range(times):
            self.engine.reconciler.check()
            self.engine.step()
