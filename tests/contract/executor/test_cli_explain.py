"""`airflow lambda-executor explain`: Airflow's own tables, and AWS's own shapes (moto)."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from airflow.models.base import Base
from airflow.models.log import Log
from airflow.models.pool import Pool
from airflow.models.taskinstance import TaskInstance
from botocore.exceptions import ClientError
from sqlalchemy import insert
from sqlalchemy.engine import Engine

from lambda_executor import aws
from lambda_executor.aws.clients import Clients
from lambda_executor.contract.help import FILES
from tests.support.account import Account
from tests.support.airflow_database import HISTORY, add_scheduler
from tests.support.command_line import complaint, run, run_json
from tests.support.job_account import BATCH, jobs

__all__ = ["jobs"]

GROUP = "/aws/lambda/function"
NOW = datetime.now(UTC)
RUN = "manual__2026-11-30"
ID = "8a58407b-ffa6-4b03-848c-126fe6361543"
REQUEST = "15e9cd80-edf5-4e08-8b3d-6139bc438860"
DEADLINE = "stopped 20.0 s before the end of the function's time-out, which left 300.0 s for it"
COMMAND = ("explain", "etl", "load", RUN)


@pytest.fixture(autouse=True)
def environment(account: Account, database: Engine) -> None:
    """The account, wired, with the function's log group and a live scheduler."""
    account.options["max_in_flight"] = "5"  # moto does not know the account's limit.
    account.write_parameter()
    boto3.client("logs").create_log_group(logGroupName=GROUP)
    add_scheduler(database)


def at(seconds: float) -> datetime:
    """A time, counted from a minute ago."""
    return NOW - timedelta(minutes=1) + timedelta(seconds=seconds)


#: The columns that name the first try of the task.
FIRST_TRY: dict[str, Any] = {
    "dag_id": "etl",
    "task_id": "load",
    "run_id": RUN,
    "map_index": -1,
    "try_number": 1,
}


def store(database: Engine, state: str | None, **changes: Any) -> None:
    """The newest try of the task, as Airflow has it."""
    row = FIRST_TRY | {
        "pool": "default_pool",
        "pool_slots": 1,
        "queue": "default",
        "state": state,
        "external_executor_id": ID,
        "scheduled_dttm": at(0),
        "queued_dttm": at(1),
    }
    with database.begin() as connection:
        connection.execute(insert(TaskInstance).values(row | changes))


def insert_known(database: Engine, table: str, row: dict[str, Any]) -> None:
    """Insert a row, without the columns that this Airflow does not have."""
    into = Base.metadata.tables[table]
    known = {name: value for name, value in row.items() if name in into.c}
    with database.begin() as connection:
        connection.execute(insert(into).values(known))


def store_earlier(database: Engine) -> None:
    """The first try of the task, as Airflow keeps it when there is a second one."""
    if HISTORY not in Base.metadata.tables:
        store(database, "failed", working_set=None, end_date=at(20))
        return
    row = FIRST_TRY | {
        "state": "failed",
        "pool": "default_pool",
        "pool_slots": 1,
        "queue": "default",
        "queued_dttm": at(1),
        "end_date": at(20),
        "external_executor_id": ID,
        "span_status": "not_started",
    }
    id = uuid.uuid4()
    is_uuid = type(Base.metadata.tables[HISTORY].c["task_instance_id"].type).__name__ == "Uuid"
    insert_known(database, HISTORY, row | {"task_instance_id": id if is_uuid else str(id)})


def store_event(
    database: Engine, event: str, text: str, when: datetime, try_number: int = 1
) -> None:
    """An entry of Airflow's audit log about the task."""
    with database.begin() as connection:
        names = {"dag_id": "etl", "task_id": "load", "run_id": RUN, "map_index": -1}
        row = {"event": event, "extra": text, "dttm": when, "try_number": try_number}
        connection.execute(insert(Log).values(names | row))


def write(*lines: tuple[float, str | dict[str, Any]]) -> None:
    """Write lines to a stream of the function's log."""
    logs = boto3.client("logs")
    logs.create_log_stream(logGroupName=GROUP, logStreamName="stream")
    events = [
        {
            "timestamp": int(at(seconds).timestamp() * 1000),
            "message": line if isinstance(line, str) else json.dumps(line),
        }
        for seconds, line in lines
    ]
    logs.put_log_events(logGroupName=GROUP, logStreamName="stream", logEvents=events)  # type: ignore[arg-type]


