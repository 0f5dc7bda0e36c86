"""The page in a real Airflow: in its UI, with the links of a real task, and a real environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.installation.environment import Environment
from demo.outcome.airflow_api import Api
from tests.support.airflow_rest import rest
from tests.support.browser import Browser, browser, needs_chromium
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(600)  # The first test waits for the environment.

TIMEOUT_S = 90.0
#: The doctor may wait for a cold start of the function.
DOCTOR_S = 300.0
DAG = "version"
#: The page, inside the frame of Airflow's UI.
FRAME = "document.querySelector('iframe').contentDocument"


@pytest.fixture(scope="module")
def task(here: Environment) -> dict[str, Any]:
    """A task that has run, perhaps for another file's test of this environment."""
    with Api(here.airflow.url) as api:
        api.wait_for_dags([DAG], TIMEOUT_S)
        with rest(here) as asked:
            runs = asked.get(f"/dags/{DAG}/dagRuns").raise_for_status().json()["dag_runs"]
        if not runs:
            api.trigger(DAG)
        api.unpause(DAG)

    def ended() -> dict[str, Any] | None:
        with rest(here) as api:
            path = f"/dags/{DAG}/dagRuns/~/taskInstances"
            found = api.get(path).raise_for_status().json()["task_instances"]
        return found[0] if found and found[0]["state"] == "success" else None

    return until(ended, "the task ends", TIMEOUT_S)


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Browser]:
    """A browser."""
    with browser(tmp_path) as opened:
        opened.prefer("light")
        yield opened


def test_a_task_has_links_and_its_request_id(here: Environment, task: dict[str, Any]) -> None:
    """Airflow's API has the links, and our page has the request id from the function's log."""
    names = task["dag_id"], task["dag_run_id"], task["task_id"]
    with rest(here) as api:
        path = "/dags/{}/dagRuns/{}/taskInstances/{}/links".format(*names)
        links = api.get(path).raise_for_status().json()["extra_links"]
        assert here.outputs["LogGroupName"].replace("/", "$252F") in links["Invocation log"]
        page, _, query = links["Invocation and request id"].partition("?")
        found = api.get(f"{here.airflow.url}{page}api/invocation?{query}").raise_for_status().json()
    assert len(found["request_id"]) == len("15e9cd80-edf5-4e08-8b3d-6139bc438860")
    assert found["log_group"] == here.outputs["LogGroupName"]


@needs_chromium
@pytest.mark.usefixtures("task")
def test_airflows_ui_shows_the_page_in_its_navigation(here: Environment, tab: Browser) -> None:
    """In its frame, whose sandbox lets the page work; only what IAM refuses has no answer."""
    tab.open(f"{here.airflow.url}/plugin/lambda-executor")
    said = f"{FRAME}.getElementById('said').textContent"
    tab.wait(f"document.querySelector('iframe') && {FRAME}.getElementById('said') && {said}")
    tab.wait(f"{said}.startsWith('Refreshed')")
    text = tab.see(f"{FRAME}.querySelector('main').innerText")
    assert here.outputs["FunctionName"] in text
    queue = here.outputs["ResultsQueueUrl"].rpartition("/")[2]
    assert queue in text
    assert here.outputs["ConfigParameterName"] in text
    # The programs have the role of a scheduler here, which does not read metrics.
    (problem,) = tab.see(f"[...{FRAME}.querySelectorAll('.problem')].map((each) => each.innerText)")
    assert problem.startswith("This API server's role lacks cloudwatch:GetMetricData\n")


@needs_chromium
def test_the_doctor_is_asked_from_the_page(here: Environment, tab: Browser) -> None:
    """It finds nothing to fix in a healthy environment."""
    tab.open(f"{here.airflow.url}/lambda-executor/")
    tab.wait("document.getElementById('said').textContent.startsWith('Refreshed')")
    tab.see("document.getElementById('examine').click()")
    tab.wait("document.querySelector('#doctor tbody tr')", DOCTOR_S)
    verdicts = tab.see(
        "[...document.querySelectorAll('#doctor tbody tr')].map((row) => row.innerText)"
    )
    assert [row for row in verdicts if row.startswith("to fix")] == []
    assert any(row.startswith("ok\tExecution API") for row in verdicts), verdicts
