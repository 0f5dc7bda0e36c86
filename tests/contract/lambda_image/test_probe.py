"""A probe's effect: our handler answers it, the reference's refuses it and does nothing."""

from __future__ import annotations

import json
import logging
import platform
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from airflow.version import version as airflow_version
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.contract.errors import DecodeError
from lambda_executor.contract.probe import BundleAnswer, ProbeAnswer, event, is_probe
from lambda_executor.contract.wire import WIRE_VERSION
from tests.support.handler_process import HandlerProcess, Server, image_variables

PROBE = json.loads(event())


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The function's DAG folder."""
    return tmp_path_factory.mktemp("dags")


@pytest.fixture(scope="module")
def handler(dags: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """The real handler in its own process."""
    server = Server()
    process = HandlerProcess(tmp_path_factory.mktemp("probed"), dags, server)
    yield process
    process.close()
    server.close()


def probe(handler: HandlerProcess) -> ProbeAnswer:
    """Send a probe as Lambda's runtime would."""
    answer, _ = handler.invoke(PROBE)
    return ProbeAnswer.decode(json.dumps(answer).encode())


def test_the_handler_tells_its_versions_and_reaches_the_api(handler: HandlerProcess) -> None:
    """It asks the API server's health route, and neither starts nor reports anything."""
    answer = probe(handler)
    assert (answer.airflow, answer.python) == (airflow_version, platform.python_version())
    assert answer.wire_version == WIRE_VERSION
    assert answer.execution_api_url == f"{handler.server.url}/execution/"
    assert answer.execution_api_error == ""
    assert [(verb, path) for verb, path, _ in handler.server.calls] == [
        ("GET", "/execution/health")
    ]
    assert handler.server.results == []


def test_an_api_that_does_not_answer_is_told(handler: HandlerProcess) -> None:
    """The answer has the reason; the probe does not fail."""
    handler.server.is_gone = True
    try:
        answer = probe(handler)
    finally:
        handler.server.is_gone = False
    assert "RemoteProtocolError" in answer.execution_api_error


def ask(handler: HandlerProcess, **dag_files: list[str]) -> Mapping[str, BundleAnswer]:
    """Send a probe that asks for DAG files."""
    asked = {name.replace("_", "-"): paths for name, paths in dag_files.items()}
    answer, _ = handler.invoke(json.loads(event(asked)))
    bundles = ProbeAnswer.decode(json.dumps(answer).encode()).bundles
    assert bundles is not None
    return bundles


def test_the_handler_says_which_dag_files_it_lacks(handler: HandlerProcess, dags: Path) -> None:
    """A file or an archive in the folder is there; a bundle unknown here has no answer."""
    (dags / "team").mkdir()
    (dags / "team" / "daily.py").write_text("")
    with zipfile.ZipFile(dags / "packed.zip", "w") as archive:
        archive.writestr("inside.py", "")
    asked = ["team/daily.py", "team/weekly.py", "packed.zip/inside.py", "../outside.py"]
    bundles = ask(handler, dags_folder=asked, another=["a.py"])
    assert bundles == {
        "dags-folder": BundleAnswer("image", ("team/weekly.py", "../outside.py")),
    }


def test_the_handler_says_how_long_a_task_waits_for_the_api(handler: HandlerProcess) -> None:
    """The doctor compares the API's answer with the time-out that tasks have."""
    image_s = float(image_variables()["AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT"])
    assert probe(handler).execution_api_timeout_s == image_s


@pytest.mark.parametrize(
    "rest",
    [[], [None], [{"dag_files": []}], [{"dag_files": {"b": "x"}}], [{"other": 1}, 2]],
)
def test_a_probe_of_another_release_is_answered(handler: HandlerProcess, rest: list[Any]) -> None:
    """Whatever follows the head is read if it is known, and otherwise ignored."""
    answer, _ = handler.invoke([PROBE[0], *rest])
    assert ProbeAnswer.decode(json.dumps(answer).encode()).bundles == {}


def test_an_answer_of_an_older_image_is_read() -> None:
    """Without the newer facts they are unknown, and the rest is there."""
    new = ProbeAnswer("3.3.2", "3.12", 1, "https://a/", "", 3, 5, {"b": BundleAnswer("image")})
    encoded = json.loads(json.dumps(new.encode()))
    for name in ("execution_api_timeout_s", "bundles"):
        del encoded[PROBE[0]][name]
    old = ProbeAnswer.decode(json.dumps(encoded).encode())
    assert (old.airflow, old.execution_api_timeout_s, old.bundles) == ("3.3.2", 0, None)
    assert ProbeAnswer.decode(json.dumps(new.encode()).encode()) == new


def test_the_reference_handler_refuses_a_probe_and_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It fails on the event's shape before it runs a command, copies DAGs or sends a result."""
    monkeypatch.setattr(logging.getLogger(), "level", logging.WARNING)  # It sets the root's.
    reference = reference_handler()

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the probe had an effect")

    monkeypatch.setattr(subprocess, "run", never)
    for name in ("run_and_report", "fetch_dags_from_s3", "get_sqs_client"):
        monkeypatch.setattr(reference, name, never)
    with pytest.raises(AttributeError):
        reference.lambda_handler(PROBE, None)


def reference_handler() -> ModuleType:
    """The handler of the installed Amazon provider, which is no module of its package."""
    from airflow.providers.amazon.aws.executors import (  # noqa: PLC0415 - its home, not its use
        aws_lambda,
    )

    file = Path(aws_lambda.__path__[0]) / "docker" / "app.py"
    module = ModuleType("reference_handler")
    exec(compile(file.read_text(), str(file), "exec"), module.__dict__)
    return module


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_only_a_probe_is_a_probe(event: object) -> None:
    """No other event is mistaken for a probe."""
    assert not is_probe(event)


@given(
    st.binary()
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(lambda value: json.dumps({PROBE[0]: value}).encode())
)
def test_no_other_answer_is_taken_for_one(payload: bytes) -> None:
    """Another handler's return value is refused, always with the same error."""
    with pytest.raises(DecodeError):
        ProbeAnswer.decode(payload)
