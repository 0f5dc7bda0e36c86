"""The real entry point of a job in its own process, as AWS Batch and Amazon ECS start it.

The fake Execution API and queue are those of a function's handler. Beside them are the bucket of
payloads, and the endpoints from which a container learns of itself and gets its credentials.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psutil

from lambda_executor.contract.wire import (
    Invocation,
    InvocationId,
    PayloadPointer,
    Result,
    payload_key,
)
from tests.support.handler_process import ROOT, Server, environment_of

ENTRY_POINT = ("/bin/sh", str(ROOT / "lambda_image" / "entry_point.sh"))

BUCKET = "payloads"
ID = InvocationId("4f2b8c9e-0000-4000-8000-000000000001")
#: The ECS task of every job here, and its log stream.
TASK_ID = "0123456789abcdef0123456789abcdef"
TASK_ARN = f"arn:aws:ecs:eu-west-1:123456789012:task/airflow/{TASK_ID}"
LOG_STREAM = f"airflow-task/default/{TASK_ID}"
BATCH_JOB_ID = "876da822-4198-45f2-a252-6cea32512ea8"
#: What the container's role gives.
CREDENTIALS = {
    "AccessKeyId": "ASIAEXAMPLE",
    "SecretAccessKey": "the+secret/key/of/the/role+of+the+job",
    "Token": "the-session-token-of-the-role-of-the-job",
    "Expiration": "2099-01-01T00:00:00Z",
}

#: Runs a job whose service waits for a shorter time before it kills the container.
_WITH_GRACE = """
from lambda_image.machine import stop_request
stop_request.hold()
stop_request.GRACE_S = {grace_s}
import sys
from lambda_image import job, one_workload
one_workload.end(job.main(sys.argv[1:]))
"""

_ENDS_WITHIN_S = 120


@dataclass
class JobServer(Server):
    """The world outside the container.

    Attributes:
        payloads: The objects of the bucket, by their keys.
        on_fetch: Called before a payload is given.
        has_queue: Whether the results queue is there.
        container: What the metadata endpoint says of the container.
        task: What it says of the container's task.
        metadata_failures: How many of its next answers are errors.
    """

    payloads: dict[str, bytes] = field(default_factory=dict)
    on_fetch: Callable[[], None] = lambda: None
    has_queue: bool = True
    container: Any = field(
        default_factory=lambda: {
            "LogDriver": "awslogs",
            "LogOptions": {"awslogs-group": "/aws/batch/job", "awslogs-stream": LOG_STREAM},
        }
    )
    task: Any = field(
        default_factory=lambda: {"TaskARN": TASK_ARN, "Limits": {"CPU": 1, "Memory": 4096}}
    )

    metadata_failures: int = 0

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        if path.startswith("/container") and self.metadata_failures:
            self.metadata_failures -= 1
            self._respond(request, 500, {})
        elif path.startswith("/s3/"):
            self._give_payload(request, path.removeprefix(f"/s3/{BUCKET}/"))
        elif path == "/container":
            self._respond(request, 200, self.container)
        elif path == "/container/task":
            self._respond(request, 200, self.task)
        elif path == "/credentials":
            self._respond(request, 200, CREDENTIALS)
        elif path.startswith("/sqs") and not self.has_queue:
            body = {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "gone"}
            self._respond(request, 400, body)
        else:
            super()._answer(request)

    def _give_payload(self, request: BaseHTTPRequestHandler, key: str) -> None:
        if request.command == "DELETE":
            self.payloads.pop(key, None)
            request.send_response(204)
            request.end_headers()
            return
        self.on_fetch()
        if (body := self.payloads.get(key)) is None:
            request.send_response(404)
            body = b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


class JobProcess:
    """One job, which is running once this is made."""

    def __init__(  # noqa: PLR0913 - each is one thing that a test may change
        self,
        folder: Path,
        server: JobServer,
        event: str,
        *,
        arguments: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        grace_s: float | None = None,
        program: Sequence[str | Path] = (),
    ) -> None:
        self._output = folder / "stdout"
        self.logs, temporary = folder / "logs", folder / "tmp"
        temporary.mkdir()
        if grace_s is None:
            command = [*ENTRY_POINT, "job"]
        else:
            command = [sys.executable, "-c", _WITH_GRACE.format(grace_s=grace_s)]
        programs = Path(sys.executable).parent
        given = environment_of(server, folder / "dags", temporary) | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "AIRFLOW__LAMBDA_EXECUTOR__PAYLOAD_BUCKET": BUCKET,
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.logs),
            "AWS_BATCH_JOB_ID": BATCH_JOB_ID,
            "AWS_ENDPOINT_URL_S3": f"{server.url}/s3",
            "ECS_CONTAINER_METADATA_URI_V4": f"{server.url}/container",
        }
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*program, *command, *arguments, event],
                env=given | dict(variables or {}),
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> int:
        """The exit code."""
        return self._process.wait(_ENDS_WITHIN_S)

    def stop(self) -> None:
        """Ask it to stop, as AWS does."""
        self._process.send_signal(signal.SIGTERM)

    def stop_child(self) -> None:
        """Ask the one child of its program to stop, which is the job."""
        (job,) = psutil.Process(self._process.pid).children()
        job.send_signal(signal.SIGTERM)

    def holds_the_signal(self) -> bool:
        """Whether it has begun to keep the request to stop."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        (blocked,) = (line.split()[1] for line in status.splitlines() if line[:7] == "SigBlk:")
        return bool(int(blocked, 16) >> (signal.SIGTERM - 1) & 1)

    def log(self) -> str:
        """All that it wrote."""
        return self._output.read_text(encoding="utf-8")

    def task_log(self) -> list[str]:
        """The task's log as Airflow's UI shows it."""
        (file,) = self.logs.rglob("*.log")
        return [json.loads(line)["event"] for line in file.read_text().splitlines()]

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        self._process.kill()
        self._process.wait()


