"""With `--team`, the commands `airflow lambda-executor ...` read the options of one team."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.support.account import PARAMETER, Account
from tests.support.command_line import complaint, run_json

PATH = "lambda_executor.LambdaExecutor"


@pytest.fixture
def red(account: Account, database: Engine, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account whose parameter only the team `red` knows."""
    assert database, "it holds no scheduler and no DAG"
    account.write_parameter()
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    monkeypatch.delenv("AIRFLOW__LAMBDA_EXECUTOR__CONFIG_PARAMETER")
    monkeypatch.setenv("AIRFLOW__RED___LAMBDA_EXECUTOR__CONFIG_PARAMETER", PARAMETER)
    monkeypatch.setenv("AIRFLOW__RED___LAMBDA_EXECUTOR__FUNKTION_NAME", "x")
    return account


def findings(capfd: pytest.CaptureFixture[str], subject: str, *words: str) -> list[dict[str, str]]:
    """What the doctor finds about something."""
    _, answer = run_json(capfd, "check", *words)
    return [finding for finding in answer if finding["subject"] == subject]


def test_a_teams_options_are_checked(red: Account, capfd: pytest.CaptureFixture[str]) -> None:
    """They are those that the team's executor in the scheduler has."""
    assert red.options
    (found,) = findings(capfd, "configuration", "--team", "red")
    assert (found["verdict"], found["detail"]) == ("ok", f"from SSM parameter {PARAMETER}")
    (everybodys,) = findings(capfd, "configuration")
    assert everybodys["verdict"] == "problem"


def test_what_is_wrong_is_named_as_the_team_sets_it(
    red: Account, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its variables have the team in their names."""
    assert red.options
    (misspelt,) = findings(capfd, "options", "--team", "red")
    assert "AIRFLOW__RED___LAMBDA_EXECUTOR__FUNKTION_NAME is ignored" in misspelt["detail"]
    assert "AIRFLOW__RED___LAMBDA_EXECUTOR__FUNCTION_NAME" in misspelt["command"]
    (missing,) = findings(capfd, "configuration", "--team", "blue")
    assert "AIRFLOW__BLUE___LAMBDA_EXECUTOR__CONFIG_PARAMETER" in missing["fix"]


def test_without_teams_the_option_is_refused(
    account: Account, capfd: pytest.CaptureFixture[str]
) -> None:
    """The answer says what to set."""
    assert account.options
    said = complaint(capfd, "check", "--team", "red")
    assert "[core] multi_team is not set" in said


def test_other_commands_read_the_options_of_a_team(
    red: Account, capfd: pytest.CaptureFixture[str]
) -> None:
    """Those for everybody name no queues here."""
    urls = [red.options[name] for name in ("queue_url", "dead_letter_queue_url")]
    _, status = run_json(capfd, "status", "--team", "red")
    assert {queue["name"] for queue in status["queues"]} == {url.rpartition("/")[2] for url in urls}
    assert run_json(capfd, "dead-letters", "list", "--team", "red") == (0, [])
    assert "queue_url is not set" in complaint(capfd, "dead-letters", "list")
