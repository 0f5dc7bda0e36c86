"""The log of a task that runs, or that just crashed, out of its function's log stream.

Airflow's API server asks for it with an executor that was never started, once for every look of a
person at the log. So it connects on the first question, with little patience, remembers for a
while that it cannot, and never raises. It must not know Airflow beyond what `RunningTask` says.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from lambda_executor.aws import Clients, LogGroup, LogLine, Patience
from lambda_executor.contract.errors import LambdaExecutorError
from lambda_executor.contract.log_lines import CONTEXT, SETTLED, STARTED
from lambda_executor.core.routing import Target
from lambda_executor.setup.config import ExecutorConfig

log = logging.getLogger(__name__)

#: A person waits, and Airflow asks again a moment later.
PATIENCE = Patience(connect_s=2, read_s=5, attempts=1)
#: What one answer may take, and how long it may be; the stream itself has no such end.
BUDGET_S = 5.0
MAX_LINES = 20_000
#: For how long nothing is tried after it did not work.
PAUSE_S = 30.0
#: How far apart Airflow's and the function's clocks may be.
CLOCKS_MS = 120_000
#: Starts that are remembered, so that the next look need not search for them.
MAX_STARTS = 1_000


@dataclass(frozen=True, slots=True)
class RunningTask:
    """What is needed to find a task's lines.

    Attributes:
        id: Its dispatch id, Airflow's `external_executor_id`.
    """

    id: str
    queue: str | None
    executor_config: Mapping[str, Any] | None = field(repr=False)
    queued_at: datetime | None


class Source(Protocol):
    """Where the options and the clients come from; a `connection.Reach`."""

    def settings(self) -> ExecutorConfig:
        """Read every option."""

    def clients(self, settings: ExecutorConfig) -> Clients:
        """Clients for what the options name."""


class LiveLog:
    """Reads the logs of running tasks. Called from several threads at once.

    Args:
        reach: Makes the way to AWS; called on the first question.
        clock: Seconds that only grow.
    """

    def __init__(
        self, reach: Callable[[], Source], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reach = reach
        self._clock = clock
        self._lock = threading.Lock()
        self._connected: tuple[ExecutorConfig, Clients] | None = None
        self._starts: dict[str, LogLine] = {}
        self._obstacle = ""
        self._tries_again_s = 0.0

    def read(self, task: RunningTask) -> tuple[list[str], list[str]]:
        """Where the lines come from, and the lines; instead of lines, why there are none."""
        if self._clock() < self._tries_again_s:
            return [self._obstacle], []
        try:
            return self._read(task)
        except LambdaExecutorError as e:
            obstacle = str(e)
        except Exception as e:
            log.exception("The live log of %s could not be read", task.id)
            obstacle = repr(e)
        self._obstacle = f"The function's log cannot be read: {obstacle}"
        self._tries_again_s = self._clock() + PAUSE_S
        return [self._obstacle], []

    def _read(self, task: RunningTask) -> tuple[list[str], list[str]]:
        settings, clients = self._connect()
        target: Target = settings.routes.target(task.queue, task.executor_config)
        group = LogGroup(clients, settings.log_group_of(target))
        start = self._starts.get(task.id) or self._find(group, task)
        if start is None:
            return [f"CloudWatch log group {group.name} has no line of this task yet"], []
        until_s = self._clock() + BUDGET_S
        lines = []
        for line in of_invocation(
            task.id, group.read(start.stream, since_ms=start.at_ms, until_s=until_s)
        ):
            lines.append(presented(line))
            if len(lines) == MAX_LINES:
                break
        return [f"CloudWatch log group {group.name}, log stream {start.stream}"], lines

    def _connect(self) -> tuple[ExecutorConfig, Clients]:
        with self._lock:
            if self._connected is None:
                reach = self._reach()
                settings = reach.settings()
                self._connected = settings, reach.clients(settings)
            return self._connected

    def _find(self, group: LogGroup, task: RunningTask) -> LogLine | None:
        queued_at = task.queued_at or datetime.now(UTC)
        since_ms = int(queued_at.timestamp() * 1000) - CLOCKS_MS
        start = group.first(task.id, since_ms=since_ms)  # Its start is the first to name it.
        if start is not None:
            if len(self._starts) >= MAX_STARTS:
                self._starts.clear()
            self._starts[task.id] = start
        return start


def of_invocation(id: str, lines: Iterable[LogLine]) -> Iterator[LogLine]:
    """The lines of one invocation among those of its environment, from its start to its end.

    After a crash there is no end but the start of the next one.
    """
    is_inside = False
    for line in lines:
        fields = _fields(line.text)
        event = fields.get("event")
        if not is_inside:
            is_inside = event == STARTED and fields.get("invocation_id") == id
            if is_inside:
                yield line
            continue
        if event == STARTED or _is_platform_start(line.text, fields):
            return
        yield line
        if event == SETTLED:
            return


def presented(line: LogLine) -> str:
    """A line as Airflow's reader of logs takes it: JSON with a time and an event.

    The UI shows every other field too, and whoever looks at the log of a task knows which it is.
    """
    fields = _fields(line.text)
    if fields.get("event") in (STARTED, SETTLED):
        return line.text
    if "event" in fields:
        return json.dumps({name: fields[name] for name in fields if name not in CONTEXT})
    at = datetime.fromtimestamp(line.at_ms / 1000, UTC)
    return json.dumps({"timestamp": at.isoformat(timespec="milliseconds"), "event": line.text})


def _is_platform_start(text: str, fields: Mapping[str, Any]) -> bool:
    """Whether Lambda says that an invocation starts, in its text or its JSON log format."""
    return text.startswith("START RequestId: ") or fields.get("type") == "platform.start"


def _fields(text: str) -> Mapping[str, Any]:
    if not text.startswith("{"):
        return {}
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}
