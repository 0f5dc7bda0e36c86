"""The page about reliability is what its generator makes of the runs beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.chaos.attack.faults import FAULTS
from tests.chaos.attack.kinds import KINDS
from tests.chaos.attack.page import PAGE, page, renewed, stored, take


def run(**more: Any) -> dict[str, Any]:
    """A run as its file has it."""
    return {"seed": 3, "tasks": 300, "tries": 340, "faults": {}, "violations": [], **more}


def test_the_page_is_current() -> None:
    """`make docs` would change nothing."""
    text = PAGE.read_text()
    assert renewed(text, *stored()) == text


def test_every_fault_and_every_kind_of_task_has_a_row() -> None:
    """Without a run there are no figures."""
    text = page([], [])
    assert [name for name in (f.name for f in FAULTS) if f"| {name} | " not in text] == []
    assert [kind.name for kind in KINDS if f"| `{kind.name}` | " not in text] == []
    assert "violations" not in text


def test_violations_stand_beside_the_references() -> None:
    """And beside the faults that their reasons name."""
    fault = FAULTS[0].name
    violation = {"promise": "stuck", "what": "1 in flight", "faults": [fault]}
    text = page([run(faults={fault: 7})], [run(faults={fault: 5}, violations=[violation])])
    assert "| nothing is left queued, running or in a slot | 0 | 1 |" in text
    assert f"| {fault} | {FAULTS[0].does} | 7 | 0 | 5 | 1 |" in text


def test_taken_runs_replace_the_former_and_nothing_else(tmp_path: Path) -> None:
    """The runs of the benchmarks are kept in the same folder."""
    build, data = tmp_path / "build", tmp_path / "data"
    for folder, names in (
        (build, ("attack-2-300", "reference-1-300")),
        (data, ("attack-1-300", "bench-end-to-end", "soak")),
    ):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.json").write_text("{}")
    take(build, data)
    assert sorted(file.stem for file in data.iterdir()) == [
        "attack-2-300",
        "bench-end-to-end",
        "reference-1-300",
        "soak",
    ]
