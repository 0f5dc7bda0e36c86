"""One container of the image under AWS's own Runtime Interface Emulator, as Lambda would hold it.

Owns the limits of the container and sends it events.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lambda_executor.contract.wire import Invocation, InvocationId, Result
from tests.container.engine import Podman
from tests.support.handler_process import Server

MEMORY_MB = 512
TIMEOUT_S = 20
#: As Lambda's: neither root nor an account that the image has.
USER = "993:990"
_START_TIMEOUT_S = 15
_INVOKE_PATH = "/2015-03-31/functions/function/invocations"

#: What Lambda gives a function: a root that is read only, no capability, 512 MB of /tmp.
#: https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#images-reqs
LIMITS = (
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp:size=512m"),
    *("--cap-drop=all", "--security-opt=no-new-privileges", f"--user={USER}"),
    *(f"--memory={MEMORY_MB}m", f"--memory-swap={MEMORY_MB}m", "--cpus=2"),
)


class Emulated:
    """An execution environment in a container, between an Execution API and a queue for tests."""

    def __init__(
        self, podman: Podman, image: str, server: Server, log: Path, variables: Mapping[str, str]
    ) -> None:
        self._podman, self._server, self._log = podman, server, log
        self._name = f"emulated-{uuid.uuid4().hex[:8]}"
        self._port, runtime_port = _free_ports()
        environment = {**_variables(server), **variables}
        given = [f"--env={name}={value}" for name, value in environment.items()]
        run = ["run", "--rm", f"--name={self._name}", *LIMITS, "--network=host", *given]
        emulator = [
            *("--entrypoint", "/usr/local/bin/aws-lambda-rie", image),
            *("--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"),
            *("--runtime-api-address", f"127.0.0.1:{runtime_port}"),
            *("/var/runtime/bootstrap", "handler.lambda_handler"),
        ]
        self.started_s = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                podman.command(*run, *emulator),
                env=podman.environment,
                cwd=log.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_it_listens()

    def run(self, workload: Mapping[str, Any]) -> Result:
        """Invoke with a workload; the one result in the queue."""
        self._server.results.clear()
        self._server.calls.clear()
        invocation = Invocation.for_workload(InvocationId(uuid.uuid4().hex), json.dumps(workload))
        answer = self._invoke(json.loads(invocation.encode()))
        assert len(self._server.results) == 1, f"{answer}\n{self.log()}"
        return self._server.results[0]

    def log(self) -> str:
        """All that the container wrote."""
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        """Remove the container."""
        self._podman.call("rm", "--force", "--ignore", "--time=0", self._name)
        self._process.wait(20)

    def _invoke(self, event: object) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S + 20)
        connection.request("POST", _INVOKE_PATH, json.dumps(event))
        with connection.getresponse() as response:
            answer = response.read().decode(errors="replace")
        connection.close()
        return answer

    def _wait_until_it_listens(self) -> None:
        while time.monotonic() < self.started_s + _START_TIMEOUT_S:
            assert self._process.poll() is None, self.log()
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"the emulator did not listen in time: {self.log()}")


def variables_of(server: Server) -> dict[str, str]:
    """What any container needs to reach the Execution API and the queue."""
    return {
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{server.url}/execution/",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": f"{server.url}/sqs",
    }


def _variables(server: Server) -> dict[str, str]:
    return {
        **variables_of(server),
        "AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URL": f"{server.url}/sqs/results",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(TIMEOUT_S),
    }


def _free_ports() -> tuple[int, int]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return one.getsockname()[1], two.getsockname()[1]
