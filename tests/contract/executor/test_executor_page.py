"""The page's app in Airflow's own API server: log-in, permissions, panels, and what is refused."""

from __future__ import annotations

import base64
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode

import boto3
import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import (
    AccessView,
    DagAccessEntity,
    DagDetails,
)
from airflow.configuration import conf
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.version import version
from botocore.exceptions import ClientError
from sqlalchemy import insert, select
from sqlalchemy.engine import Engine

from lambda_executor.aws import LambdaFunctions, SqsQueue
from lambda_executor.aws.clients import Clients
from lambda_executor.aws.native import Native
from lambda_executor.contract.errors import AwsError
from lambda_executor.contract.names import FAILURE_EVENT
from lambda_executor.contract.wire import Invocation, InvocationId
from lambda_executor.ops.doctor import checks
from lambda_executor.ops.doctor.dag_findings import Versions
from lambda_executor.ops.explain import airflow_records
from lambda_executor.plugin import console, invocations, links
from lambda_executor.plugin.wiring import Wiring
from tests.support.account import Account
from tests.support.airflow_database import add_dag
from tests.support.api_server import MANAGER, Open, busy, open_as

__all__ = ["open_as"]

NOW = datetime.now(UTC)
ID = "8a58407b-ffa6-4b03-848c-126fe6361543"
REQUEST = "15e9cd80-edf5-4e08-8b3d-6139bc438860"
TASK = {"dag_id": "etl", "run_id": "manual__2026-11-30", "task_id": "load"}
PAGE = "/lambda-executor"
FROM_THE_PAGE = {"X-Lambda-Executor": "page"}

#: What each route needs beside a log-in.
ROUTES: Mapping[tuple[str, str], set[str]] = {
    ("GET", "/"): set(),
    ("GET", "/page.css"): set(),
    ("GET", "/page.js"): set(),
    ("GET", "/api/rights"): set(),
    ("GET", "/api/invocation"): {"TASK_LOGS GET"},
    ("GET", "/api/in-flight"): {"CLUSTER_ACTIVITY"},
    ("GET", "/api/durations"): {"CLUSTER_ACTIVITY"},
    ("GET", "/api/starts"): {"CLUSTER_ACTIVITY"},
    ("GET", "/api/queues"): {"CLUSTER_ACTIVITY"},
    ("GET", "/api/queues/{number}"): {"CLUSTER_ACTIVITY"},
    ("GET", "/api/wiring"): {"CLUSTER_ACTIVITY", "CONFIGURATION"},
    ("GET", "/api/failures"): {"CLUSTER_ACTIVITY", "TASK_INSTANCE GET"},
    ("GET", "/api/dead-letters"): {"CLUSTER_ACTIVITY", "TASK_INSTANCE GET"},
    ("POST", "/api/doctor"): {"CLUSTER_ACTIVITY", "CONFIGURATION"},
    ("POST", "/api/dead-letters/retry"): {"CLUSTER_ACTIVITY", "TASK_INSTANCE PUT"},
    ("POST", "/api/dead-letters/purge"): {"CLUSTER_ACTIVITY", "TASK_INSTANCE PUT"},
}
RIGHTS = sorted(set().union(*ROUTES.values()))


def store(database: Engine, **values: object) -> None:
    """A task of ours in Airflow's database."""
    row = {
        **TASK,
        "map_index": -1,
        "try_number": 1,
        "pool": "default_pool",
        "pool_slots": 1,
        "queue": "default",
        "state": "running",
        "external_executor_id": ID,
        "queued_dttm": NOW - timedelta(seconds=70),
        "start_date": NOW - timedelta(seconds=60),
    }
    with database.begin() as connection:
        connection.execute(insert(TaskInstance).values(row | values))


def fail(database: Engine, reason: str, **values: object) -> None:
    """The executor's reason in Airflow's audit log."""
    row = {"dttm": NOW, **TASK, "map_index": -1, "try_number": 1} | values
    with database.begin() as connection:
        connection.execute(insert(Log).values(row | {"event": FAILURE_EVENT, "extra": reason}))


