"""What a benchmark found: a table for a person, a file for a program, and which targets held."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from stacks.reference.picture import number
from tests.support.compact_json import compact_json

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a benchmark.

    Attributes:
        figure: What it is.
        unit: Of both values.
        ours: The median of our values.
        other: The median of what it is compared with, if it is.
        whose: Whose the other is, if not the yardstick of all rows.
        ratio: Ours over the other.
        target: What was expected of it; empty if nothing was.
        holds: Whether that was so.
    """

    figure: str
    unit: str
    ours: float
    other: float | None = None
    whose: str = ""
    ratio: float | None = None
    target: str = ""
    holds: bool = True

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        other = "" if self.other is None else self._value(self.other)
        return (
            self.figure,
            self._value(self.ours),
            f"{other} ({self.whose})" if self.whose else other,
            "" if self.ratio is None else number(self.ratio, 3),
            f"{self.target}: {'holds' if self.holds else 'MISSED'}" if self.target else "",
        )

    def _value(self, value: float) -> str:
        return f"{number(value)} {self.unit}".strip()


@dataclass(slots=True)
class Report:
    """Rows for a person, everything for a program.

    Attributes:
        name: Of the benchmark, and of its file.
        seed: What was drawn by lot was drawn from it.
        subject: Whose figures these are.
        yardstick: What they are held against.
        raw: Every value of every figure.
        about: When, where and beside what else it was measured.
    """

    name: str
    seed: int
    subject: str = "ours"
    yardstick: str = "reference"
    rows: list[Row] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=lambda: conditions(datetime.now(UTC)))
    began_s: float = field(default_factory=time.monotonic)

    def compare(  # noqa: PLR0913 - each names one column of the table
        self,
        name: str,
        figures: Mapping[Any, Sequence[float]],
        unit: str,
        target: str = "",
        *,
        yardstick: str | None = None,
        holds: Callable[[float, float], bool] | None = None,
    ) -> None:
        """Note one figure of both by its median; `holds` judges ours and the ratio."""
        ours, theirs = median(figures[self.subject]), median(figures[yardstick or self.yardstick])
        ratio = ours / theirs if theirs else math.nan
        self.raw[name] = dict(figures)
        self.rows.append(
            Row(
                name,
                unit,
                ours,
                theirs,
                yardstick or "",
                ratio if theirs else None,
                target,
                holds is None or holds(ours, ratio),
            )
        )

    def note(self, name: str, values: Sequence[float], unit: str, target: str, holds: bool) -> None:
        """Note one figure of ours alone."""
        self.raw[name] = list(values)
        self.rows.append(Row(name, unit, median(values), target=target, holds=holds))

    def found(self) -> dict[str, Any]:
        """Return what the file has."""
        return {
            "about": self.about,
            "seed": self.seed,
            "subject": self.subject,
            "yardstick": self.yardstick,
            "ratios": {
                row.figure: round(row.ratio, 4) for row in self.rows if row.ratio is not None
            },
            "missed": [row.figure for row in self.rows if not row.holds],
            "rows": [asdict(row) for row in self.rows],
            "raw": self.raw,
        }

    def publish(self, remark: str) -> None:
        """Print the table and write the file."""
        self.about |= {"took_s": round(time.monotonic() - self.began_s, 1), "remark": remark}
        HOME.mkdir(parents=True, exist_ok=True)
        written = HOME / f"{self.name}.json"
        written.write_text(compact_json(self.found()) + "\n")
        print(table(self.rows, self.subject, self.yardstick))  # noqa: T201 - talks to a person
        print(  # noqa: T201 - talks to a person
            f"\n{self.about['took_s']:.0f} s on {self.about['machine']}; {remark} "
            f"Seed {self.seed}, written to {written.relative_to(ROOT)}\n"
        )


def conditions(now: datetime) -> dict[str, Any]:
    """Return when, where and beside what else a benchmark begins."""
    return {
        "date": f"{now:%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "conditions": f"a load average of {os.getloadavg()[0]:.1f} when it began",
    }


def table(rows: Sequence[Row], subject: str, yardstick: str) -> str:
    """Return the rows as Markdown."""
    head = ("figure", subject, yardstick, f"{subject} / {yardstick}", "target")
    lines = [head, tuple("---" for _ in head), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