def handled(seconds: float, **settled: Any) -> list[tuple[float, str | dict[str, Any]]]:
    """The lines of an invocation that the handler ended after so many seconds."""
    names = {"invocation_id": ID, "request_id": REQUEST}
    return [
        (0, {"event": "invocation started", "invocation_id": "other", "request_id": "r-0"}),
        (0.5, "REPORT RequestId: r-0\tDuration: 9 ms"),
        (1.9, f"START RequestId: {REQUEST} Version: 7"),
        (2, {"event": "invocation started", "cold": True} | names),
        (3, {"event": "what the task prints"} | names),
        (seconds, {"event": "invocation settled", "reported": True} | names | settled),
        (seconds + 0.1, f"END RequestId: {REQUEST}"),
        (
            seconds + 0.2,
            f"REPORT RequestId: {REQUEST}\tDuration: 12.00 ms\tMax Memory Used: 199 MB",
        ),
        (seconds + 1, {"event": "invocation started", "invocation_id": "next"}),
    ]


def deny(monkeypatch: pytest.MonkeyPatch, client: str, method: str, operation: str) -> None:
    """Have AWS refuse a call, as it does without the permission."""
    message = f"User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: {operation}"
    error = {"Error": {"Code": "AccessDeniedException", "Message": message}}

    def refuse(*_: object, **__: object) -> None:
        raise ClientError(error, operation)  # type: ignore[arg-type]

    made = boto3.client("logs" if client == "logs" else "sqs")
    monkeypatch.setattr(made, method, refuse)
    monkeypatch.setattr(Clients, client, made)