def bury(account: Account, id: str, dag_id: str | None = None) -> None:
    """Send a dead letter as Lambda does."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + 3600}).encode()).decode()
    ti = {**TASK, "dag_id": dag_id, "map_index": -1, "try_number": 1} if dag_id else {}
    token = f"e30.{claims.rstrip('=')}.c2VjcmV0"
    workload = json.dumps({"type": "ExecuteTask", "token": token, "ti": ti})
    boto3.client("sqs").send_message(
        QueueUrl=account.options["dead_letter_queue_url"],
        MessageBody=Invocation.for_workload(InvocationId(id), workload).encode().decode(),
        MessageAttributes={
            "RequestID": {"DataType": "String", "StringValue": REQUEST},
            "ErrorMessage": {"DataType": "String", "StringValue": "Task timed out"},
        },
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of AWS, as boto3 sends them; there is no native client, as in most API servers."""
    monkeypatch.setattr(Native, "call_json", lambda *_: None)
    sent: list[str] = []
    original = Clients._client_of

    def watched(self: Clients, made: Any, service: Any, config: Any) -> Any:
        session, client = original(self, made, service, config)
        events = client.meta.events
        events.register(
            "before-send.*.*",
            lambda event_name, **_: sent.append(event_name.removeprefix("before-send.")),
            unique_id="watched",
        )
        return session, client

    monkeypatch.setattr(Clients, "_client_of", watched)
    return sent


def test_every_route_needs_a_log_in(open_as: Open) -> None:
    """There is no other route either; the page itself leads to the log-in and back."""
    client = open_as(None)
    own = next(route.app for route in client.app.routes if getattr(route, "path", "") == PAGE)  # type: ignore[attr-defined]
    found = {(method, route.path) for route in own.routes for method in route.methods - {"HEAD"}}
    assert found == set(ROUTES)
    for method, path in set(ROUTES) - {("GET", "/")}:
        url = f"{PAGE}{path.format(number=0)}"
        assert client.request(method, url, headers=FROM_THE_PAGE).status_code == 401, path
    there = f"{PAGE}/?{urlencode(TASK)}"
    answer = client.get(there, follow_redirects=False)
    assert answer.status_code == 307
    path, _, query = answer.headers["location"].partition("?")
    assert (path, parse_qs(query)) == ("/api/v2/auth/login", {"next": [there]})
    assert client.get(answer.headers["location"], follow_redirects=False).is_redirect


@pytest.mark.parametrize("right", RIGHTS)
def test_every_route_needs_its_rights(
    open_as: Open, monkeypatch: pytest.MonkeyPatch, right: str
) -> None:
    """Who lacks one right is refused exactly what needs it."""

    def of_view(_: object, *, access_view: AccessView, **__: object) -> bool:
        return access_view.name != right

    def of_dag(_: object, *, method: str, access_entity: DagAccessEntity, **__: object) -> bool:
        return f"{access_entity.name} {method}" != right

    monkeypatch.setattr(f"{MANAGER}.is_authorized_view", of_view)
    monkeypatch.setattr(f"{MANAGER}.is_authorized_dag", of_dag)
    monkeypatch.setattr(
        f"{MANAGER}.is_authorized_configuration", lambda *_, **__: right != "CONFIGURATION"
    )
    monkeypatch.setattr(checks, "examine", lambda *_: [])
    client = open_as("ADMIN")
    for (method, path), needed in ROUTES.items():
        url = f"{PAGE}{path.format(number=0)}"
        query = TASK if path == "/api/invocation" else None
        answer = client.request(method, url, headers=FROM_THE_PAGE, params=query, json={"id": ID})
        assert answer.status_code == (403 if right in needed else 200), path


def test_the_page_takes_only_some_of_the_api_servers_threads(open_as: Open) -> None:
    """One panel too many is refused; the page asks again."""
    client = open_as("VIEWER")
    with busy():
        answer = client.get(f"{PAGE}/api/in-flight")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert client.get(f"{PAGE}/").status_code == 200
    for _ in range(30):
        assert client.get(f"{PAGE}/api/in-flight").status_code == 200


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[0] == "POST"])
def test_another_sites_form_changes_nothing(open_as: Open, method: str, path: str) -> None:
    """It cannot send the header, though the browser sends the cookie."""
    assert open_as("ADMIN").request(method, f"{PAGE}{path}", json={"id": ID}).status_code == 403


@pytest.mark.parametrize("path", ["retry", "purge"])
def test_a_viewer_may_not_change_dead_letters(open_as: Open, account: Account, path: str) -> None:
    """Retry and purge need the permission to change task instances."""
    bury(account, ID)
    url = f"{PAGE}/api/dead-letters/{path}"
    viewer = open_as("VIEWER")
    assert viewer.post(url, json={"id": ID}, headers=FROM_THE_PAGE).status_code == 403
    assert viewer.get(f"{PAGE}/api/rights").json()["change"] is False
    assert len(viewer.get(f"{PAGE}/api/dead-letters").json()["rows"]) == 1


