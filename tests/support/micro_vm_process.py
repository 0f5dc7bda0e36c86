"""The real entry point of a MicroVM in its own process, with the hooks that AWS sends over HTTP.

The world outside is that of a job. Beside it is the endpoint of the instance's metadata, from which
a MicroVM gets the credentials of its execution role.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psutil

from lambda_executor.contract.micro_vm import HOOK_PATH, RunPayload
from lambda_executor.contract.wire import (
    Invocation,
    PayloadPointer,
    Result,
    micro_vm_key,
    payload_key,
)
from tests.support.handler_process import environment_of
from tests.support.job_process import BUCKET, CREDENTIALS, ID, JobServer

MICRO_VM_ID = "microvm-0123456789abcdef0"

#: Runs a MicroVM at an address of its own, because tests run beside each other.
_PROGRAM = """
from lambda_image import micro_vm, one_workload
from lambda_image.machine import stop_request
stop_request.GRACE_S = {grace_s}
one_workload.end(micro_vm.main(("127.0.0.1", {port})))
"""

_METADATA = "/latest/meta-data/iam/security-credentials/"
_ENDS_WITHIN_S = 120


@dataclass
class MicroVmServer(JobServer):
    """The world outside the MicroVM.

    Attributes:
        asked: The path of every request, in their order.
    """

    asked: list[str] = field(default_factory=list)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        if request.path == "/latest/api/token":
            self._write(request, 200, b"a-token")
        elif request.path == _METADATA:
            self._write(request, 200, b"execution_role")
        elif request.path == f"{_METADATA}execution_role":
            self._respond(request, 200, CREDENTIALS | {"Code": "Success"})
        else:
            super()._answer(request)


class MicroVm:
    """One process that AWS has started in the build of an image, and that may be given its run."""

    def __init__(
        self,
        folder: Path,
        server: MicroVmServer,
        *,
        variables: Mapping[str, str] | None = None,
        grace_s: float = 30.0,
        python: Path | None = None,
    ) -> None:
        self.server = server
        self._output = folder / "stdout"
        self.logs, self.temporary = folder / "logs", folder / "tmp"
        self.temporary.mkdir()
        port = _free_port()
        self._hooks = f"http://127.0.0.1:{port}{HOOK_PATH}"
        given = environment_of(server, folder / "dags", self.temporary) | {
            "AIRFLOW__LAMBDA_EXECUTOR__PAYLOAD_BUCKET": BUCKET,
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.logs),
            "AWS_ENDPOINT_URL_S3": f"{server.url}/s3",
        }
        del given["AWS_DEFAULT_REGION"]  # Only the other one is set in a MicroVM.
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [python or sys.executable, "-c", _PROGRAM.format(port=port, grace_s=grace_s)],
                env=given | dict(variables or {}),
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def post(self, hook: str, body: bytes = b"") -> tuple[int, str]:
        """Send one hook; the status and the text of the answer."""
        request = urllib.request.Request(self._hooks + hook, data=body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=_ENDS_WITHIN_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def asked_until_it_answers(self, hook: str, *, again_on: int = 0) -> tuple[int, str]:
        """Send a hook until there is an answer, and for as long as it has this status."""
        answers: list[tuple[int, str]] = []

        def is_answered() -> bool:
            try:
                answers.append(self.post(hook))
            except (urllib.error.URLError, ConnectionError):
                assert self._process.poll() is None, self.log()
                return False
            return answers[-1][0] != again_on

        self.wait_until(is_answered)
        return answers[-1]

    def prepare(self) -> None:
        """Build the image: ask until the process is ready."""
        assert self.asked_until_it_answers("ready", again_on=503) == (200, ""), self.log()

    def body(self, workload: Mapping[str, Any], timeout_s: int = 600) -> bytes:
        """The body of `/run` for a workload, with what the executor puts into the bucket."""
        whole = Invocation.for_workload(
            ID, json.dumps(workload), reply_to=f"{self.server.url}/sqs/results"
        )
        raw, key = whole.encode(), payload_key(ID)
        self.server.payloads[key] = raw
        self.server.payloads[micro_vm_key(ID)] = MICRO_VM_ID.encode()
        event = whole.pointing_to(PayloadPointer(BUCKET, key, len(raw))).encode()
        return run_body(RunPayload(json.loads(event), timeout_s).encode())

    def start(self, workload: Mapping[str, Any], timeout_s: int = 600) -> None:
        """Have it run a workload, once it is prepared."""
        self.prepare()
        assert self.post("run", self.body(workload, timeout_s)) == (200, ""), self.log()

    def run(self, workload: Mapping[str, Any], timeout_s: int = 600) -> Result:
        """Run a workload to its end; the one result."""
        self.start(workload, timeout_s)
        return self.ended()

    def ended(self) -> Result:
        """The one result of a MicroVM that ends by itself, with the code of a reported end."""
        assert self.wait() == 0, self.log()
        (result,) = self.server.results
        return result

    def wait(self) -> int:
        """The exit code."""
        return self._process.wait(_ENDS_WITHIN_S)

    def wait_until(self, happens: Callable[[], object]) -> None:
        """Wait until something happens."""
        until_s = time.monotonic() + _ENDS_WITHIN_S
        while not happens():
            assert time.monotonic() < until_s, self.log()
            time.sleep(0.02)

    def terminate_by_signal(self) -> None:
        """Ask it to stop as a job is asked."""
        self._process.send_signal(signal.SIGTERM)

    def threads_and_children(self) -> tuple[int, int]:
        """How many threads the process has, and how many children."""
        process = psutil.Process(self._process.pid)
        return process.num_threads(), len(process.children())

    def log(self) -> str:
        """All that it wrote."""
        return self._output.read_text(encoding="utf-8")

    def lines(self) -> list[dict[str, Any]]:
        """All that it wrote, of which each line is JSON."""
        return [json.loads(line) for line in self.log().splitlines()]

    def task_log(self) -> list[str]:
        """The task's log as Airflow's UI shows it."""
        (file,) = self.logs.rglob("*.log")
        return [json.loads(line)["event"] for line in file.read_text().splitlines()]

    def close(self) -> None:
        """End it at once, if it has not ended."""
        self._process.kill()
        self._process.wait()


def run_body(payload: str) -> bytes:
    """The body of `/run` with this payload."""
    return json.dumps({"microvmId": MICRO_VM_ID, "runHookPayload": payload}).encode()


class Builder:
    """Starts MicroVMs, one after the other, in one folder with one DAG file, `handled.py`."""

    def __init__(self, folder: Path, dags: str) -> None:
        self.folder = folder
        self.server = MicroVmServer()
        (folder / "dags").mkdir()
        (folder / "dags" / "handled.py").write_text(dags, encoding="utf-8")
        self._started: list[MicroVm] = []

    def build(self, **more: Any) -> MicroVm:
        """Start a process, which prepares itself."""
        self._started.append(MicroVm(self.folder, self.server, **more))
        return self._started[-1]

    def close(self) -> None:
        """End everything."""
        for each in self._started:
            each.close()
        self.server.close()


@contextmanager
def builder_of(folder: Path, dags: str) -> Iterator[Builder]:
    """A builder with a world of its own, in which every task may be tried again."""
    builder = Builder(folder, dags)
    builder.server.run_context = {"should_retry": True}
    try:
        yield builder
    finally:
        builder.close()


def metadata_variables(server: MicroVmServer) -> dict[str, str]:
    """Variables with which only the metadata endpoint has credentials, as in a MicroVM."""
    none = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    return none | {
        "AWS_EC2_METADATA_DISABLED": "",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{server.url}/",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
