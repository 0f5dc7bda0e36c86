"""The command `airflow lambda-executor explain`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from airflow.configuration import conf
from airflow.version import version as airflow_version

from lambda_executor.contract.help import address
from lambda_executor.contract.names import FAILURE_EVENT, ROUTING_EVENT
from lambda_executor.contract.visible import one_line
from lambda_executor.ops.doctor.installation import live_schedulers
from lambda_executor.ops.explain import airflow_records, aws_answers, verdict
from lambda_executor.ops.explain.airflow_records import Records
from lambda_executor.ops.explain.aws_answers import Answers
from lambda_executor.ops.explain.evidence import Event, Evidence, Fact, Try, reason_of
from lambda_executor.ops.explain.verdict import Verdict
from lambda_executor.ops.terminal import Say, columns, command
from lambda_executor.setup.team_conf import conf_of_team
from lambda_executor.setup.time_limits import longest_wait

_HEARTBEAT_TIMEOUT_S = 300
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@command
def explain(args: argparse.Namespace, say: Say) -> bool:
    """Print why a task failed or waits, and the story in order of time.

    Fail when a part of it could not be read.
    """
    records = airflow_records.read(args.dag, args.task, args.run, args.map_index, args.try_number)
    task = records.task
    reason = reason_of(records.events, task.name.try_number)
    answers = aws_answers.ask(conf_of_team(args.team), task, reason) if task.is_ours else Answers()
    waits = [*_without_scheduler(task), *records.waits, *answers.waits]
    evidence = Evidence(task, records.events, answers.log, answers.job_ends, waits)
    found = verdict.of(evidence)
    facts = in_order([*_of_airflow(records), *answers.facts, *_rules(task)])
    if args.json or args.output == "json":
        say(*json.dumps(_as_json(task, answers, found, facts), indent=2).splitlines())
    else:
        _show(task, answers, found, facts, say)
    return not answers.unread


def in_order(facts: Sequence[Fact]) -> list[Fact]:
    """Return facts in order of time, and then those that are so now."""
    dated = [fact for fact in facts if fact.at is not None]
    return [
        *sorted(dated, key=lambda fact: fact.at or _LONG_AGO),
        *(fact for fact in facts if fact.at is None),
    ]


def _without_scheduler(task: Try) -> Iterator[str]:
    if task.is_ours and task.state in (None, "scheduled", "queued"):
        live = live_schedulers()
        if not any(scheduler.runs_ours for scheduler in live):
            which = "runs this executor" if live else "runs"
            yield f"no scheduler that is alive {which}" if live else "no scheduler is alive"


def _of_airflow(records: Records) -> Iterator[Fact]:
    for earlier in records.earlier:
        number = earlier.name.try_number
        reason = reason_of(records.events, number)
        text = f"try {number} ended as {earlier.state}{f': {reason}' if reason else ''}"
        yield Fact(earlier.ended_at, "task history", text)
    task = records.task
    where = f"queue {task.queue!r}, pool {task.pool!r}"
    id = f", dispatch id {task.dispatch_id}" if task.dispatch_id else ""
    for at, text in (
        (task.scheduled_at, f"try {task.name.try_number} was scheduled"),
        (task.queued_at, f"it was queued ({where}{id})"),
        (task.started_at, f"it started{f' on {task.host}' if task.host else ''}"),
        (task.ended_at, f"it ended as {task.state}"),
    ):
        if at is not None and task.state is not None:
            yield Fact(at, "task instance", text)
    for event in records.events:
        if event.try_number in (None, task.name.try_number):
            yield Fact(event.at, "audit log", _told(event))


def _told(event: Event) -> str:
    """Return an entry of the audit log; what a person's request contained is left out."""
    if event.name in (FAILURE_EVENT, ROUTING_EVENT):
        return event.text
    by = f" by {event.owner}" if event.owner else ""
    text = "" if event.text.startswith("{") or not event.text else f": {one_line(event.text)}"
    return f"{event.name}{by}{text}"


def _rules(task: Try) -> Iterator[Fact]:
    """Yield what Airflow does if nothing more is heard of a task.

    Raises:
        ConfigError: A time limit is not a number.
    """
    if task.state == "queued" and task.queued_at:
        limit = longest_wait(conf, airflow_version)
        text = f"it may wait for its start until then ({limit.option} is {limit.seconds:.0f} s); "
        text += "Airflow takes it back after that, and queues it again or fails it"
        yield Fact(task.queued_at + timedelta(seconds=limit.seconds), "rule", text)
    if task.state == "running" and task.heartbeat_at:
        yield Fact(task.heartbeat_at, "task instance", "its newest heartbeat")
        seconds = conf.getint(
            "scheduler", "task_instance_heartbeat_timeout", fallback=_HEARTBEAT_TIMEOUT_S
        )
        text = "without another heartbeat until then, Airflow ends it ([scheduler] "
        text += f"task_instance_heartbeat_timeout is {seconds} s)"
        yield Fact(task.heartbeat_at + timedelta(seconds=seconds), "rule", text)


def _show(task: Try, answers: Answers, found: Verdict, facts: Sequence[Fact], say: Say) -> None:
    say(*columns("", "task", f"{task.name}: {task.state or 'not scheduled'}"))
    if answers.target:
        say(*columns("", "target", str(answers.target)))
    say(*columns("", "verdict", found.text))
    for name, text in (("fix", found.fix), ("see", address(found.page))):
        if text:
            say(*columns("", name, text))
    day = ""
    for fact in facts:
        at = fact.at.astimezone(UTC) if fact.at else None
        if at and f"{at:%Y-%m-%d}" != day:
            day = f"{at:%Y-%m-%d}"
            say("", f"{day} (UTC)")
        elif at is None and day != "now":
            day = "now"
            say("", "now")
        say(*columns(f"{at:%H:%M:%S}" if at else "", fact.source, fact.text))


def _as_json(
    task: Try, answers: Answers, found: Verdict, facts: Sequence[Fact]
) -> dict[str, object]:
    name = task.name
    return {
        "dag_id": name.dag_id,
        "task_id": name.task_id,
        "run_id": name.run_id,
        "map_index": name.map_index,
        "try_number": name.try_number,
        "state": task.state,
        "target": str(answers.target) if answers.target else None,
        "dispatch_id": task.dispatch_id,
        "verdict": found.text,
        "fix": found.fix,
        "page": address(found.page),
        "story": [
            {
                "at": fact.at.astimezone(UTC).isoformat() if fact.at else None,
                "source": fact.source,
                "text": fact.text,
            }
            for fact in facts
        ],
        "unread": answers.unread,
    }
