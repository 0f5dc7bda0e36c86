"""Airflow's database with many tasks: what is scheduled, queued, tried again, and given up.

What has ended is forgotten as soon as nobody can ask for it, so that memory shows what the engine
keeps. Each rule is that of Airflow's scheduler; `tests/support/world/airflow.py` has a smaller
Airflow for histories of a few tasks.
"""

from __future__ import annotations

import base64
import heapq
import itertools
import json
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from uuid import UUID
from weakref import WeakValueDictionary

from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.reports import CONTINUED
from tests.chaos.volume.agenda import Agenda
from tests.chaos.volume.faults import KILLED, Chance
from tests.chaos.volume.oracle import Oracle
from tests.chaos.volume.rows import Flight, Row
from tests.chaos.volume.state import QUEUED_TIMEOUT_S, State
from tests.support.world.airflow import Key

if TYPE_CHECKING:
    from tests.chaos.volume.scheduler import Scheduler

#: `[scheduler] num_stuck_in_queued_retries`.
MOST_REQUEUES = 2
#: `[scheduler] task_instance_heartbeat_timeout`, in seconds.
HEARTBEAT_TIMEOUT_S = 300.0
#: Seconds after which a task that ended is forgotten, if nobody waits for it.
REMEMBERED_S = 120.0
#: The queues of the tasks, and how many of a hundred go to each.
QUEUES = {"default": 68, "large": 17, "batch": 8, "ecs": 5, "vm": 2}
UNKNOWN_QUEUE = "nowhere"
#: Faults that leave a task queued for good: each by itself; if the sender knows of no send that was
#: taken, or was killed before any; and together with a report that is lost. Who adopts what was
#: sent hears of its end.
SILENT, UNSENT = {"lost_event", "stalled_job"}, {"server_error"}
UNSTARTED, UNREPORTED = {"expired_event"}, {"lost_result", "malformed_result"}

_ENDED = ("success", "failed")
_FINAL = (*_ENDED, "up_for_retry")


