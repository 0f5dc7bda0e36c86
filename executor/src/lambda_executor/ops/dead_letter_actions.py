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
#: Gets a DAG's id, or None where that is not known; tells whether a person may act on its tasks.
May = Callable[[str | None], bool]


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
        withheld: How many that no task waits for the person may not delete.
        ids: The dispatch ids of the unneeded ones.
    """

    unneeded: int
    kept: int
    refused: int = 0
    withheld: int = 0
    ids: tuple[str, ...] = ()


def read(messages: HeldMessages, progress: Progress = lambda _: None) -> list[Entry]:
    """Receive the visible entries."""
    entries = []
    for entry in messages.entries():
        entries.append(entry)
        progress(len(entries))
    return entries


def rows(entries: Sequence[Entry], may: May = lambda _: True) -> list[Row]:
    """Describe entries for a person, but those that the person may not see.

    Raises:
        DatabaseError: Airflow's database cannot be read.
    """
    awaited, now_s = _awaited(entries), time.time()
    found = [(entry, _task(entry, awaited)) for entry in entries]
    return [_row(entry, task, now_s) for entry, task in found if may(_dag_id(entry, task))]


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
    connected: Connected,
    limit: int,
    *,
    is_sure: bool,
    may: May = lambda _: True,
    progress: Progress = lambda _: None,
) -> Purged:
    """Delete the dead letters that no task waits for; without `is_sure` only count them.

    Args:
        connected: The options and clients.
        limit: The most dead letters to look at.
        is_sure: Whether to delete them.
        may: Whether the person may delete those of a DAG.
        progress: As of `read`.

    Raises:
        AwsError: The queue cannot be read, or nothing can be deleted from it.
        ConfigError: There is no dead-letter queue.
        DatabaseError: Airflow's database cannot be read.
    """
    dead_letters, _ = connected.existing_dead_letters()
    with HeldMessages(dead_letters, limit) as messages:
        entries = read(messages, progress)
        awaited = _awaited(entries)
        unawaited = [entry for entry in entries if _task(entry, awaited) is None]
        unneeded = [entry for entry in unawaited if may(_dag_id(entry, None))]
        refused = messages.delete(unneeded) if is_sure else 0
    return Purged(
        len(unneeded),
        len(entries) - len(unawaited),
        refused,
        len(unawaited) - len(unneeded),
        tuple(entry.letter.id for entry in unneeded if entry.letter),
    )


def _awaited(entries: Sequence[Entry]) -> dict[InvocationId, Awaited]:
    return tasks.awaited([entry.letter.id for entry in entries if entry.letter])


def _task(entry: Entry, awaited: Mapping[InvocationId, Awaited]) -> Awaited | None:
    return awaited.get(entry.letter.id) if entry.letter else None


def _dag_id(entry: Entry, task: Awaited | None) -> str | None:
    """Airflow's word on it counts, if it has one: a function's role can forge an event."""
    name = task.task if task else entry.task
    return name.dag_id if name else None


def _row(entry: Entry, task: Awaited | None, now_s: float) -> Row:
    return Row(
        entry.letter.id if entry.letter else None,
        str((task.task if task else entry.task) or ""),
        entry.reason,
        entry.letter.request_id if entry.letter else None,
        entry.age_s(now_s),
        reason_against(entry, task, now_s),
        task is not None,
    )
