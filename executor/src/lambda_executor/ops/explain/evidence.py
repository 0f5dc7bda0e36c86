"""What is known about one try of one task, as the readers find it and the verdict takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lambda_executor.contract.names import FAILURE_EVENT
from lambda_executor.ops.dead_letters import TaskName

#: The events of Airflow's audit log that say why Airflow itself ended a try or took it back.
_AIRFLOWS_REASONS = frozenset(
    {
        "fail task",
        "heartbeat timeout",
        "state mismatch",
        "stuck in queued reschedule",
        "stuck in queued tries exceeded",
    }
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the story.

    Attributes:
        at: When it happened; None: it is so now.
        source: Who says so.
        text: What happened.
    """

    at: datetime | None
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a task, as Airflow's database has it.

    Attributes:
        state: Airflow's state; None: Airflow has not scheduled it yet.
        dispatch_id: The id of its newest invocation.
        executor: The executor that the task names; None: it names none.
        is_ours: Whether the executor of this package gets it.
    """

    name: TaskName
    state: str | None
    dispatch_id: str | None = None
    queue: str | None = None
    pool: str | None = None
    executor: str | None = None
    is_ours: bool = True
    executor_config: Mapping[str, Any] | None = field(default=None, repr=False)
    host: str | None = None
    scheduled_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    heartbeat_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of Airflow's audit log about the task."""

    at: datetime | None
    name: str
    text: str
    try_number: int | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class LogStory:
    """What the log of a function or a job says about one invocation.

    Attributes:
        facts: Its lines that tell the story.
        has_started: Whether the handler began.
        settled: The fields of the line with which the handler ended; empty: there is none.
        crash: Lambda's own words about a crash or a time-out; empty: there are none.
    """

    facts: tuple[Fact, ...] = ()
    has_started: bool = False
    settled: Mapping[str, Any] = field(default_factory=dict)
    crash: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the verdict is made of.

    Attributes:
        task: The try that is asked about.
        events: Airflow's audit log about it.
        log: The log of its invocation.
        job_ends: Why its jobs have ended, in words for a person.
        waits: What keeps it waiting, the most certain first; each a part of a sentence.
    """

    task: Try
    events: Sequence[Event] = ()
    log: LogStory = LogStory()
    job_ends: Sequence[str] = ()
    waits: Sequence[str] = ()

    @property
    def executors_reason(self) -> str:
        """The executor's reason for the failure of this try; empty: it gave none."""
        return reason_of(self.events, self.task.name.try_number)

    @property
    def airflows_reason(self) -> str:
        """Airflow's own reason for the end of this try; empty: it gave none."""
        found = [
            f"{event.name}: {event.text}" if event.text else event.name
            for event in self.events
            if event.name in _AIRFLOWS_REASONS
            and event.try_number in (None, self.task.name.try_number)
        ]
        return found[-1] if found else ""


def reason_of(events: Sequence[Event], try_number: int) -> str:
    """Return the executor's reason for the failure of a try; empty: it gave none."""
    found = [e.text for e in events if e.name == FAILURE_EVENT and e.try_number == try_number]
    return found[-1] if found else ""
