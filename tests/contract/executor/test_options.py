"""We read an option's text as the same value as Airflow does."""

from __future__ import annotations

import pytest
from airflow.configuration import conf

from lambda_executor.contract.options import CHECK_HEALTH_ON_STARTUP, MAX_INVOKE_ATTEMPTS, SECTION


@pytest.mark.parametrize("word", ["t", "true", "1", "f", "false", "0"])
@pytest.mark.parametrize("form", ["{}", " {} ", "{} # a comment", "{}#"])
def test_a_boolean_of_airflow_is_one_of_ours(
    word: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every boolean that Airflow accepts has the same value for us."""
    option = CHECK_HEALTH_ON_STARTUP
    for text in (form.format(word), form.format(word.upper())):
        monkeypatch.setenv(option.environment_variable, text)
        assert option.read(text) is conf.getboolean(SECTION, option.name)


@pytest.mark.parametrize("text", ["7", " 7\n", "+7", "07", "7.0", "7e0", "1_0"])
def test_a_whole_number_of_airflow_is_one_of_ours(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number that Airflow accepts has the same value for us."""
    option = MAX_INVOKE_ATTEMPTS
    monkeypatch.setenv(option.environment_variable, text)
    assert option.read(text) == conf.getint(SECTION, option.name)
