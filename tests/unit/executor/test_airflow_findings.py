"""The doctor's rules about this Airflow: executors, schedulers, options, concurrency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from lambda_executor.aws import AccountFacts
from lambda_executor.core.findings import Finding, Status
from lambda_executor.ops.doctor import airflow_findings
from lambda_executor.ops.doctor.installation import LiveScheduler

OURS = "lambda_executor.LambdaExecutor"
LOCAL = "airflow.executors.local_executor.LocalExecutor"


class File:
    """An airflow.cfg with one section."""

    def __init__(self, *names: str) -> None:
        self._names = list(names)

    def has_section(self, section: str) -> bool:
        """Only ours, if anything is in it."""
        return section == "lambda_executor" and bool(self._names)

    def options(self, _: str) -> list[str]:
        """The names in it."""
        return self._names

    def get(self, _section: str, _key: str, *, fallback: str | None = None) -> str | None:
        """No value is read."""
        return fallback


def options(variables: Mapping[str, str] | None = None, *names: str) -> list[Finding]:
    """The findings about the options that variables and a file set."""
    return list(airflow_findings.options(File(*names), variables or {}))


@pytest.mark.parametrize(
    ("configured", "status", "detail"),
    [
        ([OURS], Status.OK, OURS),
        ([LOCAL], Status.PROBLEM, "[core] executor is LocalExecutor here: no task runs on Lambda"),
        ([OURS, LOCAL], Status.OK, f"{OURS} by default, beside LocalExecutor"),
        ([LOCAL, OURS], Status.OK, f"{OURS} for tasks that name it, beside LocalExecutor"),
    ],
)
def test_one_of_the_executors_is_ours(
    configured: Sequence[str], status: Status, detail: str
) -> None:
    """It may be one of several, and need not be the default."""
    finding = airflow_findings.executor(configured)
    assert (finding.status, finding.detail) == (status, detail)


def test_every_live_scheduler_runs_ours() -> None:
    """`airflow standalone` replaces an executor that is not local, and says so in its log only."""
    live = [LiveScheduler(8, "host-b", runs_ours=False), LiveScheduler(7, "host-a", runs_ours=True)]
    other, ours = airflow_findings.schedulers(live)
    assert other.is_problem
    assert "job 8 on host-b does not run this executor" in other.detail
    assert "airflow standalone" in other.detail
    assert other.command == f"AIRFLOW__CORE__EXECUTOR={OURS} airflow scheduler"
    assert (ours.status, ours.detail) == (Status.OK, "job 7 on host-a runs this executor")


def test_no_live_scheduler_is_no_problem_of_the_environment() -> None:
    """Somebody may check it before the first start."""
    (finding,) = airflow_findings.schedulers([])
    assert finding.status is Status.UNKNOWN


def test_options_that_exist_are_fine() -> None:
    """Those of the handler are in the same section, and other sections are not ours."""
    found = options(
        {
            "AIRFLOW__LAMBDA_EXECUTOR__FUNCTION_NAME": "f",
            "AIRFLOW__LAMBDA_EXECUTOR__STOP_MARGIN_S": "60",
            "AIRFLOW__AWS_LAMBDA_EXECUTOR__ANYTHING": "x",
            "AIRFLOW__CORE__EXECUTOR": "x",
        },
        "queue_url",
    )
    assert [(f.status, f.detail) for f in found] == [(Status.OK, "every option that is set exists")]


@pytest.mark.parametrize(
    ("variable", "fix", "setting"),
    [
        ("FUNKTION_NAME", "did you mean function_name?", "FUNCTION_NAME=airflow-lambda-dev"),
        ("QUEUEURL", "did you mean queue_url?", "QUEUE_URL=https://sqs."),
        ("function_name", "did you mean function_name?", "FUNCTION_NAME="),
        ("FUNCTION_NAME_CMD", "set function_name itself", "FUNCTION_NAME="),
        ("QUEUE_URL_SECRET", "set queue_url itself", "QUEUE_URL="),
        ("FUNKTION_NAME_SECRET", "did you mean function_name?", "FUNCTION_NAME="),
    ],
)
def test_a_variable_that_airflow_ignores_is_found(variable: str, fix: str, setting: str) -> None:
    """A misspelt name, small letters, and spellings that only sensitive options may have."""
    (finding,) = options({f"AIRFLOW__LAMBDA_EXECUTOR__{variable}": "x"})
    assert finding.is_problem
    assert f"AIRFLOW__LAMBDA_EXECUTOR__{variable} is ignored" in finding.detail
    assert finding.fix == fix
    assert finding.command.startswith(f"AIRFLOW__LAMBDA_EXECUTOR__{setting}")


def test_an_option_of_a_file_is_checked_too() -> None:
    """One that resembles none comes with the list of all."""
    near, far = options({}, "poll_thread", "colour")
    assert "[lambda_executor] poll_thread is ignored" in near.detail
    assert near.fix == "did you mean poll_threads?"
    assert "the options are check_health_on_startup, config_parameter" in far.fix
    assert far.command == "airflow config list --section lambda_executor"


def test_what_the_account_cannot_run_at_once_waits_in_airflow() -> None:
    """A new account may run 10; `parallelism` is 32 for each scheduler, and may well be more."""
    new, usual = AccountFacts(10, 10), AccountFacts(1000, 900)
    finding = airflow_findings.concurrency(new, 32, 2)
    assert not finding.is_problem
    assert "may run 10 invocations at once" in finding.detail
    assert "each of the 2 schedulers fills it" in finding.detail
    assert "parallelism allows 64: the rest waits in Airflow" in finding.detail
    assert not airflow_findings.concurrency(usual, 32, 2).is_problem


class Settings:
    """Airflow's configuration, with these values of `[database]` and `[api]`."""

    def __init__(self, **values: str) -> None:
        self._values = values

    def get(self, _section: str, key: str, *, fallback: str | None = None) -> str | None:
        """The value, under the name of its option alone."""
        return self._values.get(key, fallback)


