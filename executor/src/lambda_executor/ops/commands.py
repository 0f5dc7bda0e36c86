"""The commands `airflow lambda-executor check` and `status`."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from airflow.configuration import conf
from airflow.version import version as airflow_version

from lambda_executor.contract.errors import AwsError, LambdaExecutorError
from lambda_executor.contract.options import SECTION
from lambda_executor.core.findings import Finding, Status
from lambda_executor.core.places import Limit
from lambda_executor.ops import target_status
from lambda_executor.ops import tasks as airflow_tasks
from lambda_executor.ops.doctor import checks
from lambda_executor.ops.doctor.dag_findings import Versions
from lambda_executor.ops.doctor.diagnosis import depth_of
from lambda_executor.ops.terminal import Say, columns, command, complaint, since, watch
from lambda_executor.setup.connection import connect
from lambda_executor.setup.option_values import Conf
from lambda_executor.setup.team_conf import conf_of_team, prefix, variables_of_team

#: Number of failures that `status` shows.
FAILURES = 10
_SECTION = f"{SECTION.upper()}__"


@command
def check(args: argparse.Namespace, say: Say) -> bool:
    """Print every finding of the doctor; fail when one has to be fixed."""
    findings = []
    here = Versions(airflow_version, platform.python_version())
    found = _of_team(args.team, here) if args.team else checks.examine(conf, os.environ, here)
    for finding in found:
        findings.append(finding)
        if not args.json:
            _show(finding, say)
    if args.json:
        say(*json.dumps([f.as_json() for f in findings], indent=2).splitlines())
    else:
        ok, to_fix, unknown = (sum(f.status is status for f in findings) for status in Status)
        say(f"{ok} ok, {to_fix} to fix, {unknown} unknown")
    return not any(finding.is_problem for finding in findings)


def _of_team(team: str, here: Versions) -> Iterator[Finding]:
    """Yield the findings about a team's own options, which it sets by other variables."""
    bare, own = prefix(), prefix(team)
    for finding in checks.examine(conf_of_team(team), variables_of_team(team), here):
        texts = {
            name: getattr(finding, name).replace(f"{bare}{_SECTION}", f"{own}{_SECTION}")
            for name in ("detail", "fix", "command")
        }
        yield replace(finding, **texts)


def _show(finding: Finding, say: Say) -> None:
    of = f"{finding.of}: " if finding.of else ""
    say(*columns(finding.status.name, finding.subject, f"{of}{finding.detail}"))
    if finding.fix:
        say(*columns("", "", f"fix: {finding.fix}"))
    if finding.command:  # On one line of its own, however long, so that it can be copied.
        say(f"{' ' * 28}{finding.command}")
    if finding.help:
        say(f"{' ' * 28}{finding.help}")


@command
def status(args: argparse.Namespace, say: Say) -> bool:
    """Print in-flight and scheduled tasks, the targets, the queues and the latest failures."""
    of_team = conf_of_team(args.team)
    if args.watch is None:
        return _status(say, of_team, as_json=args.json, indent=2)
    # Each JSON document is one line, for a program that reads them as they come.
    draw = partial(_status, conf=of_team, as_json=args.json, indent=None)
    watch(say, draw, args.watch, append=args.json)
    return True


def _status(say: Callable[..., None], conf: Conf, *, as_json: bool, indent: int | None) -> bool:
    active, failures = airflow_tasks.active(), airflow_tasks.failures(FAILURES)
    scheduled = airflow_tasks.scheduled()
    found = _found_in_aws(conf)
    if as_json:
        answer = {
            "in_flight": [asdict(tasks) for tasks in active],
            "scheduled": scheduled,
            "may_run": {limit.name: limit.most for limit in found.limits},
            "targets": found.targets,
            "queues": found.queues,
            "last_errors": [asdict(failure) for failure in failures],
            "reasons": found.reasons,
        }
        say(*json.dumps(answer, indent=indent, default=str).splitlines())
        return not found.reasons
    if not active:
        say(*columns("", "in flight", "nothing"))
    for tasks in active:
        oldest = f", the oldest for {since(tasks.oldest_at)}" if tasks.oldest_at else ""
        say(*columns("", "in flight", f"{tasks.count} {tasks.state}{oldest}"))
    if scheduled:
        what = f"{scheduled} scheduled, until a function, a pool or another limit has room"
        say(*columns("", "waiting", what))
    for limit in found.limits:
        say(*columns("", "may run", f"{limit.name}: {limit.most} invocations at once"))
    for row in target_status.rows(found.targets):
        say(*columns("", "target", row))
    for queue in found.queues:
        depth = depth_of(queue["visible"], queue["hidden"])
        say(*columns("", queue["subject"], f"{queue['name']}: {depth}"))
    for reason in found.reasons:
        say(*complaint(reason))
    for failure in failures:
        of = f"{failure.task}: " if failure.task else ""
        ago = f"{since(failure.at)} ago, " if failure.at else ""
        say(*columns("", "failed", f"{ago}{of}{failure.reason}"))
    return not found.reasons


@dataclass(frozen=True, slots=True)
class _Found:
    """The queues' depths, the functions' limits, the targets, and why some could not be read."""

    queues: list[dict[str, Any]] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    targets: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def _found_in_aws(conf: Conf) -> _Found:
    try:
        connected = connect(conf, checks.PATIENCE)
    except LambdaExecutorError as e:
        return _Found(reasons=[str(e)])
    found = _Found()
    try:
        found.limits.extend(dict.fromkeys(filter(None, connected.limits.read().values())))
    except AwsError as e:
        found.reasons.append(f"how many invocations the functions may run: {e}")
    routes = connected.config.routes
    if routes.job_targets():
        targets, reasons = target_status.read(routes, connected.clients)
        found.targets.extend(targets)
        found.reasons.extend(reasons)
    for subject, url in (
        *(("results queue", url) for url in connected.config.queue_urls),
        ("dead-letter queue", connected.config.dead_letter_queue_url),
    ):
        if url is None:
            continue
        name = url.rpartition("/")[2]
        try:
            facts = connected.inspection.queue(url)
        except AwsError as e:
            found.reasons.append(f"{subject} {name}: {e}")
        else:
            depth = {"visible": facts.visible, "hidden": facts.hidden}
            found.queues.append({"subject": subject, "name": name, **depth})
    return found
