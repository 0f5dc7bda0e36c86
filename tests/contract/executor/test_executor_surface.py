"""The rest of Airflow's surface: connection tests, teams, the state dump (Airflow 3.3)."""

from __future__ import annotations

import json

import pytest
from airflow.executors import workloads
from airflow.models.connection_test import ConnectionTestKey, ConnectionTestState

from lambda_executor import LambdaExecutor
from lambda_executor.core.ledger import State
from lambda_executor.core.routing import Target
from lambda_executor.scheduler.compat import conf_of
from lambda_executor.setup import config
from tests.support.scheduler import TOKEN, Scheduler, workload

ID = "0198c9d2-7d0e-7a53-9f6e-3f5d0c1b2a49"


def test_a_connection_is_tested_in_the_function(scheduler: Scheduler) -> None:
    """Airflow's connection test is a workload like the others, and its end frees its slot."""
    test = workloads.TestConnection.model_validate(
        {
            "token": "token",
            "connection_test_id": ID,
            "connection_id": "warehouse",
            "timeout": 30,
        }
    )
    executor = scheduler.executor
    executor.queue_workload(test, session=None)  # type: ignore[arg-type]
    executor.heartbeat()
    assert scheduler.function.wait_for(1)
    (invocation,) = scheduler.function.invocations
    assert json.loads(invocation.workload_json)["connection_id"] == "warehouse"
    assert executor.slots_available == 3
    scheduler.results.reply(invocation.id)
    key = ConnectionTestKey(ID)
    scheduler.loop_until(
        lambda: executor.event_buffer.get(key) == (ConnectionTestState.SUCCESS, None)
    )
    assert executor.slots_available == 4


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
        assert loaded.routes.default == Target(f"{team}-fn")
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
    assert "lambda executor: 0 pending, 1 in flight, 0 deliveries not acknowledged" in lines
    assert TOKEN not in "".join(lines)
