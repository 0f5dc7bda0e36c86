"""The examples, all in one environment: deployed together, run together, destroyed together.

Each one alone is what `make demo EXAMPLE=<name>` runs, by the same modules.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from demo import paths
from demo.installation import environment, examples, leftovers
from demo.installation.outside_world import OutsideWorld
from demo.installation.project import Project, merged
from demo.outcome import exercise, tries
from demo.screen import Screen
from tests.support.airflow_rest import returned

pytestmark = pytest.mark.timeout(1200)  # The first test waits for all of it, on any machine.

HOME = paths.Home(paths.ROOT / "build" / "examples")
NAMES = ("callbacks_and_people", "event_driven", "large_memory_scoring", "s3_etl")
#: Tasks whose return values the tests look at, by DAG.
RETURNING = (
    ("s3_etl", "report"),
    ("large_memory_scoring", "score"),
    ("large_memory_scoring", "summarise"),
    ("report_orders", "report"),
    ("count_returns", "count"),
    ("publish_prices", "approve_prices"),
)


@dataclass(frozen=True)
class Story:
    """The observations that the tests check."""

    ended: exercise.Ended
    unexpected: list[str]
    left: list[leftovers.Resource]
    returned: dict[tuple[str, str], list[Any]]
    objects: dict[str, str]
    lines: list[dict[str, Any]]

    def states(self, dag_id: str, task_id: str) -> list[str]:
        """The states of a task's rows in the demo's table."""
        return [
            row.state
            for row in self.ended.rows
            if (row.key.dag_id, row.key.task_id) == (dag_id, task_id)
        ]

    def said(self, what: str) -> list[dict[str, Any]]:
        """The lines of the functions' logs whose text begins so."""
        return [line for line in self.lines if str(line.get("event", "")).startswith(what)]


def together(folder: Path) -> Project:
    """All examples as one project."""
    projects = [examples.find(name).project() for name in NAMES]
    worlds = [project.outside for project in projects]
    override = reduce(merged, (project.override for project in projects), dict[str, Any]())
    workloads = [project.override.get("workloads", {}) for project in projects]
    statements = [one for each in workloads for one in each.get("statements", [])]
    requirements = folder / "requirements.txt"
    requirements.write_text(
        "\n".join(project.requirements.read_text() for project in projects if project.requirements)
    )
    return Project(
        files=[file for project in projects for file in project.files],
        requirements=requirements,
        override=merged(override, {"workloads": {"statements": statements}}),
        outside=OutsideWorld(
            resources=[one for world in worlds for one in world.resources],
            airflow_environment=reduce(merged, (world.airflow_environment for world in worlds)),
            airflow_statements=[one for world in worlds for one in world.airflow_statements],
            deliveries=[one for world in worlds for one in world.deliveries],
            answers=reduce(merged, (world.answers for world in worlds)),
        ),
    )


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """One environment, from nothing to nothing."""
    project = together(tmp_path_factory.mktemp("examples"))
    with environment.running(HOME, project, Screen()) as here:
        ended = exercise.run_all(here)
        values = {key: returned(here, *key) for key in RETURNING}
        objects = _objects(here, "airflow-example-etl")
        lines = _lines(here)
        left = here.take_down()
    return Story(ended, ended.unexpected(here), left, values, objects, lines)


def _objects(here: environment.Environment, bucket: str) -> dict[str, str]:
    """The content of every object of a bucket."""
    s3 = here.aws.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [found["Key"] for page in pages for found in page["Contents"]]
    return {
        key: s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in sorted(keys)
    }


def _lines(here: environment.Environment) -> list[dict[str, Any]]:
    """Every line of the functions' logs that is JSON."""
    found = tries.log_messages(here.aws, exercise.log_groups(here))
    return [json.loads(line.text) for line in found if line.text.startswith("{")]


def test_every_run_ends_as_its_example_says(story: Story) -> None:
    """The demo's own judgement finds nothing to complain about, and nothing is left in AWS."""
    assert story.unexpected == []
    assert story.left == []


def test_a_hundred_tasks_read_and_write_the_bucket(story: Story) -> None:
    """Each mapped task was an invocation, and what they left is what the raw files add up to."""
    assert story.states("s3_etl", "clean") == ["success"] * 100
    raw = [text for key, text in story.objects.items() if key.startswith("raw/")]
    cleaned = [text for key, text in story.objects.items() if key.startswith("clean/")]
    assert (len(raw), len(cleaned)) == (100, 100)
    orders = {row["order"]: row for text in raw for row in csv.DictReader(io.StringIO(text))}
    revenue = dict.fromkeys(("bread", "butter", "milk"), 0.0)
    for order in orders.values():
        revenue[order["product"]] += float(order["amount"] or 0)
    assert story.returned["s3_etl", "report"] == [pytest.approx(revenue)]
    assert story.objects["report/revenue.csv"].splitlines()[0] == "product,amount"


def test_only_the_scoring_runs_in_the_large_function(story: Story) -> None:
    """The model, larger than the default function, was in the memory that Lambda says it has."""
    scored = story.returned["large_memory_scoring", "score"]
    assert [one["memory_mb"] for one in scored] == [3008] * 3
    assert {one["model_mb"] for one in scored} == {1024}
    assert all(one["function"].endswith("-large-memory") for one in scored)
    (summary,) = story.returned["large_memory_scoring", "summarise"]
    assert summary["memory_mb"] == 1024
    assert summary["customers"] == 12


def test_the_sensor_leaves_the_function_until_the_file_arrives(story: Story) -> None:
    """Two short invocations, between them the triggerer; the next DAG gets what was delivered."""
    assert story.states("load_orders", "wait_for_delivery") == ["deferred", "success"]
    assert story.returned["report_orders", "report"] == [{"bread": 3, "butter": 1, "milk": 1}]


def test_a_new_file_starts_a_dag(story: Story) -> None:
    """The bucket's message reached the triggerer, which started a run with the file's name."""
    counted: Counter[str] = Counter()
    for one in story.returned["count_returns", "count"]:
        counted.update(one)
    assert counted == {"bread": 1, "butter": 1}


def test_callbacks_of_tasks_run_in_the_function_of_the_task(story: Story) -> None:
    """The function's log has their lines, with the task that they are about."""
    told = {(line["task_id"], line["event"].split(": ")[2]) for line in story.said("TEAM:")}
    assert told == {
        ("fetch_prices", "the supplier's server is busy"),
        ("fetch_forecast", "the forecast is not ready"),
        ("publish_prices", "None"),
    }


def test_a_missed_deadline_is_an_invocation_of_its_own(story: Story) -> None:
    """The deadline's callback ran in a function, without a task, and was settled."""
    (called,) = story.said("ON CALL: publish_prices")
    assert called["task_id"] is None
    (settled,) = [
        line
        for line in story.said("invocation settled")
        if line["invocation_id"] == called["invocation_id"]
    ]
    assert settled["outcome"] == "completed"


def test_the_answer_of_a_person_decides(story: Story) -> None:
    """What was approved is published, what was rejected is skipped."""
    (approved,) = story.returned["publish_prices", "approve_prices"]
    assert approved["chosen_options"] == ["Approve"]
    assert approved["responded_by_user"] is not None
    for asked in ("approve_prices", "approve_discounts"):
        assert story.states("publish_prices", asked) == ["deferred", "success"]
    assert story.states("publish_prices", "publish_prices") == ["success"]
    assert story.states("publish_prices", "publish_discounts") == ["skipped"]