@pytest.fixture
def grants(monkeypatch: pytest.MonkeyPatch, database: Engine) -> set[tuple[str, str]]:
    """The methods and DAGs that everybody has; without a DAG's id any of them will do, as in FAB.

    At first it is all methods on the DAG `etl`, and none on the DAG `secret`.
    """
    granted = {("GET", "etl"), ("PUT", "etl")}
    for dag_id in ("etl", "secret"):
        add_dag(database, dag_id)

    def is_authorized_dag(
        _: object, *, method: str, details: DagDetails | None = None, **__: object
    ) -> bool:
        id = details.id if details else None
        return any(method == each and id in {None, dag} for each, dag in granted)

    monkeypatch.setattr(f"{MANAGER}.is_authorized_dag", is_authorized_dag)
    return granted


@pytest.mark.usefixtures("grants")
def test_failures_are_those_of_dags_that_one_may_read(open_as: Open, database: Engine) -> None:
    """However many others fail."""
    fail(database, "of ours")
    for _ in range(20):
        fail(database, "of others", dag_id="secret")
    (row,) = open_as("VIEWER").get(f"{PAGE}/api/failures").json()["rows"]
    assert row["reason"] == "of ours"


@pytest.mark.usefixtures("grants")
def test_dead_letters_are_those_of_dags_that_one_may_read(
    open_as: Open, account: Account, database: Engine
) -> None:
    """By Airflow's word or the event's; one without a task is for who may read all DAGs."""
    store(database, dag_id="secret", external_executor_id="in flight")
    bury(account, "in flight", "etl")
    bury(account, "ended", "secret")
    bury(account, "nameless")
    bury(account, ID, "etl")
    answer = open_as("VIEWER").get(f"{PAGE}/api/dead-letters").json()
    assert [row["id"] for row in answer["rows"]] == [ID]
    assert answer["withheld"] == 3


def test_who_may_read_all_dags_sees_all_dead_letters(
    open_as: Open, account: Account, grants: set[tuple[str, str]]
) -> None:
    """Also those without a task."""
    grants.add(("GET", "secret"))
    bury(account, "ended", "secret")
    bury(account, "nameless")
    answer = open_as("VIEWER").get(f"{PAGE}/api/dead-letters").json()
    assert {row["id"] for row in answer["rows"]} == {"ended", "nameless"}


def test_only_who_may_change_a_dag_retries_its_task(
    open_as: Open, account: Account, database: Engine, grants: set[tuple[str, str]]
) -> None:
    """The right on another DAG is not enough, nor that to read it."""
    store(database, dag_id="secret", state="queued", start_date=None)
    bury(account, ID, "etl")
    url = f"{PAGE}/api/dead-letters/retry"
    client = open_as("USER")
    assert client.post(url, json={"id": ID}, headers=FROM_THE_PAGE).status_code == 403
    grants.add(("GET", "secret"))
    assert client.post(url, json={"id": ID}, headers=FROM_THE_PAGE).status_code == 403
    assert len(client.get(f"{PAGE}/api/dead-letters").json()["rows"]) == 1


@pytest.mark.usefixtures("grants")
def test_purge_keeps_those_of_dags_that_one_may_not_change(
    open_as: Open, account: Account, grants: set[tuple[str, str]]
) -> None:
    """As does the right to read them."""
    grants.add(("GET", "secret"))
    bury(account, "ours", "etl")
    bury(account, "of others", "secret")
    bury(account, "nameless")
    client = open_as("USER")
    done = client.post(f"{PAGE}/api/dead-letters/purge", json={}, headers=FROM_THE_PAGE).json()
    assert done == {"deleted": 1, "kept": 0, "refused": 0, "withheld": 2, "ids": ["ours"]}
    left = client.get(f"{PAGE}/api/dead-letters").json()["rows"]
    assert {row["id"] for row in left} == {"of others", "nameless"}


def test_the_page_runs_no_script_but_its_own(open_as: Open) -> None:
    """And only Airflow may show it in a frame."""
    response = open_as("VIEWER").get(f"{PAGE}/")
    assert "<title>Lambda executor</title>" in response.text
    policy = response.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'self'" in policy


