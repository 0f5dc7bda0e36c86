"""`airflow lambda-executor status` and `dead-letters`: AWS's own shapes, Airflow's own tables."""

from __future__ import annotations

import base64
import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import Engine, create_engine, insert
from sqlalchemy.orm import sessionmaker

from lambda_executor import aws
from lambda_executor.contract.errors import RejectedError
from lambda_executor.contract.help import with_link
from lambda_executor.contract.wire import Invocation, InvocationId
from lambda_executor.core.ports import Message
from lambda_executor.ops import tasks
from lambda_executor.ops.dead_letters import Entry
from tests.support.account import Account
from tests.support.command_line import run, run_json

REASON = "Task timed out after 900.00 seconds"


@pytest.fixture
def sent(account: Account, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The events of all invocations; moto would run them."""
    account.write_parameter()
    events: list[dict[str, Any]] = []
    monkeypatch.setattr(
        aws.LambdaFunctions, "invoke", lambda _, __, payload: events.append(json.loads(payload))
    )
    return events


def token(good_for_s: float) -> str:
    """A token like Airflow's, as far as clients read it."""
    claims = json.dumps({"exp": time.time() + good_for_s}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2VjcmV0"


def event(id: str, good_for_s: float = 300, map_index: int = -1) -> dict[str, Any]:
    """The event of a task's invocation."""
    ti = {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": map_index, "try_number": 2}
    workload = json.dumps({"type": "ExecuteTask", "token": token(good_for_s), "ti": ti})
    decoded: dict[str, Any] = json.loads(
        Invocation.for_workload(InvocationId(id), workload).encode()
    )
    return decoded


def bury(account: Account, body: object) -> None:
    """Send a dead letter as Lambda does."""
    boto3.client("sqs").send_message(
        QueueUrl=account.options["dead_letter_queue_url"],
        MessageBody=json.dumps(body),
        MessageAttributes={
            "RequestID": {"DataType": "String", "StringValue": "request-1"},
            "ErrorMessage": {"DataType": "String", "StringValue": REASON},
        },
    )


def store(database: Engine, id: str, state: str = "queued") -> None:
    """A task that Airflow knows under a dispatch id."""
    row = {
        "id": uuid.uuid4(),
        "dag_id": "d",
        "task_id": f"t-{id}",
        "run_id": "r",
        "map_index": -1,
        "try_number": 2,
        "pool": "default_pool",
        "pool_slots": 1,
        "queue": "default",
        "state": state,
        "external_executor_id": id,
        "queued_dttm": datetime.now(UTC),
    }
    with database.begin() as connection:
        connection.execute(insert(TaskInstance).values(row))


def visible(account: Account) -> int:
    """The number of dead letters that can be received now."""
    answer = boto3.client("sqs").get_queue_attributes(
        QueueUrl=account.options["dead_letter_queue_url"],
        AttributeNames=["ApproximateNumberOfMessages"],
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


@pytest.mark.usefixtures("database", "sent")
def test_a_message_cannot_write_to_the_terminal(
    account: Account, capfd: pytest.CaptureFixture[str]
) -> None:
    """A function's role may send dead letters: their control characters are shown, not obeyed."""
    attack = "\x1b[2J\x1b]0;owned\x07\nfaked-id"
    bury(
        account,
        {
            "requestPayload": event("\x1b[31mid\nfaked-id"),
            "requestContext": {"requestId": attack, "condition": "RetriesExhausted"},
            "responsePayload": {"errorMessage": attack},
        },
    )
    code, answer = run(capfd, "dead-letters", "list")
    assert code == 0
    assert not [c for c in answer if c != "\n" and not c.isprintable()]
    assert not any(line.startswith("faked-id") for line in answer.splitlines())
    assert r"\x1b[2J" in answer


@pytest.mark.usefixtures("database", "sent")
def test_hidden_messages_are_counted_without_guessing_who_holds_them(
    account: Account, capfd: pytest.CaptureFixture[str]
) -> None:
    """SQS counts received messages and those that were handed back with a delay as one number."""
    bury(account, event("id"))
    dead_letters = account.options["dead_letter_queue_url"]
    sqs = boto3.client("sqs")
    (message,) = sqs.receive_message(QueueUrl=dead_letters)["Messages"]
    sqs.change_message_visibility(
        QueueUrl=dead_letters, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=900
    )
    _, answer = run(capfd, "dead-letters", "list")
    assert "0 dead letters are visible\n" in answer
    assert "about 1 more are hidden" in answer
    assert "handed back by a scheduler" in answer
    _, answer = run(capfd, "status")
    assert "0 messages are visible, 1 are hidden" in answer


@pytest.mark.usefixtures("database", "sent")
def test_list_shows_all_but_the_token_and_leaves_everything_visible(
    account: Account, capfd: pytest.CaptureFixture[str]
) -> None:
    """The list has both of Lambda's formats and foreign messages, over several receives."""
    for number in range(11):
        bury(account, event(f"id-{number}"))
    bury(
        account,
        {
            "requestPayload": event("destination"),
            "requestContext": {"requestId": "request-2", "condition": "RetriesExhausted"},
            "responsePayload": {"errorMessage": "signal: killed"},
        },
    )
    bury(account, ["no", "invocation"])
    code, rows = run_json(capfd, "dead-letters", "list")
    assert (code, len(rows)) == (0, 13)
    by_id = {row["id"]: row for row in rows}
    assert by_id["id-3"] | {"age_s": None, "age": None} == {
        "id": "id-3",
        "task": "d.t r try 2",
        "reason": REASON,
        "request_id": "request-1",
        "age_s": None,
        "age": None,
        "retry": "no: Airflow does not wait for it: its task has ended, or was dispatched again",
    }
    assert by_id["destination"]["reason"] == "signal: killed"
    assert by_id[None]["reason"].startswith("not an invocation")
    assert by_id["id-3"]["age_s"] >= 0
    assert "c2VjcmV0" not in json.dumps(rows)
    assert visible(account) == 13
    code, answer = run(capfd, "dead-letters", "list", "--limit", "10")
    assert (code, answer.count("request id")) == (0, 10)
    assert "there may be more (--limit)" in answer
    assert "c2VjcmV0" not in answer


@pytest.mark.parametrize(("map_index", "name"), [(-1, "d.t r try 2"), (0, "d.t[0] r try 2")])
def test_a_task_is_named_with_its_map_index(map_index: int, name: str) -> None:
    """Mapped tasks count from 0; a task that is not mapped has no number."""
    message = Message(json.dumps(event("id", map_index=map_index)), "receipt")
    assert str(Entry.read(message).task) == name


def test_retry_sends_only_what_airflow_still_waits_for(
    account: Account,
    database: Engine,
    sent: list[dict[str, Any]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The same event is sent under the same id and its dead letter deleted; the others stay."""
    store(database, "waits")
    store(database, "runs", "running")
    store(database, "too-late")
    again = event("waits")
    for body in (again, event("runs"), event("ended"), event("too-late", -5), "nothing"):
        bury(account, body)
    code, answer = run(capfd, "dead-letters", "retry", "--all")
    assert code == 1
    assert sent == [again]
    assert "waits: sent again" in answer
    assert "runs: left as it is: its task is running" in answer
    assert "ended: left as it is: Airflow does not wait for it" in answer
    assert "too-late: left as it is: its token is good for 0 s" in answer
    assert visible(account) == 4


def test_retry_needs_dispatch_ids_or_all(
    account: Account,
    database: Engine,
    sent: list[dict[str, Any]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """They are named by dispatch id or --all; an unknown id is reported."""
    for id in ("one", "two"):
        store(database, id)
        bury(account, event(id))
    assert run(capfd, "dead-letters", "retry")[0] == 1
    assert run(capfd, "dead-letters", "retry", "--all", "one")[0] == 1
    assert sent == []
    code, answer = run(capfd, "dead-letters", "retry", "two", "three")
    assert (code, [each["task_key"] for each in sent]) == (1, ["two"])
    assert "three: not among the visible dead letters" in answer
    assert visible(account) == 1


@pytest.mark.usefixtures("sent")
def test_what_cannot_be_sent_again_stays(
    account: Account,
    database: Engine,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing function loses no dead letter."""

    def invoke(*_: object) -> None:
        raise RejectedError("Function not found")

    monkeypatch.setattr(aws.LambdaFunctions, "invoke", invoke)
    store(database, "waits")
    bury(account, event("waits"))
    code, answer = run(capfd, "dead-letters", "retry", "waits")
    assert code == 1
    assert "waits: left as it is: not sent: Function not found" in answer
    assert visible(account) == 1


@pytest.mark.usefixtures("sent")
def test_purge_deletes_only_unneeded_dead_letters_and_only_with_yes(
    account: Account, database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without --yes it shows how many; the dead letter of an in-flight task stays."""
    store(database, "waits", "running")
    for body in (event("waits"), event("ended"), ["no", "invocation"]):
        bury(account, body)
    code, answer = run(capfd, "dead-letters", "purge")
    assert (code, visible(account)) == (1, 3)
    assert "2 would be deleted" in answer
    code, answer = run(capfd, "dead-letters", "purge", "--yes")
    assert (code, visible(account)) == (0, 1)
    assert "1 are kept" in answer
    assert "2 deleted" in answer


@pytest.mark.usefixtures("sent")
def test_status_shows_in_flight_tasks_and_failures(
    account: Account, database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """It shows counts by state, each queue's depth and the latest failures."""
    for number in range(3):
        store(database, f"id-{number}", "running" if number else "queued")
    store(database, "ended", "success")
    store(database, "elsewhere", "running")
    with database.begin() as connection:
        for id, executor in (("elsewhere", "LocalExecutor"), ("id-1", "LambdaExecutor")):
            connection.execute(
                TaskInstance.__table__.update()
                .where(TaskInstance.external_executor_id == id)
                .values(executor=executor)
            )
        failed = Log(
            "lambda executor", extra=with_link(REASON), dag_id="d", task_id="t", try_number=1
        )
        row = {"event": failed.event, "dttm": failed.dttm, "extra": failed.extra}
        connection.execute(insert(Log).values(row | {"dag_id": "d", "task_id": "t"}))
    bury(account, event("id-1"))
    code, told = run_json(capfd, "status")
    assert code == 0
    assert {each["state"]: each["count"] for each in told["in_flight"]} == {
        "queued": 1,
        "running": 2,
    }
    assert {each["subject"]: each["visible"] for each in told["queues"]} == {
        "results queue": 0,
        "dead-letter queue": 1,
    }
    assert [each["reason"] for each in told["last_errors"]] == [REASON]
    boto3.client("sqs").delete_queue(QueueUrl=account.options["queue_url"])
    code, answer = run(capfd, "status")
    assert code == 1
    assert "PROBLEM" in answer
    assert REASON in answer


@pytest.mark.usefixtures("sent")
def test_an_unreadable_database_has_a_one_line_reason(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has no traceback."""
    nothing = sessionmaker(create_engine("sqlite://"))
    monkeypatch.setattr(tasks, "create_session", nothing)
    assert run(capfd, "status") == (1, "")
