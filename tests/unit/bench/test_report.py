"""What a benchmark writes, what the repository keeps of it, and what its page and charts show."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from stacks.reference.bars import NOT_MEASURED
from tests.bench import charts, report, taken
from tests.bench.report import Report, conditions
from tests.bench.taken import Run
from tests.support.made_part import END, with_part
from tests.support.svg import texts, what_leaves_it


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the last runs, and below it that of the committed ones."""
    monkeypatch.setattr(report, "HOME", tmp_path / "build")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(taken, "HOME", tmp_path / "build")
    monkeypatch.setattr(taken, "DATA", tmp_path)
    return tmp_path


def measured() -> Report:
    """A benchmark with a figure of each kind."""
    found = Report("executor", 7)
    found.compare(
        "tasks a second",
        {"ours": [1000.0, 1500.0, 1600.0], "reference": [20.0, 19.0, 21.0]},
        "/s",
        ">= 60 x",
        holds=lambda _, ratio: ratio >= 60,
    )
    found.compare("calls", {"ours": [1.0], "LocalExecutor": [0.0]}, "", yardstick="LocalExecutor")
    found.note("failed", [0, 3, 4], "", "none", holds=False)
    return found


@pytest.mark.usefixtures("home")
def test_the_file_has_what_the_table_has(capsys: pytest.CaptureFixture[str]) -> None:
    """So the page's table is the one that was printed."""
    measured().publish("a remark")
    run = Run.read(taken.fresh("executor"))
    printed = capsys.readouterr().out
    assert run.part().rpartition("\n\n")[2] in printed
    assert "| tasks a second | 1,500 /s | 20 /s | 75 | >= 60 x: holds |" in printed
    assert "| calls | 1 | 0 (LocalExecutor) |  |  |" in printed
    assert "| failed | 3 |  |  | none: MISSED |" in printed
    assert run.ours("tasks a second") == 1500
    assert run.other("tasks a second") == 20
    assert run.ours("nothing of the kind") is None


@pytest.mark.usefixtures("home")
def test_the_file_is_json_for_any_program() -> None:
    """A ratio to nothing is left out: NaN is no JSON."""
    measured().publish("a remark")

    def refused(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = taken.fresh("executor").read_text()
    found = json.loads(text, parse_constant=refused)
    assert found["ratios"] == {"tasks a second": 75.0}
    assert found["missed"] == ["failed"]
    assert found["raw"]["tasks a second"]["ours"] == [1000.0, 1500.0, 1600.0]
    assert found["seed"] == 7


def test_a_run_says_when_where_and_beside_what() -> None:
    """And nothing of who ran it: the file is committed."""
    about = conditions(datetime(2026, 12, 1, 23, 59, tzinfo=UTC))
    assert about["date"] == "2026-12-01"
    assert sorted(about) == ["conditions", "date", "machine"]
    assert "cores" in about["machine"]
    assert "load average" in about["conditions"]


@pytest.mark.usefixtures("home")
def test_a_taken_run_is_the_one_in_build() -> None:
    """Benchmarks that were not run stay as they are."""
    measured().publish("a remark")
    assert taken.take() == ["executor"]
    assert Run.read(taken.committed("executor")) == Run.read(taken.fresh("executor"))


def test_a_run_draws_what_it_has_measured(home: Path) -> None:
    """`make bench` draws its own figures; one that is missing is not shown as zero."""
    measured().publish("a remark")
    assert charts.draw(taken.fresh, home) == ["dispatch.svg"]
    found = texts(ET.parse(home / "dispatch.svg").getroot())
    assert {"1,500", "20"} <= set(found)
    assert NOT_MEASURED in found


def test_the_page_and_its_charts_are_those_of_the_committed_runs(tmp_path: Path) -> None:
    """`make docs` writes them."""
    text = charts.PAGE.read_text()
    assert charts.page(text) == text, "run: make docs"
    for name in charts.draw(taken.committed, tmp_path):
        picture = (tmp_path / name).read_text()
        assert (charts.IMAGES / name).read_text() == picture, "run: make docs"
        assert what_leaves_it(ET.fromstring(picture)) == []
        assert NOT_MEASURED not in picture
        assert f"](../images/{name})" in text


def test_every_chart_has_its_committed_run() -> None:
    """Its benchmark is one of `make bench`, whose committed run says when and where it was."""
    for name in taken.BENCHMARKS:
        file = taken.committed(name)
        assert not re.search(r"/(home|root|tmp|work|Users)/", file.read_text()), (
            "a path of a machine"
        )
        about = Run.read(file).about
        datetime.strptime(about["date"], "%Y-%m-%d").replace(tzinfo=UTC)
        assert about["machine"]
        assert about["conditions"]
    assert {benchmark for benchmark, _ in charts.PICTURES.values()} <= set(taken.BENCHMARKS)


def test_what_is_made_replaces_what_was_made() -> None:
    """Between its own two lines only."""
    page = f"a\n<!-- made from x -->\nold\n{END}b\n<!-- made from y -->\nold\n{END}c\n"
    once = with_part(page, "y", "new")
    assert once == f"a\n<!-- made from x -->\nold\n{END}b\n<!-- made from y -->\n\nnew\n\n{END}c\n"
    assert with_part(once, "y", "new") == once


@pytest.mark.parametrize("page", ["", "<!-- made from x -->\n", f"<!-- made from y -->\n{END}"])
def test_a_page_without_a_place_is_refused(page: str) -> None:
    """Rather than left as it is."""
    with pytest.raises(ValueError, match="no place for what is made from x"):
        with_part(page, "x", "new")
