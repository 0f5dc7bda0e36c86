"""Reads the log of a running or just crashed task from the log stream of its function or job.

Airflow's API server reads it through an executor that was never started, while somebody waits.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

from lambda_executor.aws import Clients, JobInspection, LogGroup, LogLine, Patience, ask_about
from lambda_executor.contract.errors import AwsError, LambdaExecutorError, RouteError
from lambda_executor.contract.log_lines import (
    CONTEXT,
    INVOCATION,
    SETTLED,
    STARTED,
    fields_of,
    is_platform_start,
)
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.routing import overrides
from lambda_executor.core.targets import JobTarget, Target
from lambda_executor.setup.config import ExecutorConfig
from lambda_executor.setup.connection import Gateway
from lambda_executor.setup.job_log_groups import JobLogGroups

log = logging.getLogger(__name__)

#: Short, because a person waits and Airflow asks again a moment later.
PATIENCE = Patience(connect_s=2, read_s=5, attempts=1)
#: Longest time to read the lines of one answer.
BUDGET_S = 5.0
#: Most lines of one answer, the newest ones.
MAX_LINES = 20_000
#: Pause after a failed read of one target's log.
PAUSE_S = 30.0
#: Largest expected difference between Airflow's and the function's clocks.
CLOCKS_MS = 120_000
#: Most remembered starts; the next read of a remembered task need not search.
MAX_STARTS = 1_000


@dataclass(frozen=True, slots=True)
class RunningTask:
    """The facts that are needed to find a task's lines; `id` is its dispatch id."""

    id: str
    queue: str | None
    executor_config: Mapping[str, Any] | None = field(repr=False)
    queued_at: datetime | None


