"""The page in a real browser: with the keyboard alone, in the dark and in the light.

With PICTURES in the environment it also renews the pictures of the documentation.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import insert
from sqlalchemy.engine import Engine

from lambda_executor.contract.names import FAILURE_EVENT, FUNCTION_METRICS
from lambda_executor.contract.wire import Invocation, InvocationId
from tests.support.account import Account
from tests.support.airflow_database import add_dag
from tests.support.api_server import Open, open_as, served, token_of
from tests.support.browser import Browser, browser, needs_chromium

__all__ = ["open_as"]

pytestmark = [needs_chromium, pytest.mark.timeout(300)]

IMAGES = Path(__file__).parents[3] / "docs" / "images"
NOW = datetime.now(UTC)
REQUEST = "15e9cd80-edf5-4e08-8b3d-6139bc438860"
#: Waits and runs in seconds, of tasks that have ended.
ENDED = [(0.4 + n % 7, 20.0 + 9 * (n % 11)) for n in range(40)]
IS_READY = "document.getElementById('said').textContent.startsWith('Refreshed')"


def fill(account: Account, database: Engine) -> None:
    """A day of an environment that has had some trouble."""
    add_dag(database, "etl")
    common = {"dag_id": "etl", "run_id": "r", "map_index": -1, "try_number": 1, "pool": "p"}
    common |= {"pool_slots": 1, "queue": "default"}
    rows = [
        {
            "state": "success",
            "queued_dttm": NOW - timedelta(seconds=600 + wait_s),
            "start_date": NOW - timedelta(seconds=600),
            "end_date": NOW - timedelta(seconds=600 - run_s),
        }
        for wait_s, run_s in ENDED
    ]
    rows += [{"state": "running", "queued_dttm": NOW, "start_date": NOW} for _ in range(12)]
    rows += [{"state": "queued", "queued_dttm": NOW} for _ in range(3)]
    with database.begin() as connection:
        for number, row in enumerate(rows):
            id = {"task_id": f"load_{number}", "external_executor_id": f"id-{number}"}
            connection.execute(insert(TaskInstance).values(common | id | row))
        reason = "the function ran for 900 s, its time-out: raise it, or choose a larger target"
        event = {"event": FAILURE_EVENT, "extra": reason, "dttm": NOW}
        event |= {"dag_id": "etl", "run_id": "r", "task_id": "transform", "try_number": 1}
        connection.execute(insert(Log).values(event))
    metric = {"Dimensions": [{"Name": "FunctionName", "Value": "function"}], "Timestamp": NOW}
    counts = [("AWS/Lambda", "Invocations", 55.0), ("AWS/Lambda", "Throttles", 2.0)]
    for namespace, name, value in counts:
        data = [{**metric, "MetricName": name, "Value": value}]
        boto3.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=data)
    starts = [{"MetricName": "InitTime", "Value": 2900.0, "Timestamp": NOW}] * 6
    boto3.client("cloudwatch").put_metric_data(
        Namespace=f"{FUNCTION_METRICS}/function", MetricData=starts
    )
    bury(account, "id-54")
    bury(account, "of-a-scheduler-that-is-gone")


def bury(account: Account, id: str) -> None:
    """A dead letter whose token is still good."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + 3600}).encode()).decode()
    ti = {"dag_id": "etl", "task_id": "load", "run_id": "r", "map_index": -1, "try_number": 1}
    workload = {"type": "ExecuteTask", "token": f"e30.{claims.rstrip('=')}.c2VjcmV0", "ti": ti}
    boto3.client("sqs").send_message(
        QueueUrl=account.options["dead_letter_queue_url"],
        MessageBody=Invocation.for_workload(InvocationId(id), json.dumps(workload))
        .encode()
        .decode(),
        MessageAttributes={
            "RequestID": {"DataType": "String", "StringValue": REQUEST},
            "ErrorMessage": {"DataType": "String", "StringValue": "Runtime exited: signal: killed"},
        },
    )


@pytest.fixture
def tab(
    open_as: Open, account: Account, database: Engine, tmp_path: Path
) -> Iterator[tuple[Browser, str]]:
    """The page in a browser, opened by a user of Airflow, and its address."""
    fill(account, database)
    with served(open_as(None)) as address, browser(tmp_path) as opened:
        opened.prefer("light")
        opened.open(f"{address}/lambda-executor/page.css")
        opened.see(f"document.cookie = '_token={token_of('USER')}; path=/'")
        opened.open(f"{address}/lambda-executor/")
        opened.wait(IS_READY)
        yield opened, f"{address}/lambda-executor/"


def focused(tab: Browser) -> str:
    """What the focus is on."""
    return str(tab.see("document.activeElement.id || document.activeElement.textContent.trim()"))


def tab_to(tab: Browser, id: str) -> None:
    """Press the tabulator until something has the focus."""
    for _ in range(60):
        tab.press("Tab")
        if focused(tab) == id:
            return
    raise AssertionError(f"the tabulator does not reach {id}")


