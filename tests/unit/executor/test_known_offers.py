"""The offers as a process that reads DAG files gets them, with few reads of the parameter."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.option_types import StringOption
from lambda_executor.contract.options import CONFIG_PARAMETER, FUNCTIONS, OFFERS, TARGETS
from lambda_executor.core.offers import Offer
from lambda_executor.policy import known_offers

LONG = '{"long": {"cpu": 2}}'


class Parameter:
    """The SSM parameter, and the processes that read it."""

    def __init__(self) -> None:
        self.value: str | None = LONG
        self.reads = 0
        self.now_s = 1000.0

    def read(self, _name: str) -> str | None:
        """Return the value, or fail."""
        self.reads += 1
        if self.value == "denied":
            raise ConfigError("access denied")
        return self.value

    def process(self) -> tuple[Offer, ...]:
        """Return what a new process of the DAG processor knows."""
        known_offers.known_offers.cache_clear()
        known_offers.known_offers()
        return known_offers.known_offers()


@pytest.fixture
def parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parameter]:
    """A parameter, and a folder for what was read."""
    parameter = Parameter()
    monkeypatch.setenv(CONFIG_PARAMETER.environment_variable, "/p")
    monkeypatch.setattr(known_offers, "_read", parameter.read)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(time, "time", lambda: parameter.now_s)
    yield parameter
    known_offers.known_offers.cache_clear()


def test_processes_share_one_read(parameter: Parameter) -> None:
    """The DAG processor forks one for each file; after a minute the parameter may be another."""
    assert [parameter.process() for _ in range(3)] == [(Offer("long", cpu=2),)] * 3
    assert parameter.reads == 1
    parameter.now_s += known_offers.FRESH_S
    parameter.value = '{"long": {"cpu": 4}}'
    assert parameter.process() == (Offer("long", cpu=4),)
    assert parameter.reads == 2


def test_what_cannot_be_read_is_what_it_was(
    parameter: Parameter, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks would go to and fro, and each change is a version of the DAG."""
    parameter.process()
    parameter.now_s += known_offers.FRESH_S
    parameter.value = "denied"
    with caplog.at_level(logging.WARNING):
        assert [parameter.process() for _ in range(3)] == [(Offer("long", cpu=2),)] * 3
    assert parameter.reads == 2
    (warning,) = caplog.messages
    assert "those read before are used: access denied" in warning


def test_what_was_never_read_is_tried_once_a_minute(
    parameter: Parameter, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise every file with a need would wait for AWS."""
    parameter.value = "denied"
    with caplog.at_level(logging.WARNING):
        assert [parameter.process() for _ in range(3)] == [(), (), ()]
    assert parameter.reads == len(caplog.messages) == 1
    assert "tasks stay on the targets of their queues" in caplog.text


def test_a_failure_that_goes_on_is_one_warning(
    parameter: Parameter, caplog: pytest.LogCaptureFixture
) -> None:
    """Many environments have no offers, and a DAG processor that may not read the parameter."""
    parameter.value = "denied"
    for _ in range(3):
        parameter.process()
        parameter.now_s += known_offers.FRESH_S
    parameter.value = LONG
    parameter.process()
    parameter.now_s += known_offers.FRESH_S
    parameter.value = "denied"
    parameter.process()
    failures = [r.levelname for r in caplog.records if "cannot be read" in r.message]
    assert failures == ["WARNING", "INFO", "INFO", "WARNING"]


@pytest.mark.parametrize("option", [FUNCTIONS, TARGETS])
def test_the_parameter_says_nothing_of_a_persons_own_targets(
    parameter: Parameter, monkeypatch: pytest.MonkeyPatch, option: StringOption
) -> None:
    """As for the scheduler: those offers are of other targets."""
    monkeypatch.setenv(option.environment_variable, '{"own": "fn"}')
    assert parameter.process() == ()
    assert parameter.reads == 0


def test_airflows_own_configuration_wins(
    parameter: Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for every option; then the parameter is not read."""
    monkeypatch.setenv(OFFERS.environment_variable, '{"own": {}}')
    assert parameter.process() == (Offer("own"),)
    assert parameter.reads == 0


def test_an_unusable_value_routes_nothing(
    parameter: Parameter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The scheduler refuses to start with it; DAG files are read."""
    monkeypatch.setenv(OFFERS.environment_variable, "{")
    assert parameter.process() == ()
    assert "offers is no JSON" in caplog.text


@pytest.mark.parametrize("content", ["", "{}", '{"at_s": "now", "offers": null}', "[1]"])
def test_a_file_that_is_not_ours_is_read_over(
    parameter: Parameter, tmp_path: Path, content: str
) -> None:
    """Whatever is in it."""
    parameter.process()
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert parameter.process() == (Offer("long", cpu=2),)
    assert parameter.reads == 2


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(
    parameter: Parameter, tmp_path: Path
) -> None:
    """Each read would leave another one."""
    parameter.process()
    (file,) = tmp_path.iterdir()
    file.unlink()
    file.mkdir()
    parameter.process()
    assert list(tmp_path.iterdir()) == [file]


def test_without_a_folder_the_parameter_is_read_each_time(
    parameter: Parameter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file only saves reads."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    assert parameter.process() == parameter.process() == (Offer("long", cpu=2),)
    assert parameter.reads == 2
