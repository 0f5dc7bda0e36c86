"""What people do with dead letters, for the command line and for the page in Airflow."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lambda_executor.contract.wire import InvocationId
from lambda_executor.ops import tasks
from lambda_executor.ops.dead_letters import (
    Awaited,
    Entry,
    HeldMessages,
    reason_against,
    send_again,
)
from lambda_executor.setup.connection import Connected

#: The name of a message that is not about an invocation.
NAMELESS = "(no dispatch id)"

#: Gets the number of entries that were read so far.
Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Row:
    """A dead letter as a person sees it.

    Attributes:
        id: The dispatch id; None: the message is not about an invocation.
        task: The task's name; empty: the event does not contain it.
        reason: Lambda's reason.
        request_id: Lambda's request id.
        age_s: Seconds since Lambda gave up; None: that is not known.
        reason_against: Why it cannot be retried; empty: it can.
        is_awaited: Whether Airflow waits for it, so that a purge keeps it.
    """

    id: str | None
    task: str
    reason: str
    request_id: str | None
    age_s: float | None
    reason_against: str
    is_awaited: bool


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge found: entries that no task waits for, and those that it kept for a task.

    Attributes:
        refused: How many of the unneeded ones AWS did not delete.
    """

    unneeded: int
    kept: int
    refused: int = 0


def read(messages: HeldMessages, progress: Progress = lambda _: None) -> list[Entry]:
    """Receive the visible entries."""
    entries = []
    for entry in messages.entries():
        entries.append(entry)
        progress(len(entries))
    return entries


def rows(entries: Sequence[Entry]) -> list[Row]:
    """Describe entries for a person.

    Raises:
        DatabaseError: Airflow's database cannot be read.
    """
    awaited, now_s = _awaited(entries), time.time()
    return [_row(entry, _task(entry, awaited), now_s) for entry in entries]


def retry(
    connected: Connected,
    limit: int,
    wanted: Collection[str] | None,
    progress: Progress = lambda _: None,
) -> Iterator[tuple[str, str]]:
    """Send invocations again whose tasks have not started; yield each id and why it was left.

    Args:
        connected: The options and clients.
        limit: The most dead letters to look at.
        wanted: The dispatch ids; None: all.
        progress: As of `read`.

    Raises:
        AwsError: The queue cannot be read.
        ConfigError: There is no dead-letter queue.
        DatabaseError: Airflow's database cannot be read.
    """
    dead_letters, _ = connected.existing_dead_letters()
    found = set()
    with HeldMessages(dead_letters, limit) as messages:
        entries = [
            entry
            for entry in read(messages, progress)
            if wanted is None or (entry.letter and entry.letter.id in wanted)
        ]
        awaited = _awaited(entries)
        for entry in entries:
            task = _task(entry, awaited)
            reason = reason_against(entry, task, time.time())
            if task is not None and not reason:
                routes, functions = connected.config.routes, connected.functions
                reason = send_again(entry, task, routes, functions, messages)
            name = entry.letter.id if entry.letter else NAMELESS
            found.add(name)
            yield name, f"left as it is: {reason}" if reason else ""
    for id in sorted(set(wanted or ()) - found):
        yield id, "not among the visible dead letters"


def purge(
    connected: Connected, limit: int, *, is_sure: bool, progress: Progress = lambda _: None
) -> Purged:
    """Delete the dead letters that no task waits for; without `is_sure` only count them.

    Raises:
        AwsError: The queue cannot be read, or nothing can be deleted from it.
        ConfigError: There is no dead-letter queue.
        DatabaseError: Airflow's database cannot be read.
    """
    dead_letters, _ = connected.existing_dead_letters()
    with HeldMessages(dead_letters, limit) as messages:
        entries = read(messages, progress)
        awaited = _awaited(entries)
        unneeded = [entry for entry in entries if _task(entry, awaited) is None]
        kept = len(entries) - len(unneeded)
        refused = messages.delete(unneeded) if is_sure else 0
    return Purged(len(unneeded), kept, refused)


def _awaited(entries: Sequence[Entry]) -> dict[InvocationId, Awaited]:
    return tasks.awaited([entry.letter.id for entry in entries if entry.letter])


def _task(entry: Entry, awaited: Mapping[InvocationId, Awaited]) -> Awaited | None:
    return awaited.get(entry.letter.id) if entry.letter else None


def _row(entry: Entry, task: Awaited | None, now_s: float) -> Row:
    return Row(
        entry.letter.id if entry.letter else None,
        str(task.task) if task else entry.task,
        entry.reason,
        entry.letter.request_id if entry.letter else None,
        entry.age_s(now_s),
        reason_against(entry, task, now_s),
        task is not None,
    )
