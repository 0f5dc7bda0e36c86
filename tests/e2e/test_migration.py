"""Moving an environment of `AwsLambdaExecutor` to our executor, our image, or both.

The environment was made for the reference; only its scheduler is restarted, at last with our
executor beside LocalExecutor, CeleryExecutor with a worker, and the reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from demo.outcome.airflow_api import Api, Try
from tests.e2e import migration
from tests.e2e.migration import OURS, REFERENCE
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(1200)  # The first test waits for all of it, on any machine.

SIDE_BY_SIDE = ("side_by_side", "by_default_args")
DAG_IDS = ("all_reference", "reference_image", "our_image", "in_flight")


@dataclass(frozen=True)
class Story:
    """The observations that the tests check.

    Attributes:
        states: How the run of each DAG ended.
        tries: Every try of every task.
        handlers: What each function printed.
        schedulers: What each scheduler logged.
        messages_left: In each queue.
    """

    states: dict[str, str]
    tries: list[Try]
    handlers: dict[str, str]
    schedulers: dict[str, str]
    messages_left: dict[str, int]

    def of(self, dag_id: str) -> list[tuple[str, int, str]]:
        """Task, try and state of one DAG, in order."""
        return [
            (each.key.task_id, each.key.try_number, each.state)
            for each in self.tries
            if each.key.dag_id == dag_id
        ]


@pytest.fixture(scope="module")
def story() -> Story:
    """The reference, then ours with its image, the reference with ours, then four executors."""
    states = {}
    with migration.site() as site, migration.api(site) as api:
        api.wait_for_dags(DAG_IDS, migration.TIMEOUT_S)
        ours = site.make_function_of_ours()
        first = site.start_scheduler("first", REFERENCE)
        states["all_reference"] = migration.run(api, "all_reference")
        site.wait_until_taken(site.function, 2)
        migration.start(api, "in_flight")
        until(lambda: _is_running(api, "in_flight"), "the task in flight runs", migration.TIMEOUT_S)
        migration.crash(first)
        second = site.start_scheduler("second", OURS)
        states["reference_image"] = migration.run(api, "reference_image")
        until(
            lambda: "Adopted 1 " in second.log.read_text() or None,
            "it is adopted",
            migration.TIMEOUT_S,
        )
        migration.open_gate()
        states["in_flight"] = migration.end_of(api, "in_flight")
        site.wait_until_taken(site.function, 5)
        second.end()
        third = site.start_scheduler("third", REFERENCE, function=ours)
        states["our_image"] = migration.run(api, "our_image")
        site.wait_until_taken(ours, 2)
        third.end()
        fourth, theirs = site.start_side_by_side("fourth", ours)
        api.wait_for_dags(SIDE_BY_SIDE, migration.TIMEOUT_S)
        for dag_id in SIDE_BY_SIDE:
            migration.start(api, dag_id)
        for dag_id in SIDE_BY_SIDE:
            states[dag_id] = migration.end_of(api, dag_id)
        site.wait_until_taken(theirs, 1)
        site.wait_until_taken(ours, 6)
        schedulers = {"first": first, "second": second, "third": third, "fourth": fourth}
        return Story(
            states=states,
            tries=api.tries(),
            handlers={name: site.function_log(name) for name in (site.function, ours)},
            schedulers={name: child.log.read_text() for name, child in schedulers.items()},
            messages_left=site.messages_left(),
        )


def _is_running(api: Api, dag_id: str) -> bool | None:
    tries = api.progress().tries
    return any(t.state == "running" and t.key.dag_id == dag_id for t in tries) or None


def test_the_environment_was_made_for_the_reference(story: Story) -> None:
    """The unchanged environment's executor runs a DAG and takes both results."""
    assert story.states["all_reference"] == "success"
    assert story.schedulers["first"].count(migration.TAKEN_BY_REFERENCE) == 2


def test_only_the_executors_name_has_to_change(story: Story) -> None:
    """With the reference's options and its handler image, our executor runs a DAG."""
    assert story.states["reference_image"] == "success"
    assert story.of("reference_image") == [("give", 1, "success"), ("take", 1, "success")]
    assert "left in flight" not in story.schedulers["second"]


def test_what_is_in_flight_at_the_switch_is_adopted(story: Story) -> None:
    """A task that the reference sent succeeds on its first try under our executor."""
    assert story.states["in_flight"] == "success"
    assert story.of("in_flight") == [("wait", 1, "success")]
    starts = re.findall(r"Starting execution for task: .*", story.handlers["reference-image"])
    assert len([start for start in starts if '"in_flight"' in start]) == 1


def test_our_image_works_under_the_reference(story: Story) -> None:
    """With our handler image the reference's executor runs a DAG and takes both results."""
    assert story.states["our_image"] == "success"
    assert story.of("our_image") == [("give", 1, "success"), ("take", 1, "success")]
    assert story.schedulers["third"].count(migration.TAKEN_BY_REFERENCE) == 2


def test_four_executors_share_a_dag(story: Story) -> None:
    """A task runs where the executor that it names has it run, or the first in the list."""
    assert story.states["side_by_side"] == "success"
    assert story.of("side_by_side") == [
        (task_id, 1, "success")
        for task_id in (
            *("by_alias", "by_class", "by_default", "by_path"),
            *("celery_by_alias", "celery_by_class", "local", "provider_by_alias"),
        )
    ]


def test_default_args_choose_for_a_whole_dag(story: Story) -> None:
    """A task's own executor is stronger."""
    assert story.states["by_default_args"] == "success"
    expected = [("elsewhere", 1, "success"), ("ours", 1, "success")]
    assert story.of("by_default_args") == expected


def test_each_executor_takes_its_own_results(story: Story) -> None:
    """The reference beside ours sees the one result of its one task."""
    assert story.schedulers["fourth"].count(migration.TAKEN_BY_REFERENCE) == 1


def test_nothing_is_left_in_the_queues(story: Story) -> None:
    """Every result of either handler was deleted by either executor."""
    assert story.messages_left == dict.fromkeys(story.messages_left, 0)
