"""Where one task's invocation can be looked at: its ids, its log, and AWS's console."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from lambda_executor.aws import LogGroup
from lambda_executor.contract.log_lines import fields_of
from lambda_executor.core.routing import overrides
from lambda_executor.core.targets import FunctionTarget, Target
from lambda_executor.ops.explain import airflow_records, log_story
from lambda_executor.ops.explain.aws_answers import CLOCKS
from lambda_executor.ops.explain.evidence import Try, reason_of
from lambda_executor.plugin import console, links, page_path
from lambda_executor.plugin.panels import Answer, answer, with_wiring
from lambda_executor.plugin.wiring import WIRING
from lambda_executor.setup.connection import Connected
from lambda_executor.setup.job_log_groups import JobLogGroups

#: Seconds for which a found invocation serves all links of its task.
KEPT_S = 5.0

_LOG_GROUPS = JobLogGroups()


@dataclass(frozen=True, slots=True)
class Invocation:
    """The newest invocation of a try of a task.

    Attributes:
        reason: The executor's reason for its failure; empty: there is none.
        request_id: Lambda's request id, as far as the reason has it; else empty.
    """

    task: Try
    reason: str
    request_id: str

    @property
    def since(self) -> datetime | None:
        """From when on its log may have lines of it; None: it was not queued."""
        queued_at = self.task.queued_at or self.task.started_at
        return queued_at - CLOCKS if queued_at else None


def find(
    dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int | None
) -> Invocation | None:
    """Return the invocation of a try, without a number of the newest one; None: we have none.

    Raises:
        DatabaseError: Airflow's database cannot be read.
        UnknownTaskError: Airflow has no such run, task, map index or try.
    """
    records = airflow_records.read(dag_id, task_id, run_id, map_index, try_number)
    task = records.task
    if not task.is_ours or not task.dispatch_id:
        return None
    reason = reason_of(records.events, task.name.try_number)
    return Invocation(task, reason, log_story.request_id_in(reason))


@functools.lru_cache(maxsize=128)
def _found(moment: int, *key: Any) -> Invocation | None:  # noqa: ANN401, ARG001 - as `find`
    return find(*key)


def just_found(
    dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int | None
) -> Invocation | None:
    """Return what `find` does, or what it did a few seconds ago: Airflow asks for each link.

    Raises:
        DatabaseError: Airflow's database cannot be read.
        UnknownTaskError: Airflow has no such run, task, map index or try.
    """
    return _found(int(time.monotonic() / KEPT_S), dag_id, run_id, task_id, map_index, try_number)


def log_link(invocation: Invocation) -> str:
    """Return the console's page of the invocation's lines in the log of its function or job.

    Raises:
        LambdaExecutorError: It is not known where it logs.
    """
    found = WIRING.current()
    group = _log_group(found, _target(found, invocation), invocation)
    id = invocation.task.dispatch_id or ""
    return console.log_page(_region(found), group, id, invocation.since)


def console_link(invocation: Invocation) -> str:
    """Return the console's page of the invocation's function; empty: it is a job.

    Raises:
        LambdaExecutorError: Its target is not known.
    """
    found = WIRING.current()
    return _console_page(_region(found), _target(found, invocation))


def request_link(invocation: Invocation) -> str:
    """Return the address of our page about an invocation, which shows its request id."""
    name = invocation.task.name
    query = {
        "dag_id": name.dag_id,
        "run_id": name.run_id,
        "task_id": name.task_id,
        "map_index": name.map_index,
        "try_number": name.try_number,
    }
    return f"{page_path()}?{urlencode(query)}"


#: What makes the address of each of a task's links.
ADDRESSES: Mapping[str, Callable[[Invocation], str]] = {
    links.LOG: log_link,
    links.REQUEST: request_link,
    links.CONSOLE: console_link,
}


def described(
    dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int | None
) -> Answer:
    """Return what the page shows of an invocation, with one call of AWS for its request id."""
    found: list[Invocation] = []

    def read() -> Answer:
        invocation = find(dag_id, run_id, task_id, map_index, try_number)
        if invocation is None:
            return {"problem": "this executor has no invocation of this task", "missing": None}
        found.append(invocation)
        return {}

    if problem := answer("", read):
        return problem
    (invocation,) = found
    task = invocation.task
    facts: dict[str, Any] = {
        "task": str(task.name),
        "state": task.state,
        "dispatch_id": task.dispatch_id,
        "queue": task.queue,
        "host": task.host,
        "queued_at": task.queued_at,
        "started_at": task.started_at,
        "ended_at": task.ended_at,
        "reason": invocation.reason,
        "request_id": invocation.request_id,
    }
    return facts | with_wiring("logs", lambda wiring: _in_aws(wiring, invocation))


def _in_aws(found: Connected, invocation: Invocation) -> Answer:
    target, region = _target(found, invocation), _region(found)
    group = _log_group(found, target, invocation)
    id = invocation.task.dispatch_id or ""
    facts: Answer = {
        "target": str(target),
        "log_group": group,
        "log_url": console.log_page(region, group, id, invocation.since),
        "console_url": _console_page(region, target),
    }
    if invocation.request_id or invocation.since is None or not isinstance(target, FunctionTarget):
        return facts
    return facts | answer("logs", lambda: _request_id(found, group, id, invocation.since))


def _console_page(region: str, target: Target) -> str:
    if not isinstance(target, FunctionTarget):
        return ""
    return console.function_page(region, target.function.rpartition(":")[2])


def _request_id(found: Connected, group: str, id: str, since: datetime | None) -> Answer:
    since_ms = int(since.timestamp() * 1000) if since else 0
    line = LogGroup(found.clients, group).first(id, since_ms=since_ms, pages=1)
    return {"request_id": str(fields_of(line.text).get("request_id") or "")} if line else {}


def _target(found: Connected, invocation: Invocation) -> Target:
    task = invocation.task
    return found.config.routes.target(task.queue, task.executor_config)


def _log_group(found: Connected, target: Target, invocation: Invocation) -> str:
    if isinstance(target, FunctionTarget):
        return found.config.log_group_of(target)
    asked = overrides(target, invocation.task.executor_config)
    return _LOG_GROUPS.of(found.job_inspection, target, asked)


def _region(found: Connected) -> str:
    return found.clients.place().region
