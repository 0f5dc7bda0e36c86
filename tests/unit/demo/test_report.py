"""The demo's report: from recorded tries to one HTML page that loads nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from demo.outcome.airflow_api import Try
from demo.outcome.report.page import KINDS, Course, page
from demo.outcome.report.timeline import timeline
from demo.outcome.tries import Row, join, parse
from tests.support.html_page import Page
from tests.support.tries import GROUP, KEY, invocation, line, logged, ran

COURSE = Course(
    command="make demo EXAMPLE=s3_etl",
    made_at="1 January 2030 at 12:00 UTC",
    versions={"Airflow": "3.3.2", "AWS CDK CLI": "2.1"},
    phases=[("cdk deploy --all", 42.0), ("Running the DAGs", 8.5)],
    totals=["3 invocations of functions: 1 cold, 1 restored, 1 warm"],
    unexpected=[],
)
HOSTILE = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>'


def made(rows: Sequence[Row], course: Course = COURSE) -> Page:
    """The page of these rows."""
    return Page(page(rows, course))


def recorded() -> list[Row]:
    """From lines of the logs: a try of each start and of a job, a retry, and a skipped task."""
    keys = {
        name: replace(KEY, task_id=name)
        for name in ("is_cold", "is_restored", "is_warm", "is_job", "is_skipped")
    }
    second = replace(keys["is_warm"], try_number=2)
    lines = [
        logged(line(task_id="is_cold", cold=True, init_ms=900.0, run_ms=500.0)),
        logged(line(task_id="is_restored", cold=True, restore_ms=9.0, started_at_s=101.0)),
        logged(line(task_id="is_warm", started_at_s=102.0)),
        logged(line(task_id="is_warm", try_number=2, started_at_s=103.0)),
        logged(line(task_id="is_job", started_at_s=104.0, run_ms=6000.0), "/aws/batch/long"),
    ]
    tries = [
        *(ran(keys[name]) for name in ("is_cold", "is_restored", "is_job")),
        ran(keys["is_warm"], "failed"),
        ran(second),
        Try(keys["is_skipped"], "skipped", hostname=""),
    ]
    return join(tries, [found for each in lines if (found := parse(each))])


def test_every_try_is_in_the_table_and_in_the_data() -> None:
    """Also one that needed no invocation."""
    rows = recorded()
    found = made(rows)
    cells = [row.text.split() for row in found.all("tr") if "data-try" in row.attributes]
    names = {(row.key.task_id, row.key.try_number) for row in rows}
    assert {(each[1], each[2]) for each in cells} == {
        ("is_cold", "1"),
        ("is_restored", "1"),
        ("is_warm", "1"),
        ("is_warm", "2"),
        ("is_job", "1"),
        ("is_skipped", "-"),
    }
    assert {(each["task"], each["try"]) for each in found.data["tries"]} == names
    assert len(cells) == len(found.data["tries"]) == len(rows)


def test_the_table_has_the_measured_times() -> None:
    """Rounded for people; exact in the data."""
    rows = join([ran()], [invocation(queue_to_start_ms=20.4, run_ms=50.6)])
    found = made(rows)
    assert found.by_id("try-0").text.split()[5:7] == ["20", "51"]
    (one,) = found.data["tries"]
    assert (one["wait_ms"], one["run_ms"], one["started_at_s"]) == (20.4, 50.6, 100.0)


def test_every_invocation_is_a_bar_that_leads_to_its_line_and_back() -> None:
    """A bar is a link, so that the keyboard reaches it, and it says in words what it shows."""
    found = made(recorded())
    bars = found.all("a", "bar")
    assert len(bars) == 5
    for bar in bars:
        number = bar.attributes["data-try"]
        assert bar.attributes["href"] == f"#try-{number}"
        assert f"#bar-{number}" in [link.attributes["href"] for link in found.all("a")]
        one = found.data["tries"][int(str(number))]
        label = str(bar.attributes["aria-label"])
        assert {one["task"], one["state"], one["start"], f"try {one['try']}"} <= set(
            label.split(", ")
        )


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_start_has_its_own_looks_in_both_schemes(kind: str) -> None:
    """Own colour for light and dark, own shape, and an entry of the legend."""
    found = made(recorded())
    assert [bar for bar in found.all("a", "bar") if bar.has(kind)]
    assert any(each.text.split(":")[0] == kind for each in found.all("li"))
    style = found.all("style")[0].text
    others = set(KINDS) - {kind}
    for_all = dict(re.findall(r"\.bar\.(\w+) \{ (.*?) \}", style))
    shape = re.sub(r"var\(--\w+\)", "", for_all[kind])
    assert shape not in {re.sub(r"var\(--\w+\)", "", for_all[other]) for other in others}
    for scheme in style.split("prefers-color-scheme: dark")[:2]:
        colours = dict(re.findall(r"--(\w+): (#\w+)", scheme))
        assert colours[kind] not in {colours[other] for other in others}


def test_a_failure_and_a_retry_are_marked_without_colours() -> None:
    """Signs on the timeline and in the table."""
    found = made(recorded())
    assert [mark.text for mark in found.all("span", "mark") if "data-try" in mark.attributes] == [
        "✕",
        "↻",
    ]
    rows = {row.attributes["id"]: row.text for row in found.all("tr") if "id" in row.attributes}
    assert [id for id, text in rows.items() if "✕ failed" in text] == ["try-4"]
    assert [id for id, text in rows.items() if "↻" in text] == ["try-5"]


def test_an_invocation_that_its_target_stopped_is_marked() -> None:
    """Its outcome is in the table, beside Airflow's state."""
    found = made(join([ran()], [invocation(outcome="deadline")]))
    assert "success (deadline)" in found.by_id("try-0").text
    assert found.by_id("bar-0").has("failed")


