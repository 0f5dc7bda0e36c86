"""The commands `airflow lambda-executor dead-letters list|retry|purge`."""

from __future__ import annotations

import argparse
import json
import sys

from lambda_executor.engine.poller import HAND_BACK_CAP_S
from lambda_executor.ops import dead_letter_actions as actions
from lambda_executor.ops.dead_letter_actions import Row
from lambda_executor.ops.dead_letters import HeldMessages
from lambda_executor.ops.doctor import checks
from lambda_executor.ops.terminal import Say, columns, command, span
from lambda_executor.setup.connection import connect
from lambda_executor.setup.team_conf import conf_of_team


@command
def list_(args: argparse.Namespace, say: Say) -> bool:
    """Print the dead letters, without deleting any."""
    connected = connect(conf_of_team(args.team), checks.PATIENCE)
    dead_letters, url = connected.existing_dead_letters()
    with HeldMessages(dead_letters, args.limit) as messages:
        entries = actions.read(messages, _progress)
        queue = connected.inspection.queue(url)
        hidden = max(0, queue.hidden - len(entries))
        rows = [_as_json(row) for row in actions.rows(entries)]
    if args.json:
        say(*json.dumps(rows, indent=2).splitlines())
        return True
    for row in rows:
        say(str(row["id"] or actions.NAMELESS))
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
    connected = connect(conf_of_team(args.team), checks.PATIENCE)
    if bool(args.ids) == args.all:
        sys.stderr.write("Name the dispatch ids that `dead-letters list` shows, or say --all\n")
        return False
    is_ok = True
    for id, left in actions.retry(connected, args.limit, args.ids or None, _progress):
        say(f"{id}: {left or 'sent again'}")
        is_ok = is_ok and not left
    return is_ok


@command
def purge(args: argparse.Namespace, say: Say) -> bool:
    """Delete dead letters that no task waits for."""
    connected = connect(conf_of_team(args.team), checks.PATIENCE)
    found = actions.purge(connected, args.limit, is_sure=args.yes, progress=_progress)
    if found.kept:
        say(f"{found.kept} are kept: a task in flight waits for what a scheduler makes of them")
    if not args.yes:
        say(f"{found.unneeded} would be deleted; --yes deletes them")
        return False
    say(f"{found.unneeded - found.refused} deleted")
    if found.refused:
        say(f"{found.refused} could not be deleted: run it again")
    return not found.refused


def _progress(number: int) -> None:
    if number % 100 == 0:
        sys.stderr.write(f"{number} dead letters read\n")


def _as_json(row: Row) -> dict[str, str | float | None]:
    return {
        "id": row.id,
        "task": row.task,
        "reason": row.reason,
        "request_id": row.request_id,
        "age_s": row.age_s,
        "age": None if row.age_s is None else span(row.age_s),
        "retry": f"no: {row.reason_against}" if row.reason_against else "possible",
    }
