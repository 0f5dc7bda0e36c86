"""The page about reliability is what its generator makes of the runs beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.chaos.attack import chart
from tests.chaos.attack.faults import FAULTS
from tests.chaos.attack.kinds import KINDS
from tests.chaos.attack.page import IMAGES, PAGE, page, renewed, stored, take
from tests.support.svg import texts, what_leaves_it


def run(**more: Any) -> dict[str, Any]:
    """A run as its file has it."""
    return {"seed": 3, "tasks": 300, "tries": 340, "faults": {}, "violations": [], **more}


def test_the_page_is_current() -> None:
    """`make docs` would change nothing, nor in its picture."""
    text = PAGE.read_text()
    assert renewed(text, *stored()) == text
    picture = chart.drawn(*stored())
    assert (IMAGES / chart.NAME).read_text() == picture
    assert what_leaves_it(ET.fromstring(picture)) == []


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


def test_a_run_that_did_not_do_its_faults_is_not_taken(tmp_path: Path) -> None:
    """The former ones stay."""
    build, data = tmp_path / "build", tmp_path / "data"
    for folder in (build, data):
        folder.mkdir()
        (folder / "attack-1-300.json").write_text('{"not_done": []}')
    (build / "reference-1-300.json").write_text('{"not_done": ["deploy has not happened"]}')
    with pytest.raises(SystemExit, match=r"reference-1-300\.json: deploy has not happened"):
        take(build, data)
    assert [file.name for file in data.iterdir()] == ["attack-1-300.json"]


def test_a_fault_that_no_run_could_have_was_not_tried() -> None:
    """It is too long for a short run, or of targets that the reference has not."""
    (long,) = (fault for fault in FAULTS if fault.is_long)
    text = page([run()], [run()])
    assert f"| {long.name} | {long.does} |{' not tried |' * 4}" in text
    assert f"| {long.name} | {long.does} | 0 | 0 |{' not tried |' * 2}" in page(
        [run(tasks=5000)], [run()]
    )
    assert "| throttled jobs | 429 | 0 | 0 | not tried | not tried |" in text
    assert "| throttled MicroVMs | throttled | 0 | 0 | not tried | not tried |" in text


def test_messages_that_were_not_looked_at_stand_beside_the_promise() -> None:
    """A run that did not wait for empty queues does not know what they are."""
    promise = "queues, processes, descriptors and threads are as before"
    text = page([run(unchecked={}), run(unchecked={"results-0": 2})], [])
    assert f"| {promise} | 0; 2 messages were left and not checked |" in text


def test_the_picture_counts_what_was_done_and_what_broke() -> None:
    """Violations in each 1,000 tasks: the runs of both may differ in length."""
    rule = next(fault for fault in FAULTS if fault.rule.get("api") == "sqs:SendMessage")
    action = next(fault for fault in FAULTS if not fault.rule)
    ours = [run(faults={rule.name: 7, action.name: 2}), run(faults={rule.name: 4, "gone": 1})]
    theirs = [run(violations=[{"promise": "stuck", "what": "", "faults": []}] * 3)]
    found = texts(ET.fromstring(chart.drawn(ours, theirs)))
    assert found[0] == "Attacks on 600 tasks, and what broke"
    assert found[found.index("calls of SQS") + 1] == "11"
    assert found[found.index("everything else") + 1] == "3"
    assert found[found.index("this kit") + 1] == "0"
    assert found[found.index("AwsLambdaExecutor") + 1] == "10"
    assert "AwsLambdaExecutor" not in texts(ET.fromstring(chart.drawn(ours, [])))
    assert what_leaves_it(ET.fromstring(chart.drawn([], []))) == []