def test_a_task_that_ran_out_of_time_is_explained_from_all_sources(
    database: Engine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict first, then each line with its source in order of time, within 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    store(database, "failed", start_date=at(2.5), end_date=at(20), hostname="env-1")
    write(*handled(19, outcome="deadline", return_code=1, reason=DEADLINE, run_ms=17_000))
    store_event(database, "lambda executor", f"{DEADLINE} (request id {REQUEST})", at(21))
    code, answer = run(capfd, *COMMAND)
    assert code == 0
    lines = answer.splitlines()
    assert lines[0] == f"         task               etl.load {RUN} try 1: failed"
    assert lines[1] == "         target             function"
    assert lines[2].startswith("         verdict            it failed: stopped 20.0 s before")
    assert "docs/troubleshooting/tasks.md#the-task-ran-out-of-time" in answer
    one_line = " ".join(answer.split())
    order = [
        one_line.index(text)
        for text in (
            "try 1 was scheduled",
            "it was queued",
            "the handler started it in a new execution environment",
            "it started on env-1",
            "the handler ended it: outcome deadline, return code 1",
            "REPORT Duration: 12.00 ms Max Memory Used: 199 MB",
            "it ended as failed",
            "audit log stopped 20.0 s before",
            "now results queue 0 messages are visible",
        )
    ]
    assert order == sorted(order)
    assert "what the task prints" not in answer
    assert "r-0" not in answer
    assert all(len(line) <= 80 for line in lines if "#" not in line)  # A link stays whole.


def test_a_crash_is_explained_by_lambdas_dead_letter_and_log(
    database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """The handler wrote no end; the request id of the dead letter leads to Lambda's own lines."""
    said = "RequestId: {} Error: Runtime exited with error: signal: killed"
    store(database, "failed", start_date=None, end_date=at(9))
    write(
        (2, f"START RequestId: {REQUEST} Version: 7"),
        (8, said.format(REQUEST)),
        (8.1, f"REPORT RequestId: {REQUEST}\tMax Memory Used: 512 MB\tStatus: error"),
        (9, "START RequestId: another Version: 7"),
        (9.1, "a secret of another task"),
    )
    reason = f"Lambda gave up: Runtime exited with error: signal: killed (request id {REQUEST})"
    store_event(database, "lambda executor", reason, at(10))
    code, told = run_json(capfd, *COMMAND)
    assert code == 0
    assert told["verdict"] == f"it failed: {reason}"
    assert told["page"] == f"{FILES}docs/troubleshooting/tasks.md#the-task-needed-more-memory"
    of_log = [fact["text"] for fact in told["story"] if fact["source"] == "function log"]
    assert of_log == [
        "Error: Runtime exited with error: signal: killed",
        "REPORT Max Memory Used: 512 MB Status: error",
    ]
    assert "secret" not in json.dumps(told)


def test_a_task_that_failed_by_itself_is_sent_to_its_log(
    database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is wrong with AWS: the exception is in the task's own log."""
    store(database, "up_for_retry", start_date=at(2), end_date=at(5))
    write(*handled(4, outcome="completed", return_code=0, task_state="up_for_retry"))
    code, told = run_json(capfd, *COMMAND)
    assert code == 0
    assert told["verdict"].startswith("the task itself failed, and Airflow will try it again")
    assert told["fix"].startswith("read the task's log in Airflow")


def test_a_task_waits_while_its_function_is_full(
    account: Account, database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """It says what the function runs and may run, and until when the task may wait."""
    account.options["max_in_flight"] = "1"
    account.write_parameter()
    store(database, "running", task_id="other", external_executor_id="other")
    store(database, "queued")
    code, told = run_json(capfd, *COMMAND)
    assert code == 0
    full = "function runs 1 invocations for Airflow, and function may run 1"
    assert told["verdict"] == f"it waits for its start: the function is full: {full}"
    (rule,) = [fact for fact in told["story"] if fact["source"] == "rule"]
    assert rule["at"] == (at(1) + timedelta(seconds=600)).isoformat()
    assert f"has no line of it (dispatch id {ID})" in json.dumps(told)


def test_a_paused_function_is_named(
    account: Account,
    database: Engine,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reservation of 0 makes a dead letter of every invocation."""
    # moto takes a reservation of 0 for none.
    monkeypatch.setattr(aws.Inspection, "reserved_concurrency", lambda *_: 0)
    del account.options["max_in_flight"]
    account.write_parameter()
    store(database, "queued")
    code, told = run_json(capfd, *COMMAND)
    assert (code, told["unread"]) == (0, [])
    assert "the function function is paused" in told["verdict"]


def test_a_scheduled_task_waits_for_what_airflow_lacks(
    database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """A full pool is told with its numbers; the id of the try before it is not looked up."""
    with database.begin() as connection:
        connection.execute(
            insert(Pool).values(pool="default_pool", slots=1, include_deferred=False)
        )
    store(database, "running", task_id="other", external_executor_id="other")
    store(database, "scheduled", queued_dttm=None)
    code, told = run_json(capfd, *COMMAND)
    assert code == 0
    assert "its pool 'default_pool' is full: 1 of 1 slots" in told["verdict"]
    assert "function log" not in {fact["source"] for fact in told["story"]}


def test_without_a_scheduler_that_is_the_reason(
    database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody sends what waits. The DAG that is paused is told, too."""
    with database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM job")
    dag = {
        "dag_id": "etl",
        "fileloc": "/dags/etl.py",
        "is_paused": True,
        "timetable_type": "",
        "max_active_tasks": 16,
        "max_consecutive_failed_dag_runs": 0,
        "has_task_concurrency_limits": False,
        "bundle_name": "dags-folder",
    }
    insert_known(database, "dag", dag)
    store(database, None, external_executor_id=None)
    code, told = run_json(capfd, *COMMAND)
    assert code == 0
    assert "no scheduler is alive; its DAG is paused" in told["verdict"]
    assert told["fix"].startswith(f"airflow tasks failed-deps etl load {RUN}")


def test_a_success_is_told_with_the_tries_before_it(
    database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """An earlier try is one line; with --try-number it is the one that is explained."""
    store(database, "success", try_number=2, start_date=at(30), end_date=at(40))
    store_earlier(database)
    store_event(database, "lambda executor", DEADLINE, at(21))
    code, told = run_json(capfd, *COMMAND)
    assert (code, told["verdict"], told["try_number"]) == (0, "it succeeded", 2)
    texts = [fact["text"] for fact in told["story"]]
    assert f"try 1 ended as failed: {DEADLINE}" in texts
    assert DEADLINE not in texts
    code, told = run_json(capfd, *COMMAND, "--try-number", "1")
    assert (code, told["verdict"], told["try_number"]) == (0, f"it failed: {DEADLINE}", 1)
    assert "it has had 1, 2" in complaint(capfd, *COMMAND, "--try-number", "3")


def test_what_never_was_is_an_error_that_says_what_there_is(
    database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """A wrong DAG, run, task and map index are told apart."""
    told, link = complaint(capfd, "explain", "nope", "load", RUN).splitlines()
    assert "no run of a DAG 'nope'" in told
    assert link == f"{FILES}docs/troubleshooting/tasks.md#explain-finds-no-such-task"
    store(database, "success")
    store(database, "running", task_id="mapped", map_index=0)
    store(database, "running", task_id="mapped", map_index=1)
    of_run = {
        "dag_id": "etl",
        "run_id": RUN,
        "run_type": "manual",
        "state": "running",
        "run_after": NOW,
        "span_status": "not_started",
        "clear_number": 0,
        "log_template_id": 1,
    }
    insert_known(database, "dag_run", of_run)
    assert f"its newest are {RUN}" in complaint(capfd, "explain", "etl", "load", "nope")
    assert "it has load, mapped" in complaint(capfd, "explain", "etl", "nope", RUN)
    assert "one of 0 to 1" in complaint(capfd, "explain", "etl", "mapped", RUN)
    assert "is not mapped" in complaint(capfd, *COMMAND, "--map-index", "3")


def test_a_mapped_task_is_explained_alone(
    database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """The other instances have their own ends."""
    store(database, "success", map_index=0, external_executor_id="other")
    store(database, "running", map_index=1, start_date=at(3), last_heartbeat_at=at(50))
    code, told = run_json(capfd, *COMMAND, "--map-index", "1")
    assert (code, told["map_index"], told["state"]) == (0, 1, "running")
    assert told["verdict"] == "it runs, and nothing says that it has ended"
    (rule,) = [fact for fact in told["story"] if fact["source"] == "rule"]
    assert rule["at"] == (at(50) + timedelta(seconds=300)).isoformat()


def test_a_missing_permission_is_a_line_with_its_name(
    database: Engine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is told all the same, and the exit code says that it is not all."""
    store(database, "failed", end_date=at(20))
    store_event(database, "lambda executor", DEADLINE, at(21))
    deny(monkeypatch, "logs", "filter_log_events", "FilterLogEvents")
    deny(monkeypatch, "sqs", "get_queue_attributes", "GetQueueAttributes")
    code, told = run_json(capfd, *COMMAND)
    assert code == 1
    assert told["verdict"] == f"it failed: {DEADLINE}"
    unread = "\n".join(told["unread"])
    assert "function log: not allowed: this role lacks logs:FilterLogEvents" in unread
    assert "results queue: not allowed: this role lacks sqs:GetQueueAttributes" in unread
    assert "dead-letter queue: not allowed" in unread


def test_without_a_configuration_airflow_is_told_all_the_same(
    account: Account, database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """What cannot be read is one line."""
    account.write_parameter("{")
    store(database, "failed", end_date=at(20))
    store_event(database, "heartbeat timeout", "no heartbeat for 300 s", at(19))
    code, told = run_json(capfd, *COMMAND)
    assert code == 1
    assert told["verdict"] == "it failed: heartbeat timeout: no heartbeat for 300 s"
    assert [text.partition(":")[0] for text in told["unread"]] == ["configuration"]


def test_a_dead_letter_that_waits_is_counted_and_stays(
    account: Account, database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is not received: that would hide it from the scheduler."""
    url = account.options["dead_letter_queue_url"]
    boto3.client("sqs").send_message(QueueUrl=url, MessageBody="{}")
    store(database, "running", start_date=at(2))
    code, told = run_json(capfd, *COMMAND)
    assert code == 0
    (line,) = [fact["text"] for fact in told["story"] if fact["source"] == "dead-letter queue"]
    assert line.startswith("1 messages are visible, 0 are hidden")
    assert "dead-letters list" in line
    (message,) = boto3.client("sqs").receive_message(
        QueueUrl=url, MessageSystemAttributeNames=["ApproximateReceiveCount"]
    )["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


@pytest.mark.usefixtures("jobs")
def test_a_job_is_explained_by_its_service(
    account: Account, database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """The job is found by its name, the dispatch id, and Batch's own words tell its end."""
    account.options |= {
        "targets": json.dumps({BATCH.name: {"batch": json.loads(BATCH.request)}}),
        "payload_bucket": "payloads",
    }
    account.write_parameter()
    boto3.client("batch").submit_job(jobName=ID, jobQueue="jobs", jobDefinition="task")
    store(database, "failed", queue=BATCH.name, end_date=at(20))
    code, told = run_json(capfd, *COMMAND)
    assert told["target"] == "batch:long"
    assert "the Batch job" in told["verdict"], told
    assert "AWS Batch" in {fact["source"] for fact in told["story"]}
    # moto has no log group of Batch, which is no reason to say nothing else.
    assert code == 1
    assert [text.partition(":")[0] for text in told["unread"]] == ["job log"]


def test_a_task_of_another_executor_is_left_to_airflow(
    database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """AWS is not asked about it."""
    store(database, "failed", executor="LocalExecutor", end_date=at(20))
    code, told = run_json(capfd, *COMMAND)
    assert code == 0
    assert "LocalExecutor runs it" in told["verdict"]
    assert {fact["source"] for fact in told["story"]} == {"task instance"}


def test_output_json_is_the_same_as_json(
    database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both spellings are known from other commands: ours, and Airflow's."""
    store(database, "success")
    _, told = run_json(capfd, *COMMAND)
    code, answer = run(capfd, *COMMAND, "--output", "json")
    assert (code, json.loads(answer)) == (0, told)


def test_between_two_tries_the_one_that_failed_is_explained(
    database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before Airflow 3.4 its row says so, since then the row of the next try."""
    if HISTORY in Base.metadata.tables:
        store(database, "up_for_retry", end_date=at(20))
    else:
        store(database, "up_for_retry", try_number=2, external_executor_id=None)
    store_earlier(database)
    store_event(database, "lambda executor", DEADLINE, at(21))
    code, told = run_json(capfd, *COMMAND)
    assert code == 0
    assert told["verdict"] == f"it failed, and Airflow will try it again: {DEADLINE}"
    assert (told["try_number"], told["dispatch_id"]) == (1, ID)
    assert [fact["text"] for fact in told["story"]].count("it ended as up_for_retry") == 1