def test_in_flight_tasks_are_counted_by_target_and_queue(open_as: Open, database: Engine) -> None:
    """From Airflow's database; the targets' names are not waited for."""
    store(database)
    store(database, task_id="other", state="queued", external_executor_id="another")
    client = open_as("VIEWER")
    states = {"running": 1, "queued": 1}
    for target in ("", "function"):
        (row,) = client.get(f"{PAGE}/api/in-flight").json()["rows"]
        assert row == {"target": target, "queue": "default", "states": states}
        client.get(f"{PAGE}/api/queues")


def test_times_are_percentiles_of_the_tasks_that_ended(open_as: Open, database: Engine) -> None:
    """Waiting is from the queue to the start."""
    store(database, state="success", end_date=NOW - timedelta(seconds=20))
    store(database, task_id="long ago", state="success", end_date=NOW - timedelta(days=2))
    store(database, task_id="running")
    (row,) = open_as("VIEWER").get(f"{PAGE}/api/durations?hours=24").json()["rows"]
    assert row["tasks"] == 1
    assert row["waits_s"] == [10.0, 10.0, 10.0]
    assert row["runs_s"] == [40.0, 40.0, 40.0]


def test_starts_come_from_cloudwatch(open_as: Open) -> None:
    """A cold start is a sample of `InitTime`; what nobody counts is not known."""
    data = [
        ("AWS/Lambda", "Invocations", 8.0, [{"Name": "FunctionName", "Value": "function"}]),
        ("AirflowLambda/function", "InitTime", 3000.0, []),
    ]
    for namespace, name, value, dimensions in data:
        boto3.client("cloudwatch").put_metric_data(
            Namespace=namespace,
            MetricData=[
                {
                    "MetricName": name,
                    "Value": value,
                    "Dimensions": dimensions,
                    "Timestamp": NOW - timedelta(minutes=5),
                }
            ],
        )
    (row,) = open_as("VIEWER").get(f"{PAGE}/api/starts").json()["rows"]
    expected = {"invocations": 8, "cold": 1, "restored": None, "throttles": None}
    assert row == {"function": "function", **expected}


def test_queues_are_counted_one_by_one(open_as: Open, account: Account) -> None:
    """The dead-letter queue is the last one."""
    bury(account, ID)
    client = open_as("VIEWER")
    subjects = [row["subject"] for row in client.get(f"{PAGE}/api/queues").json()["rows"]]
    assert subjects == ["results queue", "dead-letter queue"]
    depths = [client.get(f"{PAGE}/api/queues/{number}").json() for number in (0, 1)]
    assert depths == [{"visible": 0, "hidden": 0}, {"visible": 1, "hidden": 0}]


def test_a_panel_makes_one_call_for_a_refresh(open_as: Open, calls: list[str]) -> None:
    """The configuration is read once for all panels."""
    client = open_as("VIEWER")
    client.get(f"{PAGE}/api/wiring")
    assert calls == ["ssm.GetParameter"]
    expected = {
        "in-flight": [],
        "durations": [],
        "failures": [],
        "queues": [],
        "queues/0": ["sqs.GetQueueAttributes"],
        "queues/1": ["sqs.GetQueueAttributes"],
        "starts": ["cloudwatch.GetMetricData"],
        "dead-letters": ["sqs.ReceiveMessage"],
        "wiring": ["ssm.GetParameter"],
    }
    for panel, its_calls in expected.items():
        calls.clear()
        assert "problem" not in client.get(f"{PAGE}/api/{panel}").json(), panel
        assert calls == its_calls, panel


@pytest.mark.usefixtures("open_as")
def test_clients_are_kept_as_long_as_the_options_are_the_same(account: Account) -> None:
    """A refresh makes no session, and opens no connection, for a wiring that has not changed."""
    wiring = Wiring()
    first = wiring.read()
    assert wiring.read() is first
    account.options["max_in_flight"] = "6"
    account.write_parameter()
    second = wiring.read()
    assert second is not first
    assert set(second.config.max_in_flight.values()) == {6}
    assert wiring.read() is second


def test_looking_at_dead_letters_hides_none(open_as: Open, account: Account) -> None:
    """A scheduler may take them at the same moment."""
    bury(account, ID)
    client = open_as("VIEWER")
    for _ in range(2):
        (row,) = client.get(f"{PAGE}/api/dead-letters").json()["rows"]
        assert (row["id"], row["reason"], row["request_id"]) == (ID, "Task timed out", REQUEST)
        assert row["reason_against"].startswith("Airflow does not wait for it")