def test_the_page_shows_what_the_environment_does(tab: tuple[Browser, str]) -> None:
    """Each panel has its numbers, and none has a problem."""
    opened, _ = tab
    text = opened.see("document.querySelector('main').innerText")
    for shown in ("function\tdefault\t3\t12\t0", "10.9 %", "raise it, or choose a larger target"):
        assert shown in text, text
    assert opened.see("document.querySelectorAll('.problem').length") == 0


def test_the_keyboard_reaches_every_control(tab: tuple[Browser, str]) -> None:
    """In their order on the page, each with a visible focus."""
    opened, _ = tab
    controls = "[...document.querySelectorAll('a, button, input, select')]"
    wanted = opened.see(
        f"{controls}.filter((each) => each.checkVisibility() && !each.closest('dialog')).length"
    )
    reached = f"{controls}.filter((each) => window.reached.has(each)).length"
    opened.see("window.reached = new Set()")
    for _ in range(2 * wanted):  # The focus also goes to panels that scroll.
        opened.press("Tab")
        opened.see("reached.add(document.activeElement)")
        if opened.see(reached) == wanted:
            break
        outline = "getComputedStyle(document.activeElement).outlineWidth"
        assert opened.see(outline) == "3px", focused(opened)
    assert opened.see(reached) == wanted


def test_dead_letters_are_purged_with_the_keyboard_alone(tab: tuple[Browser, str]) -> None:
    """After a question, which Escape and the first button answer with no."""
    opened, _ = tab
    tab_to(opened, "look")
    opened.press("Enter")
    rows = "document.querySelectorAll('#dead-letters tbody tr').length"
    opened.wait(f"{rows} === 2")
    tab_to(opened, "purge")
    opened.press("Enter")
    opened.wait("document.getElementById('confirm').open")
    opened.press("Escape")
    opened.wait("!document.getElementById('confirm').open")
    assert opened.see(rows) == 2
    assert focused(opened) == "purge"
    opened.press("Enter")
    opened.wait("document.getElementById('confirm').open")
    assert focused(opened) == "Cancel"
    opened.press("Tab")
    assert focused(opened) == "yes"
    opened.press("Enter")
    opened.wait(f"{rows} === 1")
    said = opened.see("document.getElementById('said').textContent")
    assert said == "1 deleted, 1 kept for tasks in flight."


def test_one_refresh_is_made_at_once_and_ends_with_a_fault_too(tab: tuple[Browser, str]) -> None:
    """A slow server would get more and more requests of a page that refreshes itself."""
    opened, _ = tab
    opened.see(
        "window.asked = 0; const sends = fetch;"
        "window.fetch = (path, ...rest) => {"
        " asked += Number(path === 'api/in-flight'); return sends(path, ...rest); };"
        "shows.starts = () => { throw new Error('a fault'); };"
        "refresh(); refresh(); 0"
    )
    opened.wait(IS_READY)
    assert opened.see("asked") == 1
    assert "a fault" in opened.see("document.getElementById('starts').innerText")
    assert opened.see("document.querySelectorAll('[aria-busy], #refresh:disabled').length") == 0


def test_what_is_said_and_linked_is_so(tab: tuple[Browser, str]) -> None:
    """A task that is not there is not called found; a finding leads to its help."""
    opened, _ = tab
    opened.see(
        "for (const each of ['dag_id', 'run_id', 'task_id'])"
        " document.getElementById('task').elements[each].value = 'none';"
        "document.getElementById('task').requestSubmit()"
    )
    opened.wait(
        "document.getElementById('said').textContent === 'The invocation could not be found.'"
    )
    address = opened.see(
        "put('doctor', findings([{verdict: 'problem', subject: 's', of: '', detail: 'd', fix: '',"
        " command: '', help: 'https://example.com/help'}]));"
        "document.querySelector('#doctor a').href"
    )
    assert address == "https://example.com/help"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_colours_of_the_person(tab: tuple[Browser, str], scheme: str) -> None:
    """Airflow's choice is stronger than that of the system; the text can be read in both."""
    opened, address = tab
    opened.prefer(scheme, 1280, 1390)
    opened.wait(f"document.documentElement.dataset.theme === '{scheme}'")
    if "PICTURES" in os.environ:
        opened.see("document.getElementById('look').click()")
        opened.wait("document.querySelectorAll('#dead-letters tbody tr').length === 2")
        opened.picture(IMAGES / f"page-in-airflow-{scheme}.png")
    other = {"light": "dark", "dark": "light"}[scheme]
    opened.see(f"localStorage.setItem('theme', '{other}')")
    opened.open(address)
    assert opened.see("document.documentElement.dataset.theme") == other


def test_a_narrow_window_needs_no_scrolling_sideways(tab: tuple[Browser, str]) -> None:
    """A table that is too wide scrolls in its own panel."""
    opened, _ = tab
    opened.prefer("light", 400, 800)
    assert opened.see("document.documentElement.scrollWidth - window.innerWidth") <= 0