def test_names_cannot_become_a_part_of_the_page() -> None:
    """Of DAGs, tasks, runs, environments, targets, versions, phases and differences."""
    key = replace(KEY, dag_id=HOSTILE, run_id=HOSTILE, task_id=HOSTILE)
    rows = join(
        [ran(key, HOSTILE)],
        [invocation(key, name=HOSTILE, environment=HOSTILE, target=HOSTILE, outcome=HOSTILE)],
    )
    course = Course(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, [(HOSTILE, 1.0)], [HOSTILE], [HOSTILE])
    hostile, harmless = made(rows, course), made(join([ran()], [invocation()]))
    assert hostile.all("img") == []
    assert len(hostile.all("script")) == len(harmless.all("script"))
    assert not [each for each in hostile.elements if "onerror" in each.attributes]
    (one,) = hostile.data["tries"]
    assert one["dag"] == one["task"] == one["environment"] == HOSTILE
    assert HOSTILE in hostile.by_id("try-0").text


def test_the_page_loads_nothing() -> None:
    """And it forbids the browser to."""
    found = made(recorded())
    assert found.loads == []
    (policy,) = [each for each in found.all("meta") if "http-equiv" in each.attributes]
    assert "default-src 'none'" in str(policy.attributes["content"])


def test_what_made_it_is_in_it() -> None:
    """The command, the versions, and the seconds of each step and of all."""
    text = made(recorded()).all("body")[0].text
    for part in ("make demo EXAMPLE=s3_etl", "3.3.2", "cdk deploy --all", "42.0", "50.5"):
        assert part in text


def test_the_first_words_are_whether_all_went_well() -> None:
    """If not, every difference is there."""
    assert "Every DAG run ended as expected" in made(recorded()).all("section")[0].text
    differs = replace(COURSE, unexpected=["dag has no DAG run"])
    first = made(recorded(), differs).all("section")[0].text
    assert "Not everything ended as expected" in first
    assert "dag has no DAG run" in first


def test_the_filter_has_every_dag() -> None:
    """Also one whose tries needed no invocation."""
    other = replace(KEY, dag_id="other")
    found = made(join([ran(), Try(other, "skipped", "")], [invocation()]))
    assert [option.text for option in found.all("option")] == ["all DAGs", "dag", "other"]


