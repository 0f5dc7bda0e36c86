"""The examples: each folder is well-formed, its stage is valid, and mistakes in it are told."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from demo import paths
from demo.installation import examples
from demo.installation.examples import Example, ExampleError
from demo.installation.outside_world import Delivery, OutsideWorld
from demo.outcome.airflow_api import Api, Progress, Run, Try, TryKey
from demo.outcome.events import AWAITING_INPUT, Events
from stacks.config.loading import load

ALL = list(examples.all_examples())
each_example = pytest.mark.parametrize("example", ALL, ids=[example.name for example in ALL])

DAG = """
from airflow.sdk import dag, task

@dag(schedule=None)
def tidy() -> None: ...
"""


@pytest.fixture(scope="module")
def stages() -> Any:
    """The stages of `cdk.json`."""
    return json.loads((paths.ROOT / "cdk.json").read_text())["context"]["stages"]


@pytest.fixture
def written(tmp_path: Path) -> Example:
    """An example with one DAG and a page."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "tidy.py").write_text(DAG)
    (tmp_path / "README.md").write_text("# Tidy up\n\nAs it says.\n")
    return Example(tmp_path)


@each_example
def test_an_example_has_a_title_and_dags(example: Example) -> None:
    """What `make demo EXAMPLE=list` prints, and what is run."""
    assert example.title
    assert [file for file in example.project().files if not file.dag_ids] == []
    assert example.project().dag_ids != []


@each_example
def test_the_stage_of_an_example_is_valid(example: Example, stages: Any) -> None:
    """The demo deploys it over `local`, and a person may copy it into a stage like `dev`."""
    for stage in ("local", "dev"):
        load(stages, stage, example.stage)


@each_example
def test_an_example_is_in_the_table_of_its_page(example: Example) -> None:
    """`examples/README.md` links every folder."""
    assert f"({example.name}/README.md)" in (examples.FOLDER / "README.md").read_text()


def test_an_unknown_name_lists_the_examples() -> None:
    """Each with its title, and with the likely one."""
    with pytest.raises(ExampleError) as raised:
        examples.find("s3_elt")
    text = str(raised.value)
    assert "There is no example 's3_elt' (did you mean s3_etl?)" in text
    assert [line for line in text.splitlines() if line.startswith("  s3_etl ")] != []
    assert len(text.splitlines()) == 1 + len(ALL)


def test_a_run_is_expected_to_succeed(written: Example) -> None:
    """Without a `demo.json`."""
    (file,) = written.project().files
    assert (file.dag_ids, file.ends, file.tries) == (("tidy",), "success", {})


@pytest.mark.parametrize(
    ("story", "told"),
    [
        ({"answers": {"tidy_up.ask": "Yes"}}, r"names the DAGs \['tidy_up'\]"),
        ({"failed": ["tidi"]}, r"the DAGs of the example are \['tidy'\]"),
        ({"retries": {}}, "retries"),
        (
            {"deliveries": [{"when_deferred": "tidy.wait", "file": "a.csv", "to": "s3://b/c"}]},
            "delivers 'a.csv', which is no file",
        ),
    ],
)
def test_a_mistake_in_a_story_is_told(written: Example, story: Any, told: str) -> None:
    """Otherwise the demo would wait for what nobody does."""
    (written.folder / "demo.json").write_text(json.dumps(story))
    with pytest.raises(ExampleError, match=told):
        written.project()


def test_the_control_planes_share_goes_to_the_demos_airflow(written: Example) -> None:
    """Its Airflow is not a part of the stage `local`."""
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*"}
    stage = {"control_plane": {"environment": {"A": "1"}, "statements": [statement]}}
    (written.folder / "stage.json").write_text(json.dumps(stage))
    outside = written.project().outside
    assert outside.airflow_environment == {"A": "1"}
    assert outside.airflow_statements == [statement]


def test_a_dag_that_nobody_has_started_is_not_over() -> None:
    """Another DAG starts it later, so the demo waits for it."""
    progress = Progress([Run("first", "demo", "success"), Run("second", "demo", "running")], [])
    assert progress.unfinished(["first", "second", "third"]) == ["second", "third"]


@dataclass
class Recorder:
    """Stands for AWS and for Airflow's API."""

    jobs: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    uploads: list[tuple[str, str, str]] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)

    def client(self, _service: str) -> Recorder:
        """The embedded AWS's client."""
        return self

    def get_parameter(self, **_: str) -> dict[str, Any]:
        """The Systems Manager's."""
        targets = {"spot": {"batch": {"jobQueue": "spot-queue"}}}
        return {"Parameter": {"Value": json.dumps({"targets": json.dumps(targets)})}}

    def list_jobs(self, **given: str) -> dict[str, Any]:
        """AWS Batch's."""
        assert given == {"jobQueue": "spot-queue", "jobStatus": "RUNNING"}
        return {"jobSummaryList": [{"jobArn": arn} for arn in self.jobs]}

    def interrupt(self, arn: str) -> bool:
        """The embedded AWS's."""
        self.interrupted.append(arn)
        return True

    def upload_file(self, file: str, bucket: str, key: str) -> None:
        """S3's."""
        self.uploads.append((file, bucket, key))

    def answer(self, key: TryKey, choice: str) -> None:
        """The API's."""
        self.answers.append((key.task_id, choice))


def test_what_tasks_wait_for_happens_once() -> None:
    """A file is uploaded when its task is deferred; a person answers when asked; neither twice."""
    world = OutsideWorld(
        deliveries=[Delivery("dag.wait", Path("a.csv"), "s3://bucket/in/a.csv")],
        answers={"dag.ask": "Approve"},
    )
    recorder = Recorder()
    events = Events(world, cast("Any", recorder), cast("Api", recorder), "parameter")

    def at(wait: str, ask: str) -> Progress:
        tries = [
            Try(TryKey("dag", "demo", task, -1, 1), state, "")
            for task, state in (("wait", wait), ("ask", ask))
        ]
        return Progress([Run("dag", "demo", "running")], tries)

    events.follow(at("running", "running"))
    assert (recorder.uploads, recorder.answers) == ([], [])
    for _ in range(2):
        events.follow(at("deferred", AWAITING_INPUT))
    assert recorder.uploads == [("a.csv", "bucket", "in/a.csv")]
    assert recorder.answers == [("ask", "Approve")]


def test_capacity_is_taken_back_once_in_the_first_try() -> None:
    """Not before the task runs in a job, and never a second time."""
    world = OutsideWorld(interruptions={"dag.long": "spot"})
    recorder = Recorder()
    events = Events(world, cast("Any", recorder), cast("Api", recorder), "parameter")

    def follow(state: str, try_number: int = 1) -> list[str]:
        tries = [Try(TryKey("dag", "demo", "long", -1, try_number), state, "")]
        events.follow(Progress([Run("dag", "demo", "running")], tries))
        return recorder.interrupted

    assert follow("queued") == follow("running") == []
    recorder.jobs.append("arn")
    assert follow("running") == follow("running") == ["arn"]
    assert follow("running", try_number=2) == ["arn"]
