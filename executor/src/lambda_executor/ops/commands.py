"""`airflow lambda-executor check` and `status`. At the edge that knows Airflow."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from typing import Any

from airflow.configuration import conf
from airflow.version import version as airflow_version

from lambda_executor.aws import Inspection
from lambda_executor.contract.errors import AwsError, LambdaExecutorError
from lambda_executor.core.findings import Finding, Status
from lambda_executor.ops import doctor
from lambda_executor.ops import tasks as airflow_tasks
from lambda_executor.ops.diagnosis import Versions
from lambda_executor.ops.terminal import Say, columns, command, since
from lambda_executor.setup.connection import Reach

#: How many of the newest failures `status` shows.
FAILURES = 10


@command
def check(args: argparse.Namespace, say: Say) -> bool:
    """Find out what is wrong, and how to fix it."""
    findings = []
    for finding in doctor.examine(conf, Versions(airflow_version, platform.python_version())):
        findings.append(finding)
        if not args.json:
            _show(finding, say)
    if args.json:
        say(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        ok, to_fix, unknown = (sum(f.status is status for f in findings) for status in Status)
        say(f"{ok} ok, {to_fix} to fix, {unknown} unknown")
    return not any(finding.is_problem for finding in findings)


def _show(finding: Finding, say: Say) -> None:
    of = f"{finding.of}: " if finding.of else ""
    say(columns(finding.status.name, finding.subject, f"{of}{finding.said}"))
    if finding.fix:
        say(columns("", "", f"fix: {finding.fix}"))


@command
def status(args: argparse.Namespace, say: Say) -> bool:
    """Tell what is in flight, what waits in the queues and what failed last."""
    active, failures = airflow_tasks.active(), airflow_tasks.failures(FAILURES)
    queues, obstacles = _queues()
    if args.json:
        told = {
            "in_flight": [asdict(tasks) for tasks in active],
            "queues": queues,
            "last_errors": [asdict(failure) for failure in failures],
            "obstacles": obstacles,
        }
        say(json.dumps(told, indent=2, default=str))
        return not obstacles
    if not active:
        say(columns("", "in flight", "nothing"))
    for tasks in active:
        oldest = f", the oldest for {since(tasks.oldest_at)}" if tasks.oldest_at else ""
        say(columns("", "in flight", f"{tasks.count} {tasks.state}{oldest}"))
    for queue in queues:
        depth = f"{queue['visible']} messages wait, {queue['hidden']} are held"
        say(columns("", queue["subject"], f"{queue['name']}: {depth}"))
    for obstacle in obstacles:
        say(columns("PROBLEM", "", obstacle))
    for failure in failures:
        of = f"{failure.task}: " if failure.task else ""
        ago = f"{since(failure.at)} ago, " if failure.at else ""
        say(columns("", "failed", f"{ago}{of}{failure.said}"))
    return not obstacles


def _queues() -> tuple[list[dict[str, Any]], list[str]]:
    """The depth of every queue, and what kept some of them from being known."""
    try:
        reach = Reach(conf, doctor.PATIENCE)
        settings = reach.settings()
    except LambdaExecutorError as e:
        return [], [str(e)]
    inspection = Inspection(reach.clients(settings))
    queues, obstacles = [], []
    for subject, url in (
        *(("results queue", url) for url in settings.queue_urls),
        ("dead-letter queue", settings.dead_letter_queue_url),
    ):
        name = url.rpartition("/")[2]
        try:
            facts = inspection.queue(url)
        except AwsError as e:
            obstacles.append(f"{subject} {name}: {e}")
        else:
            depth = {"visible": facts.visible, "hidden": facts.hidden}
            queues.append({"subject": subject, "name": name, **depth})
    return queues, obstacles