def test_an_api_server_with_few_connections_blocks_itself_under_many_workloads() -> None:
    """Airflow's 15 connections and 40 threads are taken by 55 requests at once."""
    (finding,) = airflow_findings.api_server_connections(Settings(), 100)
    assert finding.is_problem
    assert "up to 100 workloads run at once" in finding.detail
    assert "When 55 requests arrive at once" in finding.detail
    assert "allow 80 connections" in finding.fix
    assert finding.command == "AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW=75"


def test_few_workloads_say_nothing_about_the_api_server() -> None:
    """Airflow's own `parallelism` of 32 fits into its own connections."""
    assert not list(airflow_findings.api_server_connections(Settings(), 32))


@pytest.mark.parametrize(
    "values",
    [
        {"sql_alchemy_max_overflow": "75"},
        {"sql_alchemy_max_overflow": "-1"},
        {"sql_alchemy_pool_size": "80", "sql_alchemy_max_overflow": "0"},
        {"sql_alchemy_pool_size": "0"},
        {"sql_alchemy_pool_enabled": "False"},
        {"workers": "4"},
    ],
)
def test_an_api_server_has_enough_connections_in_several_ways(values: dict[str, str]) -> None:
    """More of them, no limit, no pool, or more processes that share the workloads."""
    (finding,) = airflow_findings.api_server_connections(Settings(**values), 100)
    assert not finding.is_problem


def test_without_a_limit_the_account_may_run_what_the_schedulers_send() -> None:
    """The rest waits in Lambda's queue, where it expires."""
    new = AccountFacts(10, 10)
    finding = airflow_findings.concurrency(new, 32, 2, ["f"])
    assert finding.is_problem
    assert "send up to 64 ([core] parallelism) to f" in finding.detail
    assert "remove max_in_flight" in finding.fix
    assert "request-service-quota-increase" in finding.command
    assert not airflow_findings.concurrency(new, 10, 0, ["f"]).is_problem
