"""What the soak reads: the scheduler's log, Airflow's task instances; and what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from demo.outcome.airflow_api import TryKey
from tests.soak import charts, page
from tests.soak.load import TaskTimes, difference, times_of
from tests.soak.programs import Usage
from tests.soak.record import Record, percentile
from tests.soak.scheduler_log import SchedulerLog
from tests.support.executor_summary import ExecutorCounts
from tests.support.svg import SVG, points, what_leaves_it

#: As Airflow 3.3.2 writes them.
EVENT = (
    "2026-11-30T15:02:26.646572Z [info     ] Received executor event with state {state} for task "
    "instance TaskInstanceKey(dag_id='soak', task_id='square', run_id='soak-1', try_number=1, "
    "map_index=3) [airflow.jobs.scheduler_job_runner.SchedulerJobRunner] "
    "loc=scheduler_job_runner.py:1347\n"
)
SUMMARY = (
    "2026-11-30T15:02:27.000000Z [info     ] lambda executor: 7 pending (2 held), 4 in flight, "
    "1 deliveries not acknowledged [lambda_executor.scheduler.executor] loc=executor.py:265\n"
)
KEY = TryKey("soak", "soak-1", "square", 3, 1)
SETTLED_AT_S = 1796050946.646572


def instance(**changes: Any) -> dict[str, Any]:
    """A task instance, as the REST API answers."""
    return {
        "dag_id": "soak",
        "dag_run_id": "soak-1",
        "task_id": "square",
        "map_index": 3,
        "try_number": 1,
        "state": "success",
        "queue": "default",
        "queued_when": "2026-11-30T15:02:25.000000Z",
        "start_date": "2026-11-30T15:02:25.500000Z",
        "end_date": "2026-11-30T15:02:26.500000Z",
    } | changes


def test_the_schedulers_log_is_read_line_by_line_as_it_grows(tmp_path: Path) -> None:
    """Ends of tries and the executor's summary; half a line waits for its other half."""
    file = tmp_path / "scheduler.log"
    whole = EVENT.format(state="running") + EVENT.format(state="success") + SUMMARY
    log = SchedulerLog(file)
    for end in range(0, len(whole) + 50, 50):
        file.write_text(whole[:end])
        log.read()
    assert log.settled_at_s == {KEY: SETTLED_AT_S}
    assert log.events == 1, "that a task runs is not its end"
    assert log.counts == ExecutorCounts(pending=7, held=2, in_flight=4, not_acknowledged=1)


def test_a_tasks_time_has_three_parts() -> None:
    """Queued to started, started to ended, ended to settled."""
    times = times_of(instance(), {KEY: SETTLED_AT_S})
    assert times is not None
    parts = (times.start_s, times.run_s, times.settle_s)
    assert parts == pytest.approx((0.5, 1.0, 0.146572), abs=1e-5)
    assert times.target == "function"
    unknown = times_of(instance(queue="batch"), {})
    assert unknown is not None
    assert (unknown.target, unknown.settle_s) == ("batch", None)
    assert times_of(instance(start_date=None), {}) is None
    assert times_of(instance(task_id="defers"), {}) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"task_id": "fails", "state": "failed"}, ""),
        ({"task_id": "retries", "try_number": 2}, ""),
        ({"state": "failed"}, "soak-1 square[3]: failed in try 1, not success in try 1"),
        ({"try_number": 2}, "soak-1 square[3]: success in try 2, not success in try 1"),
        ({"task_id": "retries"}, "soak-1 retries[3]: success in try 1, not success in try 2"),
    ],
)
def test_each_end_that_its_dag_does_not_mean_is_told(
    changes: dict[str, Any], expected: str
) -> None:
    """A wrong state, a try too many, a try too few."""
    assert difference(instance(**changes)) == expected


def test_a_percentile_is_one_of_the_values() -> None:
    """The smallest that this share of them does not exceed."""
    hundred = [float(n) for n in range(1, 101)]
    assert [percentile(hundred, share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert percentile([3.0], 0.99) == 3


def run() -> Record:
    """Three minutes, in which a program comes late and another ends early."""
    record = Record({"minutes": 3, "rate": 2.0})
    for number in range(18):
        used = {"scheduler": Usage(200, 180, 20, 30)}
        if number >= 6:
            used["function environment 1"] = Usage(100, 80, 3, 12)
        if number < 12:
            used["function environment 2"] = Usage(120, 90, 3, 12)
        record.sample(10.0 * number, 20 * number, used, None)
        record.load.append(1.0)
        record.open_runs.append(1)
    record.describe([TaskTimes("function", 1000 + n, n / 100, 0.1, None) for n in range(180)], 1000)
    return record


def test_a_series_has_a_value_or_none_for_every_sample(tmp_path: Path) -> None:
    """Also that of a program which came late; and the file has all of it."""
    record = run()
    late = record.series["function environment 1"]["pss_mb"]
    early = record.series["function environment 2"]["pss_mb"]
    assert late == [None] * 6 + [100] * 12
    assert early == [120] * 12 + [None] * 6
    assert record.points("function environment 1", "threads")[0] == (60, 120, 3)
    record.write(tmp_path / "soak.json")
    assert Record.read(tmp_path / "soak.json") == record


def test_percentiles_are_those_of_each_minute() -> None:
    """What is not known has none."""
    latency = run().latency
    assert latency["start_s"]["p50"] == [0.29, 0.89, 1.49]
    assert latency["settle_s"]["p99"] == [None, None, None]


def test_the_pictures_have_a_line_for_every_series() -> None:
    """Also for one with gaps: at each sample, the median of the environments that there are."""
    pictures = charts.drawn(run())
    memory, latency = (ET.fromstring(picture) for picture in pictures.values())
    tag = f"{SVG}polyline"
    # Scheduler and environments in each of three plots; three percentiles of two parts.
    assert len(list(memory.iter(tag))) == 6
    assert len(list(latency.iter(tag))) == 6
    line = next(each for each in memory.iter(tag) if each.attrib["class"] == "line6")
    heights = [y for _, y in points(line)]
    assert len(heights) == 18
    assert heights[0] < heights[8] < heights[17], "120 MB, then 110, then 100"


def test_the_committed_page_and_pictures_are_those_of_the_committed_run() -> None:
    """`make docs` writes them."""
    record, text = Record.read(charts.DATA), page.PAGE.read_text()
    assert page.written(text, record) == text, "run: make docs"
    for name, picture in charts.drawn(record).items():
        assert (charts.IMAGES / name).read_text() == picture, "run: make docs"
        assert what_leaves_it(ET.fromstring(picture)) == []


def test_a_committed_run_has_few_samples_and_keeps_its_last() -> None:
    """A picture shows no more."""
    record = Record({"minutes": 60, "rate": 2.0})
    for number in range(359):
        record.sample(10.0 * number, number, {"scheduler": Usage(number, number, 20, 30)}, None)
        record.load.append(1.0)
        record.open_runs.append(1)
    thin = charts.thinned(record)
    assert len(thin.at_s) <= charts.MOST_SAMPLES + 1
    assert thin.at_s[-1] == record.at_s[-1]
    assert thin.series["scheduler"]["pss_mb"][-1] == 358
