"""The image of the unmodified Dockerfile, run as Lambda runs it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from lambda_executor.contract.wire import Outcome
from tests.container.emulated import MEMORY_MB, TIMEOUT_S, USER, Emulated
from tests.support.handler_process import TOKEN, Server, task

READ_ONLY = "Read-only file system"


def returned(server: Server) -> Any:
    """The return value of the task, as the Execution API received it."""
    (value,) = (body for _, path, body in server.calls if path.endswith("/return_value"))
    return value


def states(server: Server) -> list[str]:
    """The states of the task that the Execution API received, in order."""
    told = (body for _, path, body in server.calls if path.endswith(("/run", "/state")))
    return [body["state"] for body in told]


def test_a_task_runs_to_success_confined_as_in_lambda(
    emulated: Emulated, server: Server, record_property: Callable[[str, object], None]
) -> None:
    """A task succeeds without root, capabilities or a writable folder except /tmp."""
    result = emulated.run(task("tells"))
    assert result.cold
    record_property("cold_start_ms", result.init_ms)
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0), result
    assert states(server) == ["running", "success"]
    found = returned(server)
    assert f"{found['uid']}:{found['gid']}" == USER
    assert found["capabilities"] == 0
    assert set(found["refused"].values()) == {READ_ONLY}
    assert "/var/task/dags" in found["refused"]
    assert TOKEN not in emulated.log()


def test_the_images_own_requirements_can_be_imported(emulated: Emulated, server: Server) -> None:
    """Tasks can import the packages of the build argument REQUIREMENTS."""
    result = emulated.run(task("imports"))
    assert result.return_code == 0, result
    assert returned(server) == "1,000,000"


def test_a_task_that_outgrows_the_memory_is_told_of(emulated: Emulated) -> None:
    """The kernel kills the task; the handler reports why and runs the next task."""
    result = emulated.run(task("outgrows"))
    assert (result.outcome, result.return_code) == (Outcome.CRASHED, -signal.SIGKILL), result
    assert f"memory of {MEMORY_MB} MB" in result.reason
    assert emulated.run(task("tells")).return_code == 0


def test_a_task_is_ended_before_the_function_is(emulated: Emulated, server: Server) -> None:
    """A task that takes too long fails in time, for the API and the queue."""
    begin_s = time.monotonic()
    result = emulated.run(task("sleeps"))
    assert result.outcome is Outcome.DEADLINE, result
    assert time.monotonic() - begin_s < TIMEOUT_S
    assert states(server)[-1] == "failed"