def test_nothing_to_show_is_a_page_too() -> None:
    """A DAG without a task has no tries."""
    assert made([]).data["tries"] == []


def test_the_runs_of_a_schedule_come_after_those_that_we_triggered() -> None:
    """They are told apart by their ids."""
    scheduled = replace(KEY, run_id="scheduled__2030-01-01T00:00:00+00:00")
    found = made(join([ran(replace(KEY, run_id="zz")), ran(scheduled)], []))
    assert [one["run"] for one in found.data["tries"]] == ["zz", scheduled.run_id]


# --- the timeline ---


def test_a_lane_is_an_execution_environment_of_a_target() -> None:
    """Functions come first; environments in the order in which they began."""
    keys = [replace(KEY, map_index=index) for index in range(4)]
    rows = join(
        [ran(key) for key in keys],
        [
            invocation(keys[0], environment="b", started_at_s=100.0),
            invocation(keys[1], environment="a", started_at_s=101.0),
            invocation(keys[2], environment="b", started_at_s=102.0),
            invocation(keys[3], environment="job", target="Batch", name="a", started_at_s=99.0),
        ],
    )
    drawn = timeline(rows)
    assert [(each.kind, each.name) for each in drawn.targets] == [
        ("function", "airflow-lambda-local"),
        ("Batch", "a"),
    ]
    lanes = drawn.targets[0].lanes
    assert [(lane.environment, len(lane.bars)) for lane in lanes] == [("b", 2), ("a", 1)]


def test_the_wait_ends_where_the_run_begins() -> None:
    """The first second of ten is the wait, the other nine are the run."""
    (row,) = join([ran()], [invocation(queue_to_start_ms=1000.0, run_ms=9000.0)])
    (bar,) = timeline([row]).targets[0].lanes[0].bars
    assert bar.wait is not None
    assert (bar.wait.left, bar.wait.right) == (0, 10)
    assert (bar.run.left, bar.run.right) == (10, 100)


def test_a_wait_that_nobody_measured_is_not_drawn() -> None:
    """An executor of another maker sends no time."""
    (row,) = join([ran()], [invocation(queue_to_start_ms=None)])
    (bar,) = timeline([row]).targets[0].lanes[0].bars
    assert bar.wait is None


def test_what_waits_at_once_is_on_lines_of_its_own() -> None:
    """All of fifty wait from the beginning, and run one after the other."""
    keys = [replace(KEY, map_index=index) for index in range(50)]
    found = [
        invocation(key, started_at_s=100.0 + n, queue_to_start_ms=n * 1000.0, run_ms=1000.0)
        for n, key in enumerate(keys)
    ]
    (lane,) = timeline(join([ran(key) for key in keys], found)).targets[0].lanes
    by_level: dict[int, list[tuple[float, float]]] = {}
    for bar in lane.bars:
        assert bar.wait is not None
        if bar.wait.width:
            by_level.setdefault(bar.level, []).append((bar.wait.left, bar.wait.right))
    assert lane.levels == max(by_level) + 1
    for waits in by_level.values():
        waits.sort()
        assert all(before[1] <= after[0] for before, after in pairwise(waits))


@pytest.mark.parametrize("length_s", [0.05, 1.0, 59.0, 3600.0, 90_000.0])
def test_the_axis_has_a_readable_number_of_marks(length_s: float) -> None:
    """From zero on, within the page."""
    (row,) = join([ran()], [invocation(queue_to_start_ms=0.0, run_ms=length_s * 1000)])
    marks = timeline([row]).marks
    assert marks[0] == ("0 s", 0)
    assert 1 <= len(marks) <= 26
    assert all(0 <= at <= 100 for _, at in marks)


def test_another_log_group_is_another_target() -> None:
    """A stage may have several functions."""
    other = replace(KEY, task_id="other")
    lines = [logged(line()), logged(line(task_id="other"), f"{GROUP}-quarter-hour")]
    rows = join([ran(), ran(other)], [found for each in lines if (found := parse(each))])
    assert [target.name for target in timeline(rows).targets] == [
        "airflow-lambda-local",
        "airflow-lambda-local-quarter-hour",
    ]
