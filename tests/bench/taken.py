"""The runs of the benchmarks: those in `build/bench`, and those that the repository keeps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.bench.report import HOME, ROOT, Row, table

DATA = ROOT / "docs" / "reference" / "data"
#: In the order of `make bench`; each is the name of its file.
BENCHMARKS = ("executor", "order", "targets", "handler", "end_to_end", "burst")


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a benchmark found.

    Attributes:
        about: Date, machine, conditions; a remark, and the source of figures that are copied from
            elsewhere, if there are.
        seed: What was drawn by lot was drawn from it; None if that was not written down.
        subject: Whose figures these are.
        yardstick: What they are held against.
        rows: Its figures.
    """

    about: Mapping[str, Any]
    seed: int | None
    subject: str
    yardstick: str
    rows: Mapping[str, Row]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file that `Report.publish` wrote."""
        found = json.loads(file.read_text())
        rows = (Row(**row) for row in found["rows"])
        return cls(
            about=found["about"],
            seed=found["seed"],
            subject=found["subject"],
            yardstick=found["yardstick"],
            rows={row.figure: row for row in rows},
        )

    def ours(self, figure: str) -> float | None:
        """Return our median of a figure; None if it was not measured."""
        row = self.rows.get(figure)
        return row.ours if row else None

    def other(self, figure: str) -> float | None:
        """Return the median with which ours is compared; None if it was not measured."""
        row = self.rows.get(figure)
        return row.other if row else None

    @property
    def conditions(self) -> str:
        """When and where it was measured."""
        return f"{self.about['date']}, {self.about['machine']}, {self.about['conditions']}"

    def part(self) -> str:
        """Return its part of the page: when and where it was measured, and its table."""
        drawn = "" if self.seed is None else f", seed {self.seed}"
        said = [f"Measured on {self.conditions}{drawn}."]
        if remark := self.about.get("remark"):
            said.append(f"{remark[0].upper()}{remark[1:].rstrip('.')}.")
        if source := self.about.get("source"):
            said.append(f"Source of the file: {source}.")
        rows = table(list(self.rows.values()), self.subject, self.yardstick)
        return f"{' '.join(said)}\n\n{rows}"


def committed(name: str) -> Path:
    """Return the file of a benchmark that the repository keeps."""
    return DATA / f"bench-{name.replace('_', '-')}.json"


def fresh(name: str) -> Path:
    """Return the file of a benchmark's last run here, which may be missing."""
    return HOME / f"{name}.json"


def take() -> list[str]:
    """Copy the last runs to those that the repository keeps; return the names of those taken."""
    taken = [name for name in BENCHMARKS if fresh(name).exists()]
    for name in taken:
        shutil.copyfile(fresh(name), committed(name))
    return taken