def test_purge_deletes_what_no_task_waits_for(
    open_as: Open, account: Account, database: Engine
) -> None:
    """What a task in flight waits for is kept."""
    bury(account, ID)
    bury(account, "of nobody")
    store(database)
    client = open_as("USER")
    done = client.post(f"{PAGE}/api/dead-letters/purge", json={}, headers=FROM_THE_PAGE).json()
    assert done == {"deleted": 1, "kept": 1, "refused": 0, "withheld": 0, "ids": ["of nobody"]}
    assert [r["id"] for r in client.get(f"{PAGE}/api/dead-letters").json()["rows"]] == [ID]


def test_retry_says_why_it_left_one(open_as: Open, account: Account) -> None:
    """Only what Airflow waits for is sent again."""
    bury(account, ID)
    url = f"{PAGE}/api/dead-letters/retry"
    done = open_as("USER").post(url, json={"id": ID}, headers=FROM_THE_PAGE).json()
    assert done["left"].startswith("left as it is: Airflow does not wait for it")


def test_retry_sends_the_invocation_again_and_tells_who_did_it(
    open_as: Open, account: Account, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Airflow's audit log, without the dispatch id, which the task still uses."""
    sent: list[bytes] = []
    monkeypatch.setattr(LambdaFunctions, "invoke", lambda _, __, event: sent.append(event))
    store(database, state="queued", start_date=None)
    bury(account, ID, TASK["dag_id"])
    client, url = open_as("USER"), f"{PAGE}/api/dead-letters/retry"
    assert client.post(url, json={"id": ID}, headers=FROM_THE_PAGE).json() == {"left": ""}
    assert [Invocation.decode(json.loads(event)).id for event in sent] == [ID]
    assert client.get(f"{PAGE}/api/dead-letters").json()["rows"] == []
    (row,) = recorded(database, "lambda_executor_retry")
    assert (row.owner, row.dag_id, row.task_id, row.run_id) == ("someone", *task_ids())
    assert (row.map_index, row.try_number, json.loads(row.extra)) == (-1, 1, {"left": ""})


def test_purge_tells_who_did_it(open_as: Open, account: Account, database: Engine) -> None:
    """What was deleted, and how many were not."""
    bury(account, ID)
    open_as("USER").post(f"{PAGE}/api/dead-letters/purge", json={}, headers=FROM_THE_PAGE)
    (row,) = recorded(database, "lambda_executor_purge")
    assert row.owner == "someone"
    counts = {"deleted": 1, "kept": 0, "refused": 0, "withheld": 0}
    assert json.loads(row.extra) == {**counts, "ids": [ID]}


def test_an_action_that_fails_is_recorded_too(
    open_as: Open, account: Account, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS may have done a part of it."""

    def fails(*_: object) -> int:
        raise AwsError("the connection broke")

    bury(account, ID)
    monkeypatch.setattr(SqsQueue, "delete", fails)
    url = f"{PAGE}/api/dead-letters/purge"
    answer = open_as("USER").post(url, json={}, headers=FROM_THE_PAGE).json()
    assert answer["problem"] == "the connection broke"
    (row,) = recorded(database, "lambda_executor_purge")
    assert json.loads(row.extra) == {"error": "the connection broke"}


def recorded(database: Engine, event: str) -> Sequence[Any]:
    """The events of a kind in Airflow's audit log."""
    with database.connect() as connection:
        return connection.execute(select(Log.__table__).where(Log.event == event)).all()


def task_ids() -> tuple[str, str, str]:
    """The DAG, task and run of the task."""
    return TASK["dag_id"], TASK["task_id"], TASK["run_id"]


def test_a_missing_permission_is_named(open_as: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the resource that AWS names; the other panels still answer."""
    arn = "arn:aws:sqs:eu-west-1:123456789012:results"
    words = (
        "User: arn:aws:sts::123456789012:assumed-role/api/x is not authorized to perform: "
        f"sqs:getqueueattributes on resource: {arn} because no identity-based policy allows it"
    )

    def refused(self: Any, _: str) -> None:
        with self._clients.errors():
            raise ClientError(
                {"Error": {"Code": "AccessDenied", "Message": words}}, "GetQueueAttributes"
            )

    monkeypatch.setattr("lambda_executor.aws.Inspection.queue", refused)
    client = open_as("VIEWER")
    answer = client.get(f"{PAGE}/api/queues/0").json()
    assert answer["missing"] == {"action": "sqs:GetQueueAttributes", "resource": arn}
    assert client.get(f"{PAGE}/api/queues").json()["rows"]


def test_the_doctor_tells_its_findings_with_their_fixes(open_as: Open) -> None:
    """As `check --json` does."""
    answer = open_as("VIEWER").post(f"{PAGE}/api/doctor", headers=FROM_THE_PAGE).json()
    here = Versions(version, platform.python_version())
    expected = [each.as_json() for each in checks.examine(conf, os.environ, here)]
    assert [each["subject"] for each in answer["findings"]] == [
        each["subject"] for each in expected
    ]
    fixes = {each["fix"] for each in answer["findings"]}
    assert fixes > {""}
    assert fixes == {each["fix"] for each in expected}


def test_an_invocation_is_found_with_its_request_id_and_addresses(
    open_as: Open, database: Engine
) -> None:
    """The request id is that of the executor's reason, or of the function's log."""
    store(database, state="failed", end_date=NOW)
    client = open_as("VIEWER")
    boto3.client("logs").create_log_group(logGroupName="/aws/lambda/function")
    answer = client.get(f"{PAGE}/api/invocation", params=TASK).json()
    assert (answer["dispatch_id"], answer["request_id"]) == (ID, "")
    log = "#logsV2:log-groups/log-group/$252Faws$252Flambda$252Ffunction/log-events"
    log += f"$3FfilterPattern$3D$2522{ID}$2522$26start$3D"
    assert log in answer["log_url"]
    assert answer["console_url"].endswith("lambda/home?region=eu-west-1#/functions/function")
    fail(database, f"Lambda gave up: Task timed out (request id {REQUEST})")
    assert client.get(f"{PAGE}/api/invocation", params=TASK).json()["request_id"] == REQUEST


def test_the_functions_log_has_the_request_id(open_as: Open, database: Engine) -> None:
    """Of a task that the executor has not failed."""
    store(database, state="success", end_date=NOW)
    logs = boto3.client("logs")
    group, stream = "/aws/lambda/function", "stream"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    text = f'{{"event": "invocation started", "invocation_id": "{ID}", "request_id": "{REQUEST}"}}'
    logs.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": int(time.time() * 1000), "message": text}],
    )
    answer = open_as("VIEWER").get(f"{PAGE}/api/invocation", params=TASK).json()
    assert answer["request_id"] == REQUEST


def made_links(try_number: int = 1) -> Mapping[str, str]:
    """The links of the task, as Airflow's API makes them."""
    key = TaskInstanceKey(TASK["dag_id"], TASK["task_id"], TASK["run_id"], try_number, -1)
    return {link.name: link.get_link(None, ti_key=key) for link in links.LINKS}


@pytest.mark.usefixtures("open_as")
def test_a_task_has_links_to_its_log_its_request_id_and_the_console(database: Engine) -> None:
    """The second one is our page, which asks for the request id."""
    store(database)
    found = made_links()
    assert list(found) == [
        "Invocation log",
        "Invocation and request id",
        "Function in the AWS console",
    ]
    assert found["Invocation log"].startswith(
        "https://eu-west-1.console.aws.amazon.com/cloudwatch/"
    )
    assert found["Invocation and request id"].startswith(f"{PAGE}/?dag_id=etl&run_id=manual")
    assert found["Function in the AWS console"].endswith("#/functions/function")


@pytest.mark.usefixtures("open_as")
def test_a_task_of_another_executor_has_no_links(database: Engine) -> None:
    """Nor one that Airflow does not know: an error would hide everybody's links."""
    store(database, executor="LocalExecutor")
    assert set(made_links().values()) == {""}
    assert set(made_links(try_number=7).values()) == {""}


@pytest.mark.usefixtures("open_as")
def test_the_links_of_a_task_read_the_database_once(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow asks for each of them, and again for each refresh of its page."""
    store(database)
    reads = list[str]()
    original = airflow_records.read

    def read(dag_id: str, *rest: Any) -> Any:
        reads.append(dag_id)
        return original(dag_id, *rest)

    monkeypatch.setattr(airflow_records, "read", read)
    monkeypatch.setattr(invocations, "KEPT_S", 1e12)  # No test waits until it is over.
    assert all(made_links().values())
    assert reads == [TASK["dag_id"]]


@pytest.mark.usefixtures("open_as")
def test_a_link_that_fails_hides_no_other_ones(
    database: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the fault: Airflow leaves out all links of a task if one raises an error."""

    def fails(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    store(database)
    monkeypatch.setattr(console, "log_page", fails)
    found = made_links()
    assert [name for name, address in found.items() if not address] == ["Invocation log"]
    assert "a fault of ours" in caplog.text
