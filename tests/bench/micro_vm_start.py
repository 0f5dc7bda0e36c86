"""How soon a MicroVM of the embedded AWS runs its task, beside a warm function.

Both run the image's entry point with its packages, against one API server. The function's
environment has run a task before; every MicroVM is restored from the snapshot of its image. From
the call that starts it (`Invoke`, `RunMicrovm`) to the first line of the task. The seconds in which
AWS itself restores a MicroVM are not in these figures.

`python -m tests.bench.micro_vm_start 15` prints the seconds of so many starts as JSON. It needs the
modules of the embedded AWS, which are not installed where the benchmarks run.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambda_executor.contract.micro_vm import COMMAND, RunPayload
from lambda_executor.contract.wire import Invocation, InvocationId
from tests.bench import airflow_server
from tests.bench.airflow_server import Server
from tests.bench.workers import FIRST_LINE, IMAGE
from tests.support import micro_vms
from tests.support.handler_process import ROOT, image_variables
from tests.support.local_aws import Function, Queue
from tests.support.local_aws import Server as EmbeddedAws

MEMORY_MB = 2048
_HANDLER = "lambda_image.handler.lambda_handler"
_TIMEOUT_S = 600
#: In which the log of a task is there that has sent its result.
_LOGGED_WITHIN_S = 10.0
_LOOKS_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class _Site:
    """An embedded AWS in which the image runs both ways."""

    image: micro_vms.Image
    function: Function
    queue: Queue

    def run_micro_vm(self, workload: str) -> float:
        """Seconds to the first line of a task in a MicroVM of its own."""
        payload = RunPayload(_event(workload), _TIMEOUT_S).encode()
        began_s = time.time()
        answer = self.image.api.run_microvm(
            imageIdentifier=self.image.arn,
            executionRoleArn=self.image.role,
            maximumDurationInSeconds=_TIMEOUT_S,
            runHookPayload=payload,
        )
        self._await_result()
        return _first_line_s(lambda: self.image.log(answer["microvmId"]), began_s)

    def invoke(self, workload: str) -> float:
        """Seconds to the first line of a task in the function."""
        event = _event(workload)
        began_s = time.time()
        self.function.invoke_async(event)
        self._await_result()
        return _first_line_s(lambda: [line for _, line in self.function.log_lines()], began_s)

    def _await_result(self) -> None:
        """Wait for the result, which the process sends when its task has ended."""
        for _ in range(_TIMEOUT_S // 10):
            received = self.queue.server.client("sqs").receive_message(
                QueueUrl=self.queue.url, WaitTimeSeconds=10
            )
            if messages := received.get("Messages"):
                result = json.loads(messages[0]["Body"])
                if result["task_state"] != "success":
                    raise RuntimeError(f"a task of the benchmark has failed: {result}")
                return
        raise RuntimeError("a task of the benchmark has sent no result")


def measure(server: Server, rounds: int) -> dict[str, list[float]]:
    """Run so many tasks either way, by turns, after one each that is not counted."""
    seconds: dict[str, list[float]] = {"micro_vm": [], "warm": []}
    with _site(server) as site:
        for number in range(rounds + 1):
            micro_vm = site.run_micro_vm(server.workloads["first_line"].pop())
            warm = site.invoke(server.workloads["first_line"].pop())
            if number:  # The first one reads files that no other has read.
                seconds["micro_vm"].append(micro_vm)
                seconds["warm"].append(warm)
    return seconds


@contextmanager
def _site(server: Server) -> Iterator[_Site]:
    with tempfile.TemporaryDirectory() as folder:
        aws = EmbeddedAws(Path(folder, "aws"))
        try:
            queue = aws.queue()
            yield _Site(_image(aws, server, queue), _function(aws, server, queue), queue)
        finally:
            aws.stop()


def _function(aws: EmbeddedAws, server: Server, queue: Queue) -> Function:
    return aws.function(
        Code={"ImageUri": _container(aws, [_HANDLER])},
        Environment={"Variables": _variables(server, queue)},
        MemorySize=MEMORY_MB,
        Timeout=_TIMEOUT_S,
    )


def _image(aws: EmbeddedAws, server: Server, queue: Queue) -> micro_vms.Image:
    """The MicroVM image once it is built, as the stacks make it."""
    dockerfile = f"FROM {_container(aws, [COMMAND])}\nCMD {json.dumps([COMMAND])}\n"
    image = micro_vms.begin_image(
        aws,
        uri=micro_vms.artifact(aws, dockerfile),
        environmentVariables=_variables(server, queue),
        resources=[{"minimumMemoryInMiB": MEMORY_MB}],
        hooks=_hooks(),
    )
    ends_s = time.monotonic() + _TIMEOUT_S
    while (state := _state(image)) == "CREATING" and time.monotonic() < ends_s:
        time.sleep(_LOOKS_EVERY_S)
    if state != "CREATED":
        raise RuntimeError(f"the MicroVM image is {state}: {image.version()}")
    return image


def _state(image: micro_vms.Image) -> str:
    state: str = image.api.get_microvm_image(imageIdentifier=image.arn)["state"]
    return state


def _hooks() -> dict[str, Any]:
    groups = (("microvmImageHooks", ("ready", "validate")), ("microvmHooks", ("run", "terminate")))
    hooks: dict[str, Any] = {"port": micro_vms.HOOKS["port"]}
    for group, names in groups:
        hooks[group] = dict.fromkeys(names, "ENABLED")
        hooks[group] |= {f"{name}TimeoutInSeconds": 60 for name in names}
    return hooks


def _container(aws: EmbeddedAws, command: list[str]) -> str:
    """The URI of the image, which is made of this checkout instead of being built."""
    variables = image_variables() | {
        "PATH": f"{IMAGE}:/usr/bin:/bin",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'executor/src'}",
    }
    return aws.image(
        entry_point=["/bin/sh", str(ROOT / "lambda_image" / "entry_point.sh")],
        command=command,
        environment=variables,
    )


def _variables(server: Server, queue: Queue) -> dict[str, str]:
    return {
        "AIRFLOW__CORE__DAGS_FOLDER": server.settings["AIRFLOW__CORE__DAGS_FOLDER"],
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": server.execution_api,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URL": queue.url,
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def _event(workload: str) -> dict[str, Any]:
    id = InvocationId(f"bench-{time.time_ns()}")
    event: dict[str, Any] = json.loads(Invocation.for_workload(id, workload).encode())
    return event


def _first_line_s(log: Callable[[], list[str]], began_s: float) -> float:
    """Seconds until the first line that was told after the beginning."""
    ends_s = time.monotonic() + _LOGGED_WITHIN_S
    while time.monotonic() < ends_s:
        for at_s in map(float, FIRST_LINE.findall("\n".join(log()))):
            if at_s > began_s:
                return at_s - began_s
        time.sleep(_LOOKS_EVERY_S)
    raise RuntimeError("a task of the benchmark has not told its first line")


def main() -> None:
    """Measure, and print the figures as one line of JSON."""
    rounds = int(sys.argv[1])
    with airflow_server.running("no_op", 2 * (rounds + 1)) as server:
        seconds = measure(server, rounds)
    print(json.dumps(seconds))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
