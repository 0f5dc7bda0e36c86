"""An executor of one team, as Airflow's scheduler loads it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from airflow.executors import executor_loader
from airflow.executors.executor_loader import ExecutorLoader
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from sqlalchemy.orm import Session

from lambda_executor import LambdaExecutor
from lambda_executor.contract.errors import ConfigError
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.scheduler.compat import conf_of
from lambda_executor.setup import config

PATH = "lambda_executor.LambdaExecutor"
OPTIONS = ("FUNCTION_NAME", "QUEUE_URL", "DEAD_LETTER_QUEUE_URL")


@pytest.fixture
def teams(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str | None, LambdaExecutor]]:
    """Three executors of ours: everybody's, and those of two teams."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", f"{PATH};red={PATH};blue={PATH}")
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_QUEUE", "everyday")
    for infix, owner in (("", "everybody"), ("RED___", "red"), ("BLUE___", "blue")):
        for option in OPTIONS:
            value = (
                f"https://sqs/{option}-of-{owner}" if "URL" in option else f"function-of-{owner}"
            )
            monkeypatch.setenv(f"AIRFLOW__{infix}LAMBDA_EXECUTOR__{option}", value)
    monkeypatch.setattr(executor_loader, "_executor_names", [])
    monkeypatch.setattr(ExecutorLoader, "_validate_teams_exist_in_database", lambda _: None)
    loaded = [ExecutorLoader.load_executor(name) for name in ExecutorLoader.get_executor_names()]
    yield {each.team_name: each for each in loaded if isinstance(each, LambdaExecutor)}
    executor_loader._executor_names.clear()


def no_parameter(name: str) -> dict[str, str]:
    """Fails the test when the parameter is read."""
    raise AssertionError(f"read {name}")


def test_each_team_has_options_of_its_own(teams: dict[str | None, LambdaExecutor]) -> None:
    """None gets the value of another, nor the one that everybody's executor has."""
    for team, executor in teams.items():
        loaded = config.load(conf_of(executor), no_parameter)
        owner = team or "everybody"
        assert loaded.routes.default == FunctionTarget(f"function-of-{owner}")
        assert loaded.queue_urls == (f"https://sqs/QUEUE_URL-of-{owner}",)
    assert set(teams) == {None, "red", "blue"}


def test_an_option_that_the_team_lacks_is_not_somebody_elses(
    teams: dict[str | None, LambdaExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two teams' executors would receive from one queue."""
    monkeypatch.delenv("AIRFLOW__RED___LAMBDA_EXECUTOR__FUNCTION_NAME")
    assert config.load(conf_of(teams[None]), no_parameter).queue_urls
    with pytest.raises(ConfigError, match="function_name is not set"):
        config.load(conf_of(teams["red"]), no_parameter)


def test_the_default_queue_is_everybodys(teams: dict[str | None, LambdaExecutor]) -> None:
    """Airflow gives a task without a queue the same one in every team."""
    routes = config.load(conf_of(teams["red"]), no_parameter).routes
    assert routes == Routes(FunctionTarget("function-of-red"), "everyday")


@pytest.mark.parametrize("name", [None, "LambdaExecutor", PATH])
@pytest.mark.parametrize("team", ["red", "blue"])
def test_a_teams_task_goes_to_its_own_executor(
    teams: dict[str | None, LambdaExecutor], team: str, name: str | None
) -> None:
    """The scheduler chooses the team's even if everybody's has the same name."""
    own_first = sorted(teams.values(), key=lambda each: each.team_name != team)
    runner = SchedulerJobRunner(Job(), executors=list(own_first))  # type: ignore[no-untyped-call]
    task = SimpleNamespace(get_executor_name=lambda: name)
    found = runner._try_to_load_executor(task, Session(), team_name=team)  # type: ignore[arg-type]
    assert found is teams[team]