class Airflow(State):
    """The database.

    Attributes:
        open: The workloads that have not ended.
        created: All workloads.
        flights: All dispatches that somebody still has, by id.
        dispatched: The number of dispatches.
    """

    def __init__(self, agenda: Agenda, chance: Chance, oracle: Oracle) -> None:
        super().__init__()
        self.open = 0
        self.created = 0
        self.flights: WeakValueDictionary[InvocationId, Flight] = WeakValueDictionary()
        self.dispatched = 0
        self._agenda, self._chance, self._oracle = agenda, chance, oracle
        self._ended: deque[Row] = deque()
        self._scheduled: list[tuple[float, int, Row]] = []
        self._new_callbacks: deque[Row] = deque()
        self._numbers = itertools.count(1)
        self._queues = list(QUEUES)
        self._weights = list(QUEUES.values())

    # ---- workloads ----

    def fill(self, most: int) -> None:
        """Create tasks until so many are scheduled, and now and then a callback."""
        while len(self._scheduled) < most:
            number, drawn = next(self._numbers), self._chance.drawn
            queue = drawn.choices(self._queues, self._weights)[0]
            row = self._add(Row(Key("dag", f"t{number}", "run", 1), queue, drawn.randint(1, 10)))
            if self._chance.hits("unknown_queue", row):
                row.queue = UNKNOWN_QUEUE
            self._schedule(row)
            if number % 100 == 0:
                key = Key("callbacks", f"c{number}", "run", 1)
                row = self._add(Row(key, "default", float("inf"), state="pending", tries_left=0))
                self._callbacks[row.key.task_id] = row
                self._new_callbacks.append(row)

    def _add(self, row: Row) -> Row:
        self._rows[row.key.task_id] = row
        self.open += 1
        self.created += 1
        return row

    def queue(self, owner: Scheduler, most: int) -> list[Row]:
        """Queue all new callbacks, and the most urgent of what is scheduled; commit that."""
        rows = list(self._new_callbacks)
        self._new_callbacks.clear()
        while self._scheduled and len(rows) < most:
            rows.append(heapq.heappop(self._scheduled)[2])
        for row in rows:
            self.dispatched += 1
            drawn = UUID(int=self._chance.drawn.getrandbits(128), version=4)
            row.flight = flight = Flight(InvocationId(str(drawn)), row, row.key)
            row.state, row.queued_at_s = "queued", self._agenda.now_s
            row.owner = None if row.is_callback else owner  # Airflow records none of a callback.
            self.flights[flight.id] = flight
            if row.queue == UNKNOWN_QUEUE:
                flight.may_fail("no target serves the queue")
        return rows

    def token(self) -> str:
        """A token that expires as Airflow's do; only the executor reads it here."""
        claims = json.dumps({"exp": self._agenda.wall() + QUEUED_TIMEOUT_S}).encode()
        return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2lnbmF0dXJl"

    def _schedule(self, row: Row) -> None:
        row.state, row.owner, row.flight = "scheduled", None, None
        heapq.heappush(self._scheduled, (-row.priority, next(self._numbers), row))

    def end_waits(self) -> None:
        """Queue the tasks again that stayed queued for too long."""
        before_s = self._agenda.now_s - QUEUED_TIMEOUT_S
        for row in list(self._rows.values()):
            is_late = row.state == "queued" and row.queued_at_s < before_s
            if is_late and not row.is_callback and row.owner and row.owner.is_alive:
                self._end_wait(row, row.owner)

    def _end_wait(self, row: Row, owner: Scheduler) -> None:
        self._oracle.counts["revoked by Airflow"] += 1
        if row.flight and not _may_stay_queued(row.flight):
            self._oracle.broken("stayed queued without a fault", row.flight)
        owner.revoke(row.key)
        row.requeues += 1
        if row.requeues > MOST_REQUEUES:
            row.is_harmed = True
            self._end_try(row)
        else:
            self._schedule(row)

    # ---- what tasks tell the Execution API ----

    def start(self, flight: Flight) -> str:
        """Let a task start: `run`, or why not, as the handler takes it.

        `ended`: Airflow has its end. `duplicate`: another start is the one that counts.
        """
        row = flight.row
        if row.key == flight.key and row.state == "queued":
            row.state = "running"
            return "run"
        return "ended" if row.state in _FINAL else "duplicate"

    def end(self, flight: Flight, state: str) -> str | None:
        """Store the end that a task itself reports; return its state, None if that is refused."""
        row = flight.row
        if row.key != flight.key or row.state != "running":
            return None
        if state == "failed":
            row.is_harmed = True
            self._end_try(row)
        elif state in CONTINUED:
            row.state = state
            row.part += 1
            self._agenda.after(self._chance.between(1, 60), self._continue, row)
        else:
            self._close(row, state)
        return row.state

    def mark(self, row: Row) -> None:
        """Let a person mark a running task as successful."""
        if row.state == "running":
            row.was_marked = True
            self._close(row, "success")

    def miss_heartbeats(self, flight: Flight) -> None:
        """Notice in some time that a task is dead, unless it was reported before."""
        self._agenda.after(HEARTBEAT_TIMEOUT_S, self._time_out, flight.row, flight.row.key)

    def _time_out(self, row: Row, key: Key) -> None:
        if row.key == key and row.state == "running" and row.runner is None:
            self._oracle.counts["ended by its heartbeat"] += 1
            self._end_try(row)

    def _continue(self, row: Row) -> None:
        if row.state in CONTINUED:
            self._schedule(row)

    def _end_try(self, row: Row) -> None:
        if not row.is_harmed:
            self._oracle.broken("failed a healthy task", row.flight)
        self._oracle.counts["failed tries"] += 1
        if not row.tries_left:
            self._close(row, "failed")
            return
        row.tries_left -= 1
        row.state = "up_for_retry"
        self._agenda.after(self._chance.between(1, 30), self._try_again, row)

    def _try_again(self, row: Row) -> None:
        row.key = row.key._replace(try_number=row.key.try_number + 1)
        row.part, row.started, row.requeues, row.is_harmed = 1, 0, 0, False
        self._schedule(row)

    def _close(self, row: Row, state: str) -> None:
        row.state, row.ended_at_s = state, self._agenda.now_s
        self.open -= 1
        self._oracle.counts[f"{'callbacks' if row.is_callback else 'tasks'}: {state}"] += 1
        self._callbacks.pop(row.key.task_id, None)
        self._ended.append(row)

    # ---- schedulers ----

    def take(self, scheduler: Scheduler, events: Mapping[Key, str]) -> None:
        """Store a scheduler's events, as `process_executor_events` does.

        A task has already stored its own end, so an event fails one that has not ended, unless its
        scheduler has it queued or running again.
        """
        for key, state in events.items():
            row = self._rows.get(key.task_id)
            if row is None or row.key != key:
                continue
            if row.is_callback:
                if row.is_waited_for:
                    if state == "failed" and not row.is_harmed:
                        self._oracle.broken("failed a healthy callback", row.flight)
                    self._close(row, state)
            elif row.owner is scheduler and (row.is_waited_for or row.state == "scheduled"):
                if scheduler.has_slot(key):
                    continue
                if row.state == "scheduled":
                    self._oracle.broken("failed although it continues", row.flight)
                self._end_try(row)

    def orphans(self) -> list[Row]:
        """The tasks that are queued or running, and whose scheduler is gone."""
        return [
            row
            for row in self._rows.values()
            if row.owner and not row.owner.is_alive and row.is_waited_for and not row.is_callback
        ]

    def forget(self, schedulers: Iterable[Scheduler]) -> None:
        """Forget what ended some time ago and nobody waits for."""
        before_s = self._agenda.now_s - REMEMBERED_S
        while self._ended and self._ended[0].ended_at_s < before_s:
            row = self._ended.popleft()
            if any(scheduler.is_about(row.key) for scheduler in schedulers):
                row.ended_at_s = self._agenda.now_s
                self._ended.append(row)
            else:
                del self._rows[row.key.task_id]

    def waiting(self) -> list[Row]:
        """The workloads that have not ended."""
        return [row for row in self._rows.values() if row.state not in _ENDED]


def _may_stay_queued(flight: Flight) -> bool:
    """Whether a fault is why a dispatch has not started, and nobody could tell Airflow so."""
    met = flight.met
    was_not_sent = met & UNSENT and not flight.is_answered
    was_never_sent = KILLED in met and not flight.was_taken
    is_unreported = met & UNSTARTED and met & UNREPORTED
    return bool(met & SILENT or was_not_sent or was_never_sent or is_unreported)