class LiveLog:
    """Reads the logs of running tasks. Called from several threads at once; never raises."""

    def __init__(
        self, make_gateway: Callable[[], Gateway], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make_gateway = make_gateway
        self._clock = clock
        self._lock = threading.Lock()
        self._connected: tuple[ExecutorConfig, Clients] | None = None
        self._groups = JobLogGroups(clock)
        self._starts: dict[str, LogLine] = {}
        #: Until when what cannot be read is not tried again, and why; None: nothing can be.
        self._pauses: dict[Target | None, tuple[float, str]] = {}

    def read(self, task: RunningTask) -> tuple[list[str], list[str]]:
        """Return the source of the lines, or the reason why there are none, and the lines."""
        target: Target | None = None
        try:
            if why := self._pause_of(None):
                return [why], []
            settings, clients = self._connect()
            target = settings.routes.target(task.queue, task.executor_config)
            if why := self._pause_of(target):
                return [why], []
            group = LogGroup(clients, self._group(settings, clients, target, task))
            return self._lines(task.id, group, _begins(settings, clients, target, task))
        except RouteError as e:  # It concerns this task alone.
            return [f"Where the task runs is not known: {e}"], []
        except LambdaExecutorError as e:
            reason = str(e)
        except Exception as e:
            log.exception("The live log of %s could not be read", task.id)
            reason = repr(e)
        what = f"log of {target}" if isinstance(target, JobTarget) else "function's log"
        failure = f"The {what} cannot be read: {reason}"
        self._pauses[target] = self._clock() + PAUSE_S, failure
        return [failure], []

    def _pause_of(self, target: Target | None) -> str:
        until_s, why = self._pauses.get(target, (0.0, ""))
        return why if self._clock() < until_s else ""

    def _group(
        self, settings: ExecutorConfig, clients: Clients, target: Target, task: RunningTask
    ) -> str:
        if not isinstance(target, JobTarget):
            return settings.log_group_of(target)
        changes = overrides(target, task.executor_config)
        return self._groups.of(JobInspection(clients), target, changes)

    def _lines(
        self, id: str, group: LogGroup, begins: Iterable[datetime]
    ) -> tuple[list[str], list[str]]:
        start = self._starts.get(id) or self._find(id, group, begins)
        if start is None:
            return [f"CloudWatch log group {group.name} has no line of this task yet"], []
        where = f"CloudWatch log group {group.name}, log stream {start.stream}"
        newest = self._newest(group, start)
        lines = list(of_invocation(id, newest))
        if not lines:  # It has crashed, and what the environment ran since then fills the answer.
            until_s = self._clock() + BUDGET_S
            oldest = group.read(start.stream, since_ms=start.at_ms, until_s=until_s)
            lines = list(islice(of_invocation(id, oldest), MAX_LINES))
        elif start not in newest:
            left_out = replace(start, text=f"Lines are left out here; all of them are in {where}")
            lines = [*of_invocation(id, [start]), left_out, *lines]
        return [where], [presented(line) for line in lines]

    def _newest(self, group: LogGroup, start: LogLine) -> list[LogLine]:
        """Return the newest lines of a stream, oldest first: as many as one answer may have."""
        until_s = self._clock() + BUDGET_S
        pages: list[list[LogLine]] = []
        for page in group.newest_pages(start.stream, since_ms=start.at_ms):
            pages.insert(0, page)
            if sum(map(len, pages)) >= MAX_LINES or self._clock() >= until_s:
                break
        return list(chain.from_iterable(pages))[-MAX_LINES:]

    def _connect(self) -> tuple[ExecutorConfig, Clients]:
        with self._lock:
            if self._connected is None:
                gateway = self._make_gateway()
                settings = gateway.settings()
                self._connected = settings, gateway.clients(settings)
            return self._connected

    def _find(self, id: str, group: LogGroup, begins: Iterable[datetime]) -> LogLine | None:
        for begin in begins:
            since_ms = int(begin.timestamp() * 1000) - CLOCKS_MS
            start = group.first(id, since_ms=since_ms)  # The first line with the id is the start.
            if start is not None:
                if len(self._starts) >= MAX_STARTS:
                    self._starts.clear()
                self._starts[id] = start
                return start
        return None


def _begins(
    settings: ExecutorConfig, clients: Clients, target: Target, task: RunningTask
) -> Iterator[datetime]:
    """Yield the times after which the first line of a task is looked for.

    One search sees a part of a log group alone. A job may have waited for hours, so its service is
    asked when it started, if that part has no line of it.
    """
    yield task.queued_at or datetime.now(UTC)
    if not isinstance(target, JobTarget):
        return
    try:
        words = ask_about(clients, target, InvocationId(task.id), settings.payload_bucket)
    except AwsError as e:  # The API server's role may lack the permission.
        log.info("Could not ask when the job of %s started: %s", task.id, e)
        return
    yield from sorted(word.started_at for word in words if word.started_at)


def of_invocation(id: str, lines: Iterable[LogLine]) -> Iterator[LogLine]:
    """Yield the lines of one invocation, from the first that has its id to its end.

    The first is its start, or a later one if its start is not among the lines. After a crash the
    end is the start of the environment's next invocation.
    """
    is_inside = False
    for line in lines:
        fields = fields_of(line.text)
        event = fields.get("event")
        if is_inside and (event == STARTED or is_platform_start(line.text, fields)):
            return
        # Every line of the handler has an event; of another one the UI would show the id.
        is_inside = is_inside or (event is not None and fields.get(INVOCATION) == id)
        if is_inside:
            yield line
            if event == SETTLED:
                return


def presented(line: LogLine) -> str:
    """Return a line in the form that Airflow's log reader expects: JSON with a time and an event.

    The UI also shows every other field, so the fields that only identify the task are left out,
    except on the first and last line. The dispatch id is on no line: whoever knows it can settle
    the invocation, and more people read the UI than the function's log.
    """
    fields = fields_of(line.text)
    if "event" in fields:
        hidden = {INVOCATION} if fields["event"] in (STARTED, SETTLED) else CONTEXT
        return json.dumps({name: fields[name] for name in fields if name not in hidden})
    at = datetime.fromtimestamp(line.at_ms / 1000, UTC)
    return json.dumps({"timestamp": at.isoformat(timespec="milliseconds"), "event": line.text})
