"""The image as a MicroVM: its own entry point, started by `microvm`, and AWS's hooks over HTTP."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.micro_vm import COMMAND, HOOK_PATH, HOOK_PORT, RunPayload
from lambda_executor.contract.wire import Invocation, InvocationId, Outcome, Result
from tests.container.emulated import LIMITS, variables_of
from tests.container.engine import Podman
from tests.support.handler_process import Server, task

_ENDS_WITHIN_S = 60


class MicroVmContainer:
    """One container that AWS has started in the build of an image, confined as a function is."""

    def __init__(self, podman: Podman, image: str, server: Server, log: Path) -> None:
        self._podman, self._server, self._log = podman, server, log
        self._name = f"microvm-{uuid.uuid4().hex[:8]}"
        given = [f"--env={name}={value}" for name, value in variables_of(server).items()]
        run = ["run", "--rm", f"--name={self._name}", *LIMITS, "--network=host", *given, image]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                podman.command(*run, COMMAND),
                env=podman.environment,
                cwd=log.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def post(self, hook: str, body: bytes = b"") -> int:
        """Send a hook; the status of the answer, or 503 as long as nobody listens."""
        url = f"http://127.0.0.1:{HOOK_PORT}{HOOK_PATH}{hook}"
        try:
            with urllib.request.urlopen(url, body, timeout=_ENDS_WITHIN_S) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as e:
            return e.code
        except (urllib.error.URLError, ConnectionError):
            return 503

    def start(self, workload: dict[str, Any]) -> None:
        """Build the image, and run a workload."""
        self.wait_until(lambda: self.post("ready") == 200)
        assert self.post("validate") == 200
        reply_to = f"{self._server.url}/sqs/results"
        invocation = Invocation.for_workload(
            InvocationId(uuid.uuid4().hex), json.dumps(workload), reply_to=reply_to
        )
        payload = RunPayload(json.loads(invocation.encode()), 600).encode()
        body = {"microvmId": "microvm-1", "runHookPayload": payload}
        assert self.post("run", json.dumps(body).encode()) == 200

    def result(self) -> Result:
        """The one result, after which the container ends with the code of a reported end."""
        assert self._process.wait(_ENDS_WITHIN_S) == 0, self.log()
        (result,) = self._server.results
        return result

    def wait_until(self, happens: Callable[[], object]) -> None:
        """Wait until something happens while the container runs."""
        until_s = time.monotonic() + _ENDS_WITHIN_S
        while not happens():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < until_s, self.log()
            time.sleep(0.05)

    def log(self) -> str:
        """All that the container wrote."""
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        """Remove the container."""
        self._podman.call("rm", "--force", "--ignore", "--time=0", self._name)
        self._process.wait(20)


@pytest.fixture
def world() -> Iterator[Server]:
    """A world of its own, in which every task may be tried again."""
    server = Server(run_context={"should_retry": True})
    yield server
    server.close()


@pytest.fixture
def micro_vm(
    podman: Podman, image: str, world: Server, tmp_path: Path
) -> Iterator[MicroVmContainer]:
    """A container that prepares itself."""
    container = MicroVmContainer(podman, image, world, tmp_path / "log")
    yield container
    container.close()


def test_a_task_runs_in_a_micro_vm(micro_vm: MicroVmContainer, world: Server) -> None:
    """The image's entry point needs nothing but the hooks."""
    micro_vm.start(task("tells"))
    result = micro_vm.result()
    assert (result.outcome, result.return_code, result.reason) == (Outcome.COMPLETED, 0, "")
    assert result.request_id == "microvm-1"
    assert world.told_states() == ["success"]


def test_a_terminated_micro_vm_reports_its_task(micro_vm: MicroVmContainer, world: Server) -> None:
    """The hook is answered when the result has been sent, and then the container ends."""
    micro_vm.start(task("sleeps"))
    micro_vm.wait_until(lambda: "sleeping" in micro_vm.log())
    assert micro_vm.post("terminate") == 200
    assert len(world.results) == 1
    assert micro_vm.result().outcome is Outcome.DEADLINE
    assert world.told_states() == ["up_for_retry"]
