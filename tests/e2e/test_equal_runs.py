"""Airflow's own example DAGs end alike under LocalExecutor and under ours.

One Airflow runs the same DAGs twice. Between the runs only `[core] executor` changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from sqlalchemy import Engine, create_engine, text

from demo import paths
from demo.outcome.airflow_api import FINAL, Api
from tests.e2e import example_dags, migration
from tests.e2e.migration import OURS, Site
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(2400)  # The first test waits for all of it, on any machine.

HOME = paths.Home(paths.ROOT / "build" / "equal-runs")
STARTED = sorted(itertools.chain(*example_dags.STARTED.values()))
FOLLOWING = sorted(itertools.chain(*example_dags.FOLLOWING.values()))
#: A Monday; nothing here asks for another date.
LOGICAL_DATE = "2026-01-05T00:00:00Z"
TIMEOUT_S = 900.0
SETTINGS = {
    "AIRFLOW__CORE__PARALLELISM": "4",
    # Only the runs that are started here, not those of the DAGs' schedules.
    "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    # On a busy machine a scheduler may be silent for longer than the other tests allow.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "300",
    "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "300",
}

#: Each answers a name and a value. A run that another one starts has a changing id, and is named
#: by its number.
RUNS = """
SELECT dag_id || ' run ' || rank() OVER (PARTITION BY dag_id ORDER BY id), state FROM dag_run
"""
TASKS = """
SELECT concat_ws(' ', dag_id, run, task_id, NULLIF(map_index, -1)),
       concat_ws(' ', state, try_number, CASE WHEN hostname <> '' THEN 'ran' END,
                 rendered_map_index)
FROM task_instance JOIN (
    SELECT dag_id, run_id, 'run ' || rank() OVER (PARTITION BY dag_id ORDER BY id) AS run
    FROM dag_run
) AS numbered USING (dag_id, run_id)
"""
#: Without the names of skipped tasks, which are a set in any order: their states say the same.
XCOMS = """
SELECT concat_ws(' ', dag_id, task_id, NULLIF(map_index, -1), key), value FROM xcom
WHERE key <> 'skipmixin_key'
"""

#: XComs that differ between two runs of any executor.
CHANGING = {
    "example_bash_decorator describe_dag_folder dag_folder": "the folder of this AIRFLOW_HOME",
    "example_bash_decorator describe_dag_folder return_value": "the folder of this AIRFLOW_HOME",
    "example_bash_decorator get_file_stats return_value": "when that folder was made",
    "example_bash_decorator show_dag_folder_stats return_value": "the folder of this AIRFLOW_HOME",
    "example_trigger_controller_dag test_trigger_dagrun _link_TriggerDagRunLink": "a time",
    "example_trigger_controller_dag test_trigger_dagrun trigger_run_id": "a time",
}
#: A task must not write to an asset before the scheduler has activated it.
INACTIVE = """
SELECT asset.name, asset.uri FROM asset LEFT JOIN asset_active active
ON active.name = asset.name AND active.uri = asset.uri WHERE active.name IS NULL
"""

Ends = Mapping[str, str]


@dataclass(frozen=True)
class Story:
    """How everything ended.

    Attributes:
        local: Runs and tasks under LocalExecutor.
        ours: The same under ours.
        sent: The number of results that our function has sent.
    """

    local: Ends
    ours: Ends
    local_xcoms: Ends
    our_xcoms: Ends
    sent: int


@pytest.fixture(scope="module")
def story() -> Story:
    """All DAGs under LocalExecutor, then the same runs again under ours."""
    files = example_dags.files()
    with migration.site(HOME, files) as site, migration.api(site) as api:
        database = create_engine(site.database_url)
        site.start_program("triggerer", "both", {})
        function = site.make_function_of_ours()
        api.wait_for_dags([*STARTED, *FOLLOWING], migration.TIMEOUT_S)
        with database.begin() as connection:
            connection.execute(text("UPDATE dag SET is_paused = false"))
        local, local_xcoms = _run(site, api, database, "LocalExecutor", function)
        with database.begin() as connection:
            connection.execute(text("DELETE FROM dag_run"))
        ours, our_xcoms = _run(site, api, database, OURS, function)
        sent = len(migration.SENT.findall(site.function_log(function)))
        database.dispose()
    return Story(local, ours, local_xcoms, our_xcoms, sent)


def _run(site: Site, api: Api, database: Engine, executor: str, function: str) -> tuple[Ends, Ends]:
    """Run every DAG under one executor; how the tasks and runs ended, and their XComs."""
    name = executor.rpartition(".")[2]
    changed = {
        **SETTINGS,
        "AIRFLOW__CORE__EXECUTOR": executor,
        "AIRFLOW__AWS_LAMBDA_EXECUTOR__FUNCTION_NAME": function,
    }
    scheduler = site.start_program("scheduler", name, changed)
    until(
        lambda: not _read(database, INACTIVE) or None, "every asset is active", migration.TIMEOUT_S
    )
    for dag_id in STARTED:
        api.trigger(dag_id, LOGICAL_DATE)

    def have_ended() -> bool | None:
        return set(_read(database, RUNS).values()) <= FINAL or None

    until(have_ended, f"every run under {name} ends", TIMEOUT_S)
    scheduler.end()
    return _read(database, RUNS) | _read(database, TASKS), _read(database, XCOMS)


def _read(database: Engine, query: str) -> dict[str, str]:
    """What a query answers: a name and a value."""
    with database.connect() as connection:
        return {str(name): str(value) for name, value in connection.execute(text(query))}


def differences(local: Ends, ours: Ends) -> str:
    """A table of what differs, one line each; empty if nothing does."""
    names = sorted(
        name for name in {*local, *ours} - {*CHANGING} if local.get(name) != ours.get(name)
    )
    return "\n".join(
        f"{name}: under LocalExecutor {local.get(name, 'nothing')}, "
        f"under ours {ours.get(name, 'nothing')}"
        for name in names
    )


def test_every_task_ends_alike(story: Story) -> None:
    """Runs, states, numbers of tries and the names of mapped tasks are the same."""
    assert differences(story.local, story.ours) == ""


def test_every_xcom_is_alike(story: Story) -> None:
    """What tasks pass on is the same value, but for what no two runs have in common."""
    assert differences(story.local_xcoms, story.our_xcoms) == ""


def test_the_runs_were_many_and_ended_in_many_ways(story: Story) -> None:
    """Two empty databases are alike too; these had skipped tasks, mapped tasks and failures."""
    assert len(STARTED) + len(FOLLOWING) >= 40
    assert {name.partition(" ")[0] for name in story.local} == {*STARTED, *FOLLOWING}
    states = {end.partition(" ")[0] for end in story.local.values()}
    assert states == {"success", "failed", "skipped"}


def test_the_second_time_lambda_ran_them(story: Story) -> None:
    """The function sent a result for every task that ran, at least."""
    assert story.sent >= sum(" ran" in end for end in story.ours.values()) > 100


def test_every_example_runs_or_has_a_reason() -> None:
    """A file that a newer Airflow adds has to be put into one of the lists."""
    listed = [*example_dags.STARTED, *example_dags.FOLLOWING, *example_dags.LEFT_OUT]
    assert sorted(listed) == sorted(example_dags.existing())
