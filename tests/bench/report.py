"""What a benchmark found: a table for a person, a file for a program, and which targets held."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "bench"


@dataclass(slots=True)
class Report:
    """Rows for a person, everything for a program.

    Attributes:
        name: Of the benchmark, and of its file.
        seed: What was drawn by lot was drawn from it.
        subject: Whose figures these are.
        yardstick: What they are held against.
    """

    name: str
    seed: int
    subject: str = "ours"
    yardstick: str = "reference"
    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
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
        other = yardstick or self.yardstick
        ours, theirs = median(figures[self.subject]), median(figures[other])
        ratio = ours / theirs if theirs else float("nan")
        self.raw[name] = dict(figures)
        self.ratios[name] = round(ratio, 4)
        verdict = self._verdict(name, target, holds is None or holds(ours, ratio))
        their_name = f" ({other})" if yardstick else ""
        self.rows.append(
            (
                name,
                f"{ours:,.4g} {unit}",
                f"{theirs:,.4g} {unit}{their_name}",
                f"{ratio:.3g}",
                verdict,
            )
        )

    def note(self, name: str, values: Sequence[float], unit: str, target: str, holds: bool) -> None:
        """Note one figure of ours alone."""
        self.raw[name] = list(values)
        verdict = self._verdict(name, target, holds)
        self.rows.append((name, f"{median(values):,.4g} {unit}", "", "", verdict))

    def _verdict(self, name: str, target: str, holds: bool) -> str:
        if not holds:
            self.missed.append(name)
        return f"{target}: {'holds' if holds else 'MISSED'}" if target else ""

    def table(self) -> str:
        """The rows as Markdown."""
        ratio = f"{self.subject} / {self.yardstick}"
        head = ("figure", self.subject, self.yardstick, ratio, "target")
        lines = [head, tuple("---" for _ in head), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def publish(self, remark: str) -> None:
        """Print the table and write the file."""
        machine = {
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
            "python": platform.python_version(),
            "took_s": round(time.monotonic() - self.began_s, 1),
        }
        found = {"ratios": self.ratios, "raw": self.raw, "missed": self.missed}
        HOME.mkdir(parents=True, exist_ok=True)
        written = HOME / f"{self.name}.json"
        written.write_text(
            json.dumps({**found, "seed": self.seed, "machine": machine}, indent=1) + "\n"
        )
        print(self.table())  # noqa: T201 - talks to a person
        print(  # noqa: T201 - talks to a person
            f"\n{machine['took_s']:.0f} s on {machine['cores']} cores; {remark} "
            f"Seed {self.seed}, written to {written.relative_to(ROOT)}\n"
        )
