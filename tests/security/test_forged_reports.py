"""Messages that somebody forges who may send to the results queue or the dead-letter queue.

The executor is the real one; its function and its queues are in memory.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from lambda_executor.contract.wire import MAX_REASON_CHARS, InvocationId, Outcome, Result
from tests.support.scheduler import Scheduler, workload

#: What a terminal, a log or a person takes for something else than a text.
INJECTION = (
    "over\n[2026-11-30T12:00:00Z] {scheduler.py:1} CRITICAL - forged\r\x1b[2J\x1b]0;forged\x07"
    "\x9b31m \u202egnp.exe \u2028forged \x00 \ud800 \x7f \x1b]8;;https://evil.example\x07here"
)
#: SQS takes messages of up to 1 MiB.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MEBIBYTE = 2**20


def result(key: object, **fields: Any) -> str:
    """A result as the handler writes it, with any key."""
    return json.dumps({"task_key": key, "return_code": 1, "wire_version": 1, **fields})


def dead_letter(key: object, **event: Any) -> str:
    """A dead letter of a function's queue."""
    return json.dumps({"task_key": key, "command": ["x"], **event})


def envelope(key: object, message: str = "died", **fields: Any) -> str:
    """A dead letter of an on-failure destination."""
    payload = {"task_key": key, "command": ["x"]}
    return json.dumps(
        {"requestPayload": payload, "responsePayload": {"errorMessage": message}, **fields}
    )


FORGERIES: dict[str, Callable[[object], str]] = {
    "result": result,
    "dead letter": dead_letter,
    "envelope": envelope,
}

