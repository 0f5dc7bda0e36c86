"""The run's file, written again after every sample: an interrupted run keeps what it has."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.soak.load import TaskTimes
from tests.soak.programs import Usage
from tests.support.compact_json import compact_json
from tests.support.executor_summary import ExecutorCounts

#: Name of a percentile, and the share of values that are not above it.
PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
PARTS = ("start_s", "run_s", "settle_s")
EXECUTOR = "executor"

Values = list[float | None]


@dataclass(slots=True)
class Record:
    """Everything that one run found.

    Attributes:
        about: Length, rate, machine and conditions, by name.
        at_s: When each sample was taken, in seconds since the begin of the load.
        tries: How many tries the scheduler had settled at each sample.
        load: The machine's load average of the last minute at each sample.
        open_runs: How many DAG runs were under way at each sample.
        series: The values of each program, by its name and by what was measured; None: the program
            was not there.
        latency: Percentiles of each minute, in seconds: part of a task's life, percentile, values.
        targets: The same for each target over the whole run, with the number of tasks.
        tasks: How many tasks ended in the runs that were read.
        skipped: How many runs were not triggered because too many were under way.
        unexpected: What did not end as its DAG says.
        verdict: The judgement of every series, when there is one.
    """

    about: dict[str, Any]
    at_s: list[float] = field(default_factory=list)
    tries: list[int] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    open_runs: list[int] = field(default_factory=list)
    series: dict[str, dict[str, Values]] = field(default_factory=dict)
    latency: dict[str, dict[str, Values]] = field(default_factory=dict)
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: int = 0
    skipped: int = 0
    unexpected: list[str] = field(default_factory=list)
    verdict: list[dict[str, Any]] = field(default_factory=list)

    def sample(
        self,
        at_s: float,
        tries: int,
        used: Mapping[str, Usage],
        counts: ExecutorCounts | None,
    ) -> None:
        """Add one sample of everything."""
        taken = len(self.at_s)
        self.at_s.append(round(at_s, 1))
        self.tries.append(tries)
        found = {name: asdict(each) for name, each in used.items()}
        if counts is not None:
            found[EXECUTOR] = asdict(counts)
        for name, values in found.items():
            of_program = self.series.setdefault(name, {})
            for measured, value in values.items():
                of_program.setdefault(measured, [None] * taken).append(round(value, 2))
        for of_program in self.series.values():
            for series in of_program.values():
                series.extend([None] * (taken + 1 - len(series)))

    def describe(self, tasks: Sequence[TaskTimes], began_s: float) -> None:
        """Replace the percentiles by those of all these tasks; `began_s` is since the epoch."""
        minutes: dict[int, list[TaskTimes]] = defaultdict(list)
        targets: dict[str, list[TaskTimes]] = defaultdict(list)
        for task in tasks:
            targets[task.target].append(task)
            if task.target == "function":
                minutes[int((task.ended_at_s - began_s) // 60)].append(task)
        self.latency = {part: {name: [] for name in PERCENTILES} for part in PARTS}
        for minute in range(max(minutes, default=-1) + 1):
            for part in PARTS:
                found = _percentiles(minutes[minute], part)
                for name in PERCENTILES:
                    self.latency[part][name].append(found[name])
        self.targets = {
            target: {"tasks": len(each), **{part: _percentiles(each, part) for part in PARTS}}
            for target, each in sorted(targets.items())
        }

    def points(self, name: str, measured: str) -> list[tuple[float, float, float]]:
        """Each value of a series with its time in seconds and with the tries settled by then.

        A program that was never there has none.
        """
        values = self.series.get(name, {}).get(measured, [None] * len(self.at_s))
        return [
            (at_s, tries, value)
            for at_s, tries, value in zip(self.at_s, self.tries, values, strict=True)
            if value is not None
        ]

    def write(self, path: Path) -> None:
        """Write the file, a line for each series; another process never sees half of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".new")
        unfinished.write_text(compact_json(asdict(self)) + "\n")
        unfinished.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that `write` wrote."""
        return cls(**json.loads(path.read_text()))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them do not exceed.

    Raises:
        IndexError: There are no values.
    """
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def _percentiles(tasks: Sequence[TaskTimes], part: str) -> dict[str, float | None]:
    values = [value for task in tasks if (value := getattr(task, part)) is not None]
    return {
        name: round(percentile(values, share), 3) if values else None
        for name, share in PERCENTILES.items()
    }
