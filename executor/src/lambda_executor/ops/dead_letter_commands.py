"""The commands `airflow lambda-executor dead-letters list|retry|purge`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence

from airflow.configuration import conf

from lambda_executor.contract.wire import InvocationId
from lambda_executor.engine.poller import HAND_BACK_CAP_S
from lambda_executor.ops import tasks
from lambda_executor.ops.dead_letters import (
    Awaited,
    Entry,
    HeldMessages,
    reason_against,
    send_again,
)
from lambda_executor.ops.doctor import checks
from lambda_executor.ops.terminal import Say, columns, command, span
from lambda_executor.setup.connection import connect


@command
def list_(args: argparse.Namespace, say: Say) -> bool:
    """Print the dead letters, without deleting any."""
    connected = connect(conf, checks.PATIENCE)
    dead_letters, url = connected.existing_dead_letters()
    with HeldMessages(dead_letters, args.limit) as messages:
        entries = _all(messages)
        awaited = _awaited(entries)
        queue = connected.inspection.queue(url)
        hidden = max(0, queue.hidden - len(entries))
    now_s = time.time()
    rows = [_row(entry, awaited, now_s) for entry in entries]
    if args.json:
        say(*json.dumps(rows, indent=2).splitlines())
        return True
    for row in rows:
        say(str(row["id"] or "(no dispatch id)"))
        for name in ("task", "reason", "request_id", "age", "retry"):
            say(*columns("", name.replace("_", " "), str(row[name] or "unknown")))
    more = ", and there may be more (--limit)" if len(rows) >= args.limit else ""
    say(f"{len(rows)} dead letters are visible{more}")
    if hidden:
        say(
            f"about {hidden} more are hidden: received and not deleted yet, or handed back by a "
            f"scheduler, which hides them for up to {HAND_BACK_CAP_S // 60} minutes"
        )
    return True


@command
def retry(args: argparse.Namespace, say: Say) -> bool:
    """Send invocations again whose tasks have not started."""
    connected = connect(conf, checks.PATIENCE)
    wanted = frozenset(args.ids)
    if bool(wanted) == args.all:
        sys.stderr.write("Name the dispatch ids that `dead-letters list` shows, or say --all\n")
        return False
    is_ok, found = True, set()
    dead_letters, _ = connected.existing_dead_letters()
    with HeldMessages(dead_letters, args.limit) as messages:
        entries = [e for e in _all(messages) if args.all or (e.letter and e.letter.id in wanted)]
        awaited = _awaited(entries)
        for entry in entries:
            task = _task(entry, awaited)
            reason = reason_against(entry, task, time.time())
            if task is not None and not reason:
                routes, functions = connected.config.routes, connected.functions
                reason = send_again(entry, task, routes, functions, messages)
            name = entry.letter.id if entry.letter else "(no dispatch id)"
            found.add(name)
            say(f"{name}: {f'left as it is: {reason}' if reason else 'sent again'}")
            is_ok = is_ok and not reason
    for id in sorted(wanted - found):
        say(f"{id}: not among the visible dead letters")
        is_ok = False
    return is_ok


@command
def purge(args: argparse.Namespace, say: Say) -> bool:
    """Delete dead letters that no task waits for."""
    dead_letters, _ = connect(conf, checks.PATIENCE).existing_dead_letters()
    with HeldMessages(dead_letters, args.limit) as messages:
        entries = _all(messages)
        awaited = _awaited(entries)
        unneeded = [entry for entry in entries if _task(entry, awaited) is None]
        kept = len(entries) - len(unneeded)
        if kept:
            say(f"{kept} are kept: a task in flight waits for what a scheduler makes of them")
        if not args.yes:
            say(f"{len(unneeded)} would be deleted; --yes deletes them")
            return False
        refused = messages.delete(unneeded)
    say(f"{len(unneeded) - refused} deleted")
    if refused:
        say(f"{refused} could not be deleted: run it again")
    return not refused


def _all(messages: HeldMessages) -> list[Entry]:
    entries = []
    for entry in messages.entries():
        entries.append(entry)
        if len(entries) % 100 == 0:
            sys.stderr.write(f"{len(entries)} dead letters read\n")
    return entries


def _awaited(entries: Sequence[Entry]) -> dict[InvocationId, Awaited]:
    return tasks.awaited([entry.letter.id for entry in entries if entry.letter])


def _task(entry: Entry, awaited: Mapping[InvocationId, Awaited]) -> Awaited | None:
    return awaited.get(entry.letter.id) if entry.letter else None


def _row(
    entry: Entry, awaited: Mapping[InvocationId, Awaited], now_s: float
) -> dict[str, str | float | None]:
    task, age_s = _task(entry, awaited), entry.age_s(now_s)
    reason = reason_against(entry, task, now_s)
    return {
        "id": entry.letter.id if entry.letter else None,
        "task": str(task.task) if task else entry.task,
        "reason": entry.reason,
        "request_id": entry.letter.request_id if entry.letter else None,
        "age_s": age_s,
        "age": None if age_s is None else span(age_s),
        "retry": f"no: {reason}" if reason else "possible",
    }
