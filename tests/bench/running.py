"""Starting the fake AWS and the executors beside it, and bringing their figures home."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from tests.bench.fake_aws import Settings
from tests.bench.report import HOME, ROOT
from tests.bench.subject import Figures, Name, Orders

#: Deletes are still made for a moment after the last event.
AFTERMATH_S = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """One executor's figures and what its AWS saw.

    Attributes:
        figures: The executor's own.
        calls: Calls by name, those of the start left out.
        latencies_s: Of each result, from being visible to its event in the buffer.
        urgent_s: Of the urgent task and the callback, from joining to the start.
        started_at_s: When each workload was started, by service.
    """

    figures: Figures
    calls: dict[str, int]
    latencies_s: list[float]
    urgent_s: list[float] = field(default_factory=list)
    started_at_s: dict[str, list[float]] = field(default_factory=dict)

    @property
    def tasks_per_s(self) -> float:
        """Results a second, from the first heartbeat to the last event."""
        return self.figures.succeeded / self.figures.seconds

    @property
    def longest_heartbeat_ms(self) -> float:
        """The longest time that `heartbeat()` kept the scheduler."""
        return max(self.figures.heartbeats_s) * 1000

    @property
    def processor_ms(self) -> float:
        """Processor time of the executor's process for one task, the driver's included."""
        return self.figures.processor_s / self.figures.succeeded * 1000

    @property
    def latency_p95_ms(self) -> float:
        """Of twenty results nineteen were told to Airflow sooner."""
        ordered = sorted(self.latencies_s)
        return ordered[int(len(ordered) * 0.95)] * 1000

    def calls_per_result(self, *names: str) -> float:
        """How many calls of these names a result took."""
        return sum(self.calls.get(name, 0) for name in names) / self.figures.succeeded


def measure(name: Name, aws: Settings, schedulers: int = 1, **orders: Any) -> list[Run]:
    """Run one executor, or several that share a deployment, against an AWS of their own."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(fake_aws(aws))
        subjects = [
            stack.enter_context(
                _subject(Orders(name, url, scheduler=number, results_queues=schedulers, **orders))
            )
            for number in range(schedulers)
        ]
        for subject in subjects:
            _read(subject, "ready")
        before = _state(url)["calls"]
        for subject in subjects:
            _say(subject)
        figures = [Figures(**json.loads(_read(subject, "{"))) for subject in subjects]
        time.sleep(AFTERMATH_S)
        state = _state(url)
        for subject in subjects:
            _say(subject)
    calls = {name: count - before.get(name, 0) for name, count in state["calls"].items()}
    return [
        Run(
            one,
            calls,
            _latencies_s(one, state["visible_at_s"]),
            _waits_s(one, state),
            _starts_s(one, state),
        )
        for one in figures
    ]


def _waits_s(figures: Figures, state: dict[str, Any]) -> list[float]:
    return [state["started_at_s"][key] - at_s for key, at_s in figures.urgent_at_s.items()]


def _starts_s(figures: Figures, state: dict[str, Any]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for key in figures.events_at_s:
        if key in state["started_at_s"]:
            found.setdefault(state["services"][key], []).append(state["started_at_s"][key])
    return {service: sorted(times) for service, times in found.items()}


def _latencies_s(figures: Figures, visible_at_s: dict[str, float]) -> list[float]:
    ended = figures.events_at_s.items()
    return [at_s - visible_at_s[key] for key, at_s in ended if key in visible_at_s]


@contextlib.contextmanager
def fake_aws(settings: Settings) -> Iterator[str]:
    """A fake AWS of its own; its address."""
    with _python("fake_aws", json.dumps(asdict(settings))) as process:
        yield f"http://127.0.0.1:{_read(process, '')}"


@contextlib.contextmanager
def _subject(orders: Orders) -> Iterator[subprocess.Popen[str]]:
    with _python("subject", json.dumps(asdict(orders))) as process:
        yield process


@contextlib.contextmanager
def _python(module: str, argument: str) -> Iterator[subprocess.Popen[str]]:
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / f"{module}.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"tests.bench.{module}", argument],
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_", "AWS_"))}
    return kept | {
        "AIRFLOW_HOME": str(HOME / "airflow"),
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret for the bench, long enough for a signing key",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite://",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _say(process: subprocess.Popen[str]) -> None:
    _pipe(process.stdin).write("\n")
    _pipe(process.stdin).flush()


def _read(process: subprocess.Popen[str], start: str) -> str:
    """The next line that starts so; log lines of Airflow are passed over."""
    for line in _pipe(process.stdout):
        if line.startswith(start):
            return line.strip()
    raise RuntimeError(
        f"{process.args!r} ended without a line that starts with {start!r}; see {HOME}/*.log"
    )


def _state(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/state", timeout=30) as answer:
        state: dict[str, Any] = json.load(answer)
        return state
