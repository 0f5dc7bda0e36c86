"""The rest of Airflow's surface: connection tests, teams, the state dump (Airflow 3.3)."""

from __future__ import annotations

import dataclasses
import json

import pytest
from airflow.executors import workloads
from airflow.models.connection_test import ConnectionTestKey, ConnectionTestState

from lambda_executor import LambdaExecutor
from lambda_executor.core.ledger import State
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.scheduler.compat import conf_of
from lambda_executor.setup import config
from tests.support.scheduler import SETTINGS, TOKEN, Scheduler, callback, workload

ID = "0198c9d2-7d0e-7a53-9f6e-3f5d0c1b2a49"


KEY = ConnectionTestKey(ID)


def connection_test(queue: str | None = None) -> workloads.TestConnection:
    """A connection test as the scheduler queues it."""
    return workloads.TestConnection.model_validate(
        {
            "token": "token",
            "connection_test_id": ID,
            "connection_id": "warehouse",
            "timeout": 30,
            "queue": queue,
        }
    )


def test_a_connection_is_tested_in_the_function(scheduler: Scheduler) -> None:
    """Airflow's connection test is a workload like the others, and its end frees its slot."""
    (id,) = scheduler.queue(connection_test())
    (invocation,) = scheduler.function.invocations
    assert json.loads(invocation.workload_json)["connection_id"] == "warehouse"
    assert scheduler.executor.slots_available == 3
    scheduler.results.reply(id)
    scheduler.loop_until(lambda: scheduler.ends() == {KEY: (ConnectionTestState.SUCCESS, None)})
    assert scheduler.executor.slots_available == 4


def test_a_connection_test_is_sent_once(scheduler: Scheduler) -> None:
    """It leaves Airflow's queue when it is taken over, so later heartbeats do not find it there."""
    scheduler.queue(connection_test())
    for _ in range(3):
        scheduler.executor.heartbeat()
    scheduler.queue(workload("a"))
    assert len(scheduler.function.invocations) == 2
    assert not any(scheduler.executor.executor_queues.values())
    assert scheduler.executor.slots_available == 2


def test_a_connection_is_tested_by_the_function_of_its_queue(scheduler: Scheduler) -> None:
    """A person who names a queue tests what the tasks of that queue reach."""
    scheduler.queue(connection_test(queue="large"))
    assert list(map(str, scheduler.function.targets)) == ["function-large:live"]


def test_a_connection_test_that_airflow_gave_up_holds_no_slot(scheduler: Scheduler) -> None:
    """A late result of it settles nothing."""
    (id,) = scheduler.queue(connection_test())
    scheduler.executor.fail_connection_test(KEY)
    assert scheduler.executor.slots_available == 4
    scheduler.results.reply(id)
    scheduler.loop_until(lambda: len(scheduler.results) == 0)
    assert scheduler.ends() == {}


def test_a_connection_test_that_airflow_gave_up_in_the_queue_is_not_sent(
    scheduler: Scheduler,
) -> None:
    """Nothing is left of it in the executor."""
    scheduler.executor.queue_workload(connection_test(), session=None)  # type: ignore[arg-type]
    scheduler.executor.fail_connection_test(KEY)
    scheduler.queue(workload("a"))
    assert len(scheduler.function.invocations) == 1
    assert scheduler.executor.slots_available == 3


def test_ending_sends_connection_tests_and_callbacks_too() -> None:
    """Whatever Airflow has queued is sent, because no other scheduler knows that it was not."""
    scheduler = Scheduler(LambdaExecutor(parallelism=1))
    scheduler.start()
    for one in (workload("a"), connection_test(), callback()):
        scheduler.executor.queue_workload(one, session=None)  # type: ignore[arg-type]
    scheduler.executor.end()
    kinds = [json.loads(sent.workload_json)["type"] for sent in scheduler.function.invocations]
    assert sorted(kinds) == ["ExecuteCallback", "ExecuteTask", "TestConnection"]


def test_callbacks_are_sent_first_and_tasks_by_their_priority() -> None:
    """They finish what has begun; and one thread sends in the order in which Airflow hands out."""
    scheduler = Scheduler(LambdaExecutor(parallelism=4))
    settings = dataclasses.replace(SETTINGS, dispatch_threads=1)
    scheduler.start_on(settings, [scheduler.results])
    light, heavy = workload("light"), workload("heavy")
    heavy.ti.priority_weight = 9
    scheduler.queue(light, heavy, callback())
    sent = [json.loads(each.workload_json) for each in scheduler.function.invocations]
    assert [each.get("ti", {}).get("task_id") for each in sent] == [None, "heavy", "light"]
    scheduler.executor.terminate()


def no_parameter(name: str) -> dict[str, str]:
    """Fails the test when the parameter is read."""
    raise AssertionError(f"read {name}")


def test_a_team_has_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its executor reads the team's options, and nothing of another team's."""
    options = {"function_name": "{}-fn", "queue_url": "{}-q", "dead_letter_queue_url": "{}-dead"}
    for team in ("red", "blue"):
        for option, value in options.items():
            variable = f"AIRFLOW__{team.upper()}___LAMBDA_EXECUTOR__{option.upper()}"
            monkeypatch.setenv(variable, value.format(team))
    for team in ("red", "blue"):
        executor = LambdaExecutor(parallelism=1, team_name=team)
        loaded = config.load(conf_of(executor), no_parameter)
        assert loaded.routes.default == FunctionTarget(f"{team}-fn")
        assert loaded.queue_urls == (f"{team}-q",)


def test_the_state_dump_says_what_the_executor_holds(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler logs it on SIGUSR2; no token is in it."""
    lines: list[str] = []
    monkeypatch.setattr(
        scheduler.executor.log, "info", lambda line, *args: lines.append(line % args)
    )
    scheduler.queue(workload("a"))
    scheduler.loop_until(lambda: scheduler.engine.ledger.count(State.IN_FLIGHT))
    scheduler.executor.debug_dump()
    assert (
        "lambda executor: 0 pending (0 held), 1 in flight, 0 deliveries not acknowledged" in lines
    )
    assert TOKEN not in "".join(lines)
