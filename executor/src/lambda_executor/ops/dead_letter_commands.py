"""`airflow lambda-executor dead-letters list|retry|purge`. At the edge that knows Airflow."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from airflow.configuration import conf

from lambda_executor import aws
from lambda_executor.contract.wire import InvocationId
from lambda_executor.ops import doctor, tasks
from lambda_executor.ops.dead_letters import Awaited, Entry, Look, obstacle, send_again
from lambda_executor.ops.terminal import Say, columns, command, span
from lambda_executor.setup.config import ExecutorConfig
from lambda_executor.setup.connection import Reach


@dataclass(frozen=True, slots=True)
class _Site:
    settings: ExecutorConfig
    inspection: aws.Inspection
    queue: aws.SqsQueue
    functions: aws.LambdaFunctions

    @classmethod
    def reach(cls) -> _Site:
        reach = Reach(conf, doctor.PATIENCE)
        settings = reach.settings()
        clients = reach.clients(settings)
        queue = aws.SqsQueue(clients, settings.dead_letter_queue_url)
        return cls(settings, aws.Inspection(clients), queue, aws.LambdaFunctions(clients))

    def hidden(self) -> int:
        """About how many dead letters nobody else can see now."""
        return self.inspection.queue(self.settings.dead_letter_queue_url).hidden


@command
def list_(args: argparse.Namespace, say: Say) -> bool:
    """Show what waits in the dead-letter queue, and leave it there."""
    site = _Site.reach()
    with Look(site.queue, args.limit) as look:
        entries = _all(look)
        awaited = _awaited(entries)
        held = max(0, site.hidden() - len(entries))
    now_s = time.time()
    rows = [_row(entry, awaited, now_s) for entry in entries]
    if args.json:
        say(json.dumps(rows, indent=2))
        return True
    for row in rows:
        say(str(row["id"] or "(no dispatch id)"))
        for name in ("task", "reason", "request_id", "age", "retry"):
            say(columns("", name.replace("_", " "), str(row[name] or "unknown")))
    more = ", and there may be more (--limit)" if len(rows) >= args.limit else ""
    say(f"{len(rows)} dead letters are visible{more}; about {held} are held by schedulers")
    return True


@command
def retry(args: argparse.Namespace, say: Say) -> bool:
    """Send invocations again whose task still waits for its start."""
    site = _Site.reach()
    wanted = frozenset(args.ids)
    if bool(wanted) == args.all:
        sys.stderr.write("Name the dispatch ids that `dead-letters list` shows, or say --all\n")
        return False
    is_well, found = True, set()
    with Look(site.queue, args.limit) as look:
        entries = [e for e in _all(look) if args.all or (e.letter and e.letter.id in wanted)]
        awaited = _awaited(entries)
        for entry in entries:
            task = _task(entry, awaited)
            why = obstacle(entry, task, time.time())
            if task is not None and not why:
                why = send_again(entry, task, site.settings.routes, site.functions, look)
            name = entry.letter.id if entry.letter else "(no dispatch id)"
            found.add(name)
            say(f"{name}: {f'left as it is: {why}' if why else 'sent again'}")
            is_well = is_well and not why
    for id in sorted(wanted - found):
        say(f"{id}: not among the visible dead letters")
        is_well = False
    return is_well


@command
def purge(args: argparse.Namespace, say: Say) -> bool:
    """Delete dead letters that no task waits for."""
    with Look(_Site.reach().queue, args.limit) as look:
        entries = _all(look)
        awaited = _awaited(entries)
        needless = [entry for entry in entries if _task(entry, awaited) is None]
        kept = len(entries) - len(needless)
        if kept:
            say(f"{kept} are kept: a task in flight waits for what a scheduler makes of them")
        if not args.yes:
            say(f"{len(needless)} would be deleted; --yes deletes them")
            return False
        refused = look.delete(needless)
    say(f"{len(needless) - refused} deleted")
    if refused:
        say(f"{refused} could not be deleted: run it again")
    return not refused


def _all(look: Look) -> list[Entry]:
    return list(_with_progress(look.entries()))


def _with_progress(entries: Iterable[Entry]) -> Iterator[Entry]:
    for number, entry in enumerate(entries, 1):
        yield entry
        if number % 100 == 0:
            sys.stderr.write(f"{number} dead letters looked at\n")


def _awaited(entries: Sequence[Entry]) -> dict[InvocationId, Awaited]:
    return tasks.awaited([entry.letter.id for entry in entries if entry.letter])


def _task(entry: Entry, awaited: Mapping[InvocationId, Awaited]) -> Awaited | None:
    return awaited.get(entry.letter.id) if entry.letter else None


def _row(
    entry: Entry, awaited: Mapping[InvocationId, Awaited], now_s: float
) -> dict[str, str | float | None]:
    task, age_s = _task(entry, awaited), entry.age_s(now_s)
    why = obstacle(entry, task, now_s)
    return {
        "id": entry.letter.id if entry.letter else None,
        "task": str(task.task) if task else entry.task,
        "reason": entry.reason,
        "request_id": entry.letter.request_id if entry.letter else None,
        "age_s": age_s,
        "age": None if age_s is None else span(age_s),
        "retry": f"no: {why}" if why else "possible",
    }
