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
import json, os, pathlib, random, ssl, tempfile, uuid
import held, torch
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
    @task
    def asks():
        held.client.list_queues()
    @task
    def prints_its_keys():
        import boto3, logging
        for log in (print, logging.getLogger("airflow.task").warning):
            log(f"KEYS {boto3.Session().get_credentials().get_frozen_credentials()}")
    @task
    def fills_its_home():
        pathlib.Path(os.environ["AIRFLOW_HOME"], "filler").write_bytes(bytes(2**20))
    for each in (says, asks, prints_its_keys, fills_its_home):
        each()

handled()
"""

#: The same without what only the first fixture's folder has.
PLAIN = DAGS.replace("import held, torch", "").replace("torch.rand()", "0")

#: Stands for a library that makes and uses a client of AWS on import, in the init phase.
HELD = """
import boto3
client = boto3.client("sqs")
client.list_queues()
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

#: Makes files around the snapshot, as a library with a cache does.
WRITES = """
import pathlib, tempfile, snapshot_restore_py
def write(name):
    pathlib.Path(tempfile.gettempdir(), name).write_text("kept")
snapshot_restore_py.register_before_snapshot(write, "before")
snapshot_restore_py.register_after_restore(write, "after")
"""

#: What the handler itself draws, in its process.
DRAWN = (
    "__import__('random').random()",
    "__import__('ssl').RAND_bytes(8).hex()",
    "next(__import__('tempfile')._get_candidate_names())",
    "__import__('torch').rand()",
    "__import__('lambda_image.machine.environment').machine.environment.hostname()",
)


#: The key that the library's client has in the handler's process.
HELD_KEY = "__import__('held').client._request_signer._credentials._access_key"


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
    packages(folder, "held", HELD)
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
    before, keys_before = set(world.used), set(world.given_keys)
    assert {key for key, _ in world.asked} & keys_before  # By a library, in the init phase.
    world.keys.clear()
    world.asked.clear()
    world.used.clear()
    copies = [taken.restore(), taken.restore()]
    for copy in copies:
        assert copy.value(HELD_KEY) is None
        copy.run(task("asks"))  # In its own process, and then in the handler's:
        copy.value("__import__('held').client.list_queues() and None")
    of_library, connections = zip(*world.asked, strict=True)
    assert len(set(connections)) == len(set(of_library)) == 4
    assert len(set(world.keys)) == 2
    assert not {*world.keys, *of_library} & keys_before
    assert not before & set(world.used)
    assert world.refused == 0


