"""The page about reliability is what its generator makes of the runs beside it."""

from __future__ import annotations

from typing import Any

from tests.chaos.attack.faults import FAULTS
from tests.chaos.attack.kinds import KINDS
from tests.chaos.attack.page import PAGE, page, renewed, stored


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
