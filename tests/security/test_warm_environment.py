"""What a malicious task reads in its execution environment, and what it leaves to the next task.

All attacks meet the same real handler, one after the other. It runs as in Lambda: with a temporary
folder of its own, without privileges, and its process is replaced when it ends. `dags/handled.py`
has the attacks; docs/reference/threat-model.md has what they show.
"""

from __future__ import annotations

import json
import secrets
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.wire import Invocation, InvocationId
from tests.support.handler_process import AS_LAMBDA, HandlerProcess, Server, processes_with, task
from tests.support.machine import on_a_small_disk, without_capabilities

DAGS = Path(__file__).parent / "dags"
#: By what this run finds the processes that its attacks leave behind, and not those of other runs.
NAP = f"86312.{secrets.randbelow(10**9):09}"

POISONS = (
    *("plants_code_in_airflow_home", "plants_code_for_python", "plants_settings_of_tools"),
    *("changes_its_process", "leaves_files_that_resist"),
    *("leaves_daemons", "leaves_a_sibling", "leaves_a_daemon_and_kills_the_zygote"),
    *("leaves_a_daemon_and_stops_the_zygote", "leaves_a_daemon_and_kills_the_handler"),
    *("leaves_system_v_objects", "leaves_system_v_objects_and_kills_the_handler"),
    *("leaves_an_abstract_socket", "throttles_its_watchers"),
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """One execution environment for all attacks."""
    folder = tmp_path_factory.mktemp("environment")
    program = [*on_a_small_disk(folder / "tmp"), *without_capabilities(), *AS_LAMBDA]
    variables = {"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "NAP_OF_ATTACKS": NAP}
    process = HandlerProcess(folder, DAGS, Server(), variables, [*program, sys.executable])
    yield process
    process.close()
    process.server.close()


def attack(environment: HandlerProcess, name: str) -> str:
    """Run a malicious task with a token of its own; returns the log."""
    workload = task(name, token=f"stolen-token-{uuid.uuid4().hex}")
    event = Invocation.for_workload(InvocationId(str(uuid.uuid4())), json.dumps(workload)).encode()
    # With a zygote that was stopped, the handler waits for the end of its time.
    _, log = environment.invoke(json.loads(event), 8 if "stops" in name else 60)
    return log


def seen(environment: HandlerProcess, name: str) -> Any:
    """What a task found that ran to its end."""
    log = attack(environment, name)
    lines = [line for line in log.splitlines() if '"event": "seen ' in line]
    assert lines, log[-1500:]
    return json.JSONDecoder().raw_decode(json.loads(lines[-1])["event"][5:])[0]


@pytest.fixture(scope="module")
def before(environment: HandlerProcess) -> Any:
    """What a task meets before any attack."""
    return seen(environment, "around")


@pytest.mark.parametrize("poison", POISONS)
def test_the_next_task_meets_nothing_of_a_malicious_one(
    environment: HandlerProcess, before: Any, poison: str
) -> None:
    """Files, code, variables, limits, processes, objects of the kernel: all as before the attack.

    The attack itself was carried out, or it would show nothing.
    """
    attempted = attack(environment, poison)
    assert '"event": "seen ' in attempted or "kills" in poison or "stops" in poison, attempted
    after = seen(environment, "around")
    assert {name: after[name] for name in after if after[name] != before[name]} == {}
    assert processes_with(NAP) == []


def test_a_task_reads_nothing_of_handler_and_zygote(environment: HandlerProcess) -> None:
    """Neither memory nor variables nor open files, by whatever way; of its own child, it does.

    What every process may read of them holds no token.
    """
    found = seen(environment, "reads_its_watchers")
    denied = {"EACCES", "EPERM"}
    for process in found["of zygote and handler"]:
        assert {how: end for how, end in process.items() if end not in denied} == {}
    assert not denied & set(found["of its own"].values())
    assert found["a token in"] == []


@pytest.mark.parametrize("death", ["dies_with_a_token", "has_its_watchers_dump_core"])
def test_no_file_has_a_token_whatever_dies(environment: HandlerProcess, death: str) -> None:
    """No core, no log, no temporary file: neither of a task nor of handler and zygote."""
    if not seen(environment, "has_its_child_dump_core"):
        pytest.skip("this machine writes the cores of nobody into the folders that are searched")
    attack(environment, death)
    assert seen(environment, "searches_files") == []


def test_a_task_inherits_no_connection(environment: HandlerProcess) -> None:
    """The handler's connections to the Execution API and to AWS are not among its descriptors."""
    assert seen(environment, "reaches_networks") == []