def test_a_copy_finds_nothing_of_one_that_died_in_the_same_environment(taken: Snapshot) -> None:
    """Both have the same AIRFLOW_HOME: a disk that the first one's task filled stayed full."""
    first = taken.restore()
    first.run(task("fills_its_home"))
    assert len(list(first.temporary.rglob("filler"))) == 1
    first.send("__import__('os')._exit(1)")  # As the handler ends itself when it gives up.
    assert first._answer() == ""
    second = taken.restore(after=first)
    assert list(second.temporary.rglob("filler")) == []
    result, log = second.run(task("says"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0), log


def test_nothing_of_what_is_open_is_copied_for_good() -> None:
    """Files and pipes are left alone: a pipe still ends when its writer closes it."""
    program = """
import os
from lambda_image.machine import snapshot
read, write = os.pipe()
before = sorted(os.listdir("/proc/self/fd"))
snapshot._leave_nothing()
print(sorted(os.listdir("/proc/self/fd")) == before)
os.close(write)
print(os.read(read, 1))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["True", "b''"]


def test_keys_and_tokens_are_masked_wherever_they_are_from(taken: Snapshot) -> None:
    """Whether a variable has them, or a client was given them in the task's own process."""
    copy = taken.restore()
    for task_id in ("says", "prints_its_keys", "prints_its_keys"):
        copy.run(task(task_id))
    log = copy.output.read_text()
    assert log.count("KEYS ReadOnlyCredentials(access_key='KEY") == 4, log
    assert "secret_key='***', token='***'" in log
    for secret in (AUTHORIZATION, "secret-of-", "token-of-"):
        assert secret not in log


def test_what_hooks_of_libraries_make_is_kept(tmp_path: Path) -> None:
    """The temporary folder is cleared before the first of them, and never of their files."""
    writes = packages(tmp_path, "writes", WRITES)
    with snapshot(tmp_path, "import writes\n" + PLAIN, writes) as taken:
        copy = taken.restore()
        for _ in range(2):
            _, log = copy.run(task("says"))
            for name in ("before", "after"):
                assert (copy.temporary / name).exists(), log


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
    world.credentials_live_s = 60.0  # Within ten minutes of the end, a client asks every time.
    try:
        copy.run(task("says"))
        copy.run(task("says"))
    finally:
        world.credentials_live_s = 3600.0
    first, second = world.keys
    assert first != second


def test_a_copy_of_a_week_later_works(taken: Snapshot) -> None:
    """The wall clock has jumped, the monotonic one has not, and no duration shows it."""
    world = taken.server
    keys_before = set(world.given_keys)
    world.keys.clear()
    world.dated_at_s.clear()
    world.credentials_live_s += WEEK_S
    try:
        copy = taken.restore(later_s=WEEK_S)
        result, log = copy.run(task("asks"))
    finally:
        world.credentials_live_s -= WEEK_S
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0), log
    assert not set(world.keys) & keys_before
    assert len(world.dated_at_s) == 2  # The task's call and the result, which AWS would take:
    assert all(abs(at_s - time.time() - WEEK_S) < 600 for at_s in world.dated_at_s)
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
    with snapshot(tmp_path, "import hooked\n" + PLAIN, hooked) as taken:
        answer = taken.answer
        if when == "after_restore":
            assert "init_s" in answer
            answer = taken.restore().answer
        assert answer["error"] == "ValueError('no disk for the cache')"


def test_the_source_of_the_dags_is_looked_at_again(tmp_path: Path, local_aws: LocalAws) -> None:
    """A copy runs what is there now; if nothing is, the result says so, and the next copy works."""
    bucket = Bucket(local_aws, versioned=True)
    bucket.push({"handled.py": PLAIN.replace("FACTS", "the DAG is one")})
    reach = {"AWS_ENDPOINT_URL_S3": local_aws.url, "AWS_REGION": REGION}
    with snapshot(tmp_path, "", reach | bucket.variables) as taken:
        taken.server.credentials_live_s += WEEK_S  # One copy lives a week later.
        _, log = taken.restore().run(task("says"))
        assert "the DAG is one" in log
        changed = bucket.push({"handled.py": PLAIN.replace("FACTS", "the DAG is two")})
        assert changed
        _, log = taken.restore(later_s=WEEK_S).run(task("says"))
        assert "the DAG is two" in log
        bucket.empty()
        result, log = taken.restore().run(task("says"))
        assert result.outcome is Outcome.REJECTED
        assert f"the DAG files of {bucket.uri} could not be fetched" in result.reason
        assert "the execution environment is given up" not in log
        bucket.push({"handled.py": PLAIN.replace("FACTS", "the DAG is three")})
        _, log = taken.restore().run(task("says"))
        assert "the DAG is three" in log


def test_each_minor_version_runs_in_a_copy(minor: str, tmp_path: Path) -> None:
    """Each keeps nothing in the init phase that a copy could not use."""
    with snapshot(tmp_path, PLAIN, python=python_of(minor)) as taken:
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
    with snapshot(tmp_path, PLAIN, {"AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins)}) as taken:
        assert "init_s" in taken.answer
        assert "rehearsal" not in taken.output.read_text()
        result, log = taken.restore().run(task("says"))
        assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0), log
        assert "a listener hears of it" in log