class Job:
    """Starts jobs in one folder with one DAG file, `handled.py`, one after the other."""

    def __init__(self, folder: Path, dags: str) -> None:
        self._folder = folder
        self.server = JobServer()
        (folder / "dags").mkdir()
        (folder / "dags" / "handled.py").write_text(dags, encoding="utf-8")
        self.process: JobProcess | None = None

    def start(self, workload: Mapping[str, Any], **more: Any) -> JobProcess:
        """Put a workload into the bucket, as the executor does, and start its job."""
        whole = Invocation.for_workload(
            ID, json.dumps(workload), reply_to=f"{self.server.url}/sqs/results"
        )
        body, key = whole.encode(), payload_key(ID)
        self.server.payloads[key] = body
        event = whole.pointing_to(PayloadPointer(BUCKET, key, len(body))).encode().decode()
        return self.start_event(event, **more)

    def start_event(self, event: str, **more: Any) -> JobProcess:
        """Start the job of an event."""
        self.process = JobProcess(self._folder, self.server, event, **more)
        return self.process

    def run(self, workload: Mapping[str, Any], **more: Any) -> Result:
        """Run a workload to its end; the one result. The exit code is that of a reported end."""
        process = self.start(workload, **more)
        return self.ended(process)

    def ended(self, process: JobProcess) -> Result:
        """The one result of a job that ends by itself, with the exit code of a reported end."""
        assert process.wait() == 0, process.log()
        (result,) = self.server.results
        return result

    def wait_until(self, happens: Callable[[], object]) -> None:
        """Wait until something happens while the job runs."""
        until_s = time.monotonic() + _ENDS_WITHIN_S
        while not happens():
            assert self.process is not None
            assert time.monotonic() < until_s, self.process.log()
            time.sleep(0.02)

    def close(self) -> None:
        """End everything."""
        if self.process is not None:
            self.process.kill()
        self.server.close()
