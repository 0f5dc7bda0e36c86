"""Environments that are copies of one snapshot of the real handler (SnapStart)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.log_lines import RESTORED
from lambda_executor.contract.wire import Outcome
from tests.support.dag_bucket import Bucket
from tests.support.handler_process import ROOT, task
from tests.support.local_aws import REGION
from tests.support.local_aws import Server as LocalAws
from tests.support.minors import python_of
from tests.support.snapshot import AUTHORIZATION, Restored, Snapshot, snapshot, together

WEEK_S = 7 * 24 * 3600

#: What a task finds that must be no other task's.
DAGS = """
import json, os, random, ssl, tempfile, uuid
import torch
from airflow.sdk import dag, task

@dag(schedule=None)
def handled():
    @task
    def says():
        import boto3
        print("FACTS", json.dumps({
            "id": str(uuid.uuid4()),
            "random": random.random(),
            "torch": torch.rand(),
            "openssl": ssl.RAND_bytes(8).hex(),
            "folder": os.path.basename(tempfile.mkdtemp()),
            "key": boto3.Session().get_credentials().access_key,
        }))
        print("the function's token is", os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
    says()

handled()
"""

#: Stands for a library that seeds a generator on import, as PyTorch and NumPy do.
SEEDED = """
import random
_generator = random.Random()
seed, rand = _generator.seed, _generator.random
"""

#: Registers hooks on import, as a library that knows SnapStart does.
HOOKED = """
import snapshot_restore_py
@snapshot_restore_py.register_{when}
def hook():
    raise ValueError("no disk for the cache")
"""

#: What the handler itself draws, in its process.
DRAWN = (
    "__import__('random').random()",
    "__import__('ssl').RAND_bytes(8).hex()",
    "next(__import__('tempfile')._get_candidate_names())",
    "__import__('torch').rand()",
    "__import__('lambda_image.machine.environment').machine.environment.hostname()",
)


def packages(folder: Path, name: str, text: str) -> dict[str, str]:
    """The variable with which Python finds one more installed module."""
    place = folder / "packages"
    place.mkdir(exist_ok=True)
    (place / f"{name}.py").write_text(text)
    runtime = folder / "template" / "runtime"
    return {"PYTHONPATH": f"{ROOT}:{ROOT / 'executor/src'}:{runtime}:{place}"}


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    """One snapshot for all tests."""
    folder = tmp_path_factory.mktemp("snapshot")
    with snapshot(folder, DAGS, packages(folder, "torch", SEEDED)) as taken:
        assert "init_s" in taken.answer, taken.output.read_text()
        assert taken.server.calls == []  # No API server hears of the rehearsal.
        yield taken


def facts(copy: Restored) -> dict[str, Any]:
    """What the last task in an environment found."""
    *_, found = re.findall(r"FACTS (\{.*?\})", copy.output.read_text().replace('\\"', '"'))
    told: dict[str, Any] = json.loads(found)
    return told


def test_two_copies_share_nothing(taken: Snapshot) -> None:
    """Their tasks, at the same moment, find no id, number, name or credential of each other's."""
    taken.server.calls.clear()
    copies = [taken.restore(), taken.restore()]
    for result in together(copies, [task("says"), task("says")]):
        assert (result["outcome"], result["return_code"]) == ("completed", 0), result
    first, second = map(facts, copies)
    assert {name for name in first if first[name] == second[name]} == set()
    starts = [body for _, path, body in taken.server.calls if path.endswith("/run")]
    assert len({start["hostname"] for start in starts}) == 2  # Airflow's names for them.
    assert len({start["pid"] for start in starts}) == 1  # As in copies of a machine.


def test_the_handlers_of_two_copies_draw_different_numbers(taken: Snapshot) -> None:
    """Every generator that the init phase has used is seeded anew."""
    first, second = taken.restore(), taken.restore()
    for expression in DRAWN:
        assert first.value(expression) != second.value(expression)


def test_two_tasks_of_one_copy_draw_different_numbers(taken: Snapshot) -> None:
    """They are forked from the same zygote, whose generators never move on."""
    copy = taken.restore()
    drawn = []
    for _ in range(2):
        copy.run(task("says"))
        drawn.append(facts(copy)["torch"])
    assert drawn[0] != drawn[1]


def test_no_connection_and_no_key_survives_a_snapshot(taken: Snapshot) -> None:
    """Each copy opens its own, and signs with a key that it was given itself."""
    world = taken.server
    assert world.given_keys  # The init phase makes clients, which ask for one.
    peers_before, keys_before = list(world.peers), set(world.given_keys)
    world.keys.clear()
    copies = [taken.restore(), taken.restore()]
    for copy in copies:
        copy.run(task("says"))
    assert len(set(world.keys)) == 2
    assert not set(world.keys) & keys_before
    assert not set(world.peers[len(peers_before) :]) & set(peers_before)
    assert world.refused == 0
    assert AUTHORIZATION not in "".join(copy.output.read_text() for copy in copies)


def test_a_connection_does_not_survive_and_a_listener_does() -> None:
    """The owner of a connection finds it closed, as after its peer's end."""
    program = """
import socket
from lambda_image.machine import snapshot
listener = socket.create_server(("127.0.0.1", 0))
connection = socket.create_connection(listener.getsockname())
peer = listener.accept()[0]
ours, theirs = socket.socketpair()
snapshot._leave_nothing()
print(connection.recv(1), peer.recv(1))
ours.send(b"kept")
socket.create_connection(listener.getsockname())
print(theirs.recv(4), listener.accept()[0].fileno() > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True
    )
    assert done.stdout.splitlines() == ["b'' b''", "b'kept' True"]


def test_credentials_are_fetched_again_when_they_expire(taken: Snapshot) -> None:
    """In the life of a copy, as in any process with a container's credentials."""
    world, copy = taken.server, taken.restore()
    world.keys.clear()
    world.credentials_live_s = 1.0
    try:
        copy.run(task("says"))
        copy.run(task("says"))
    finally:
        world.credentials_live_s = 3600.0
    first, second = world.keys
    assert first != second


def test_a_copy_of_a_week_later_works(taken: Snapshot) -> None:
    """The wall clock has jumped, the monotonic one has not, and no duration shows it."""
    copy = taken.restore(later_s=WEEK_S)
    result, log = copy.run(task("says"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0), log
    assert result.started_at_s is not None
    assert abs(result.started_at_s - time.time() - WEEK_S) < 600
    assert result.run_ms is not None
    assert result.run_ms < 600_000
    assert result.restore_ms is not None
    assert result.restore_ms < 600_000


def test_only_the_first_result_tells_of_the_restore(taken: Snapshot) -> None:
    """It takes the place of the init phase, which belongs to the snapshot."""
    copy = taken.restore()
    first, log = copy.run(task("says"))
    second, _ = copy.run(task("says"))
    assert (first.cold, first.init_ms, first.restore_ms is not None) == (True, None, True)
    assert (second.cold, second.init_ms, second.restore_ms) == (False, None, None)
    (settled,) = [json.loads(line) for line in log.splitlines() if "invocation settled" in line]
    assert settled["restore_ms"] == first.restore_ms


def test_the_log_of_a_copy_is_found_by_its_name_in_airflow(taken: Snapshot) -> None:
    """No variable names the stream, so the log itself has the name, and the result the request."""
    copy = taken.restore()
    result, _ = copy.run(task("says"))
    (start,) = [body for _, path, body in taken.server.calls if path.endswith("/run")]
    lines = map(json.loads, copy.output.read_text().splitlines())
    (restored,) = [line for line in lines if line["event"] == RESTORED]
    assert restored["hostname"] == start["hostname"]
    assert result.log_stream is None
    assert result.request_id == f"request-{copy.name}-0"


@pytest.mark.parametrize("when", ["before_snapshot", "after_restore"])
def test_a_hook_that_fails_has_its_reason_read(tmp_path: Path, when: str) -> None:
    """The deploy fails with it, or the restore does."""
    hooked = packages(tmp_path, "hooked", HOOKED.format(when=when))
    with snapshot(tmp_path, "import hooked\n" + DAGS.replace("import torch", ""), hooked) as taken:
        answer = taken.answer
        if when == "after_restore":
            assert "init_s" in answer
            answer = taken.restore().answer
        assert answer["error"] == "ValueError('no disk for the cache')"


def test_the_source_of_the_dags_is_looked_at_again(tmp_path: Path, local_aws: LocalAws) -> None:
    """A copy runs what is there now; if nothing is, the result says so, and the next copy works."""
    bucket = Bucket(local_aws, versioned=True)
    dag = DAGS.replace("import torch", "").replace("torch.rand()", "0")
    bucket.push({"handled.py": dag.replace("FACTS", "the DAG is one")})
    reach = {"AWS_ENDPOINT_URL_S3": local_aws.url, "AWS_REGION": REGION}
    with snapshot(tmp_path, "", reach | bucket.variables) as taken:
        _, log = taken.restore().run(task("says"))
        assert "the DAG is one" in log
        changed = bucket.push({"handled.py": dag.replace("FACTS", "the DAG is two")})
        assert changed
        _, log = taken.restore(later_s=WEEK_S).run(task("says"))
        assert "the DAG is two" in log
        bucket.empty()
        result, log = taken.restore().run(task("says"))
        assert result.outcome is Outcome.REJECTED
        assert f"the DAG files of {bucket.uri} could not be fetched" in result.reason
        assert "the execution environment is given up" not in log
        bucket.push({"handled.py": dag.replace("FACTS", "the DAG is three")})
        _, log = taken.restore().run(task("says"))
        assert "the DAG is three" in log


def test_each_minor_version_runs_in_a_copy(minor: str, tmp_path: Path) -> None:
    """Each keeps nothing in the init phase that a copy could not use."""
    dags = DAGS.replace("import torch", "").replace("torch.rand()", "0")
    with snapshot(tmp_path, dags, python=python_of(minor)) as taken:
        log = taken.output.read_text()
        assert "init_s" in taken.answer, log
        assert '"final_state": "success"' in log or "Task finished" in log, log  # The rehearsal's.
        assert "no rehearsal" not in log
        copies = [taken.restore(), taken.restore()]
        for result in together(copies, [task("says"), task("says")]):
            assert (result["outcome"], result["return_code"]) == ("completed", 0), result
        assert facts(copies[0])["id"] != facts(copies[1])["id"]


LISTENER = """
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

class Listener:
    @hookimpl
    def on_starting(self, component):
        print("a listener hears of it")

class Plugin(AirflowPlugin):
    name = "tells"
    listeners = [Listener()]
"""


def test_nobody_hears_of_the_rehearsal(tmp_path: Path) -> None:
    """Where a listener would, there is none, and tasks run all the same."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "tells.py").write_text(LISTENER)
    dags = DAGS.replace("import torch", "").replace("torch.rand()", "0")
    with snapshot(tmp_path, dags, {"AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins)}) as taken:
        assert "init_s" in taken.answer
        assert "rehearsal" not in taken.output.read_text()
        result, log = taken.restore().run(task("says"))
        assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0), log
        assert "a listener hears of it" in log