#: What somebody may guess who knows everything of a task but its dispatch id.
GUESSES: dict[str, Callable[[str, Any], object]] = {
    "another uuid": lambda _id, _ti: str(uuid.uuid4()),
    "the id of the task instance": lambda _id, ti: str(ti.id),
    "the key of AwsLambdaExecutor": lambda _id, ti: json.dumps(list(ti.key)),
    "all but the last character": lambda key, _ti: key[:-1],
    "a neighbour": lambda key, _ti: key[:-1] + ("0" if key[-1] != "0" else "1"),
    "another spelling": lambda key, _ti: key.upper() if key.upper() != key else f" {key}",
    "without its hyphens": lambda key, _ti: key.replace("-", ""),
    "with white space": lambda key, _ti: f" {key}\n",
    "with a null byte": lambda key, _ti: f"{key}\0",
    "a wildcard": lambda _id, _ti: "%",
    "a list of it": lambda key, _ti: [key],
    "a number": lambda key, _ti: uuid.UUID(key).int,
    "nothing": lambda _id, _ti: None,
    "a mebibyte": lambda key, _ti: key * (MEBIBYTE // 40),
}


def queue_of(scheduler: Scheduler, forgery: str) -> Any:
    """The queue that a forged message goes to."""
    return scheduler.results if forgery == "result" else scheduler.dead_letters


def take_everything(scheduler: Scheduler) -> None:
    """Run the executor until it has taken in a true result that came last."""
    (marker,) = scheduler.queue(workload("marker"))
    queues = (scheduler.results, scheduler.dead_letters)
    scheduler.loop_until(lambda: not any(queue._has_visible() for queue in queues))
    scheduler.results.send(Result(marker, 0))
    scheduler.loop_until(lambda: any(key.task_id == "marker" for key in scheduler.ends()))


@pytest.mark.parametrize("forgery", FORGERIES)
def test_who_does_not_know_a_dispatch_id_settles_nothing(
    scheduler: Scheduler, forgery: str
) -> None:
    """Whatever is guessed, in every format: the task stays in flight, with its slot."""
    task = workload("victim")
    (id,) = scheduler.queue(task)
    for guess in GUESSES.values():
        queue_of(scheduler, forgery).send(FORGERIES[forgery](guess(id, task.ti)))
    take_everything(scheduler)
    assert [key.task_id for key in scheduler.ends()] == ["marker"]
    assert scheduler.engine.ledger.key(id) is not None
    scheduler.results.send(Result(id, 0))
    assert scheduler.event(task.ti.key)[0] == "success"


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_stolen_dispatch_id_settles_its_own_invocation_once(
    scheduler: Scheduler, forgery: str
) -> None:
    """The other one is untouched, and what comes later about the stolen one changes nothing."""
    victim, other = workload("victim"), workload("other")
    scheduler.queue(victim, other)
    stolen = InvocationId(str(victim.ti.external_executor_id))
    send = queue_of(scheduler, forgery).send
    send(FORGERIES[forgery](stolen))
    assert scheduler.event(victim.ti.key)[0] == "failed"
    for again in (0, 1):
        scheduler.results.send(Result(stolen, again))
    send(FORGERIES[forgery](stolen))
    take_everything(scheduler)
    assert [key.task_id for key in scheduler.ends()] == ["marker"]
    assert scheduler.executor.slots_available == 3


def test_a_forged_duplicate_changes_nothing(scheduler: Scheduler) -> None:
    """Its true result still settles the invocation."""
    task = workload("victim")
    (id,) = scheduler.queue(task)
    scheduler.results.send(Result(id, 0, Outcome.DUPLICATE))
    take_everything(scheduler)
    assert scheduler.engine.ledger.key(id) is not None
    scheduler.results.send(Result(id, 0))
    assert scheduler.event(task.ti.key)[0] == "success"


@pytest.mark.parametrize(
    ("forgery", "fields"),
    [
        ("result", {"reason": INJECTION, "request_id": INJECTION, "log_stream": INJECTION}),
        ("envelope", {"message": INJECTION, "requestContext": {"requestId": INJECTION}}),
    ],
)
def test_a_forged_text_begins_no_line_and_commands_no_terminal(
    scheduler: Scheduler, caplog: pytest.LogCaptureFixture, forgery: str, fields: dict[str, Any]
) -> None:
    """In the scheduler's log, and in the reason that Airflow gets: one printable line."""
    task = workload("victim")
    (id,) = scheduler.queue(task)
    with caplog.at_level(logging.DEBUG):
        queue_of(scheduler, forgery).send(FORGERIES[forgery](id, **fields))
        _, reason = scheduler.event(task.ti.key)
    lines = [record.getMessage() for record in caplog.records if "forged" in record.getMessage()]
    entries = [str(entry.extra) for entry in scheduler.executor._task_event_logs]
    assert lines
    assert entries
    for text in (str(reason), *lines, *entries):
        assert not re.findall(r"[^ -~]", text), text


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_mebibyte_of_any_field_is_cut_or_refused(scheduler: Scheduler, forgery: str) -> None:
    """The reason stays short, and the next message is taken in."""
    tasks = [workload(f"victim-{number}") for number in range(3)]
    ids = scheduler.queue(*tasks)
    large = "x" * (MEBIBYTE - 4096)
    bodies: dict[str, list[dict[str, Any]]] = {
        "result": [
            {"reason": large},
            {"request_id": large, "log_stream": large[: MEBIBYTE // 4]},
            {"unknown": [large], "return_code": 10**4000, "run_ms": 10**4000},
        ],
        "dead letter": [{"executor_config": {"x": large}}, {"command": [large]}, {"x": large}],
        "envelope": [
            {"message": large},
            {"requestContext": {"requestId": large, "condition": large[:4096]}},
            {"x": large},
        ],
    }
    for id, fields in zip(ids, bodies[forgery], strict=True):
        queue_of(scheduler, forgery).send(FORGERIES[forgery](id, **fields))
    scheduler.loop_until(lambda: len(scheduler.ends()) == len(tasks))
    for state, reason in scheduler.take().values():
        assert state == "failed"
        assert len(str(reason)) <= 3 * MAX_REASON_CHARS


def test_a_report_of_another_scheduler_is_handed_back(scheduler: Scheduler) -> None:
    """A report about an invocation that this scheduler never sent is handed back, and kept."""
    foreign = InvocationId(str(uuid.uuid4()))
    scheduler.results.send(Result(foreign, 0))
    take_everything(scheduler)
    assert scheduler.engine.ledger.key(foreign) is None
    assert any(foreign in body for body in scheduler.results.bodies)
