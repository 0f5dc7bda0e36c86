"""The real handler in its own process, between a fake Execution API and a fake queue.

One HTTP server is both: it answers the handler and Airflow's task runtime, and keeps their calls.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lambda_executor.contract.wire import Invocation, InvocationId, Result
from tests.support.distribution import installed

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "eyJhbGciOiJub25lIn0.c2VjcmV0.bm90LWEtdG9rZW4"

#: Longer than any workload of a test takes, in seconds.
_ANSWERS_WITHIN_S = 300

#: Answers each line of stdin (an event) on the file descriptor given, as Lambda's runtime would.
_DRIVER = """
import json, os, sys, time, types
from lambda_image.handler import lambda_handler
answers = os.fdopen(int(sys.argv[1]), "w")
for number, line in enumerate(sys.stdin):
    event, time_out_s = json.loads(line)
    ends_at_s = time.monotonic() + time_out_s
    context = types.SimpleNamespace(
        aws_request_id=f"request-{number}",
        log_stream_name="stream",
        get_remaining_time_in_millis=lambda: int((ends_at_s - time.monotonic()) * 1000),
    )
    try:
        answer = lambda_handler(event, context)
    except Exception as error:
        answer = {"raised": repr(error)}
    print(json.dumps(answer), file=answers, flush=True)
"""

#: Starts the program given again whenever it fails, and says so in its answers (the descriptor of
#: its last argument): Lambda starts another process in the same execution environment, too.
AS_LAMBDA = (
    *("sh", "-c"),
    """
    for answers; do :; done
    until "$@"; do echo "{\\"ended\\": $?}" >/proc/self/fd/$answers; done
    """,
    "sh",
)

_RUN_CONTEXT = {
    "dag_run": {
        "dag_id": "handled",
        "run_id": "run",
        "logical_date": "2026-01-01T00:00:00Z",
        "data_interval_start": None,
        "data_interval_end": None,
        "run_after": "2026-01-01T00:00:00Z",
        "start_date": "2026-01-01T00:00:00Z",
        "end_date": None,
        "run_type": "manual",
        "state": "running",
        "consumed_asset_events": [],
        "partition_key": None,
    },
    "max_tries": 0,
    "xcom_keys_to_clear": [],
    "should_retry": False,
}


@dataclass
class Server:
    """The world outside the function.

    Attributes:
        start_answer: Status and detail with which the next starts are refused; None: they may run.
            Status 0 closes the connection without an answer.
        script: What the next calls get whose path has this end, instead of the usual: a status and
            a detail each, one a call. Status 0 calls the detail, if it is a function, and closes
            the connection without an answer.
        is_gone: Whether every call to the Execution API ends without an answer.
        connections: What the Execution API says of connections, by their id.
        found: What the Execution API answers to other paths, by their end.
        on_result: Called when a result arrives, before the handler hears that it did.
        on_secret: Called before a secret is given.
        silent_on: End of the paths that are not answered for as long as it is set.
        run_context: What a task is started with, besides the usual.
        secrets: What Secrets Manager holds, by the secret's ARN; it denies every other secret.
        asked_for: The secrets that the function asked for.
        calls: What the Execution API was told: method, path, body.
        results: The messages in the queue.
    """

    start_answer: tuple[int, Any] | None = None
    script: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    is_gone: bool = False
    silent_on: str | None = None
    run_context: dict[str, Any] = field(default_factory=dict)
    connections: dict[str, Any] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    on_result: Callable[[], None] = lambda: None
    on_secret: Callable[[], None] = lambda: None
    secrets: dict[str, str] = field(default_factory=dict)
    asked_for: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                world._answer(self)

            do_GET = do_PATCH = do_PUT = do_DELETE = do_POST  # noqa: N815 - http.server's names

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        raw = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        body: Any = json.loads(raw) if raw else None
        if request.headers.get("X-Amz-Target") == "secretsmanager.GetSecretValue":
            self._give_secret(request, body["SecretId"])
            return
        if request.path.startswith("/sqs"):
            self.on_result()
            self.results.append(Result.decode(body["MessageBody"]))
            digest = hashlib.md5(body["MessageBody"].encode()).hexdigest()
            self._respond(request, 200, {"MessageId": "m", "MD5OfMessageBody": digest})
            return
        self.calls.append((request.command, request.path, body))
        if self.is_gone:
            request.close_connection = True
            return
        while self.silent_on is not None and request.path.endswith(self.silent_on):
            time.sleep(0.05)
        if self._is_scripted(request):
            return
        if request.path.endswith("/run"):
            status, detail = self.start_answer or (200, None)
            if not status:
                request.close_connection = True
                return
            context: Any = copy.deepcopy(_RUN_CONTEXT | self.run_context)
            if request.headers["airflow-api-version"] < "2026":  # Airflow 3.0, 3.1
                del context["dag_run"]["partition_key"]
            self._respond(request, status, {"detail": detail} if detail else context)
        elif request.path.endswith("/connection"):
            self._respond(request, 200, {"conn_id": "c", "conn_type": "no_such_type"})
        else:
            path = request.path.partition("?")[0]
            known = self.connections.get(path.rpartition("/connections/")[2])
            found = [body for end, body in self.found.items() if path.endswith(end)]
            self._respond(request, 200, known or (found[0] if found else {}))

    def _give_secret(self, request: BaseHTTPRequestHandler, arn: str) -> None:
        self.asked_for.append(arn)
        self.on_secret()
        if (secret := self.secrets.get(arn)) is None:
            self._respond(request, 400, {"__type": "AccessDeniedException", "Message": "no"})
        else:
            self._respond(request, 200, {"SecretString": secret})

    def _is_scripted(self, request: BaseHTTPRequestHandler) -> bool:
        """Do what the script says about this call, if anything."""
        answers = self.script.get("/" + request.path.partition("?")[0].rpartition("/")[2])
        if not answers:
            return False
        status, detail = answers.pop(0)
        if status:
            self._respond(request, status, {"detail": detail})
            return True
        if callable(detail):
            detail()
        request.close_connection = True
        return True

    def told_states(self) -> list[str]:
        """The states that the Execution API was told."""
        return [body["state"] for _, path, body in self.calls if path.endswith("/state")]

    @staticmethod
    def _respond(request: BaseHTTPRequestHandler, status: int, body: Any) -> None:
        raw = json.dumps(body).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # It has given up.
            Server._write(request, status, raw)

    @staticmethod
    def _write(request: BaseHTTPRequestHandler, status: int, raw: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(raw)))
        request.end_headers()
        request.wfile.write(raw)


class HandlerProcess:
    """One execution environment with the real handler; warm after its start.

    Attributes:
        ends: How often its process ended and was replaced, with `AS_LAMBDA` in its program.
    """

    def __init__(
        self,
        folder: Path,
        dags: Path,
        server: Server,
        variables: Mapping[str, str] | None = None,
        program: Sequence[str | Path] = (sys.executable,),
    ) -> None:
        self.server = server
        self.ends = 0
        self.output = folder / "stdout"
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        given = environment_of(server, dags, self.temporary) | _OF_A_FUNCTION
        answers, write = os.pipe()
        try:
            with self.output.open("wb") as output:
                self._process = subprocess.Popen(
                    [*program, "-c", _DRIVER, str(write)],
                    env=given | dict(variables or {}),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=[write],
                    text=True,
                )
        except OSError:
            os.close(answers)
            raise
        finally:
            os.close(write)
        self._answers = os.fdopen(answers)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def run(self, workload: Mapping[str, Any], time_out_s: float = 900) -> tuple[Result, str]:
        """Invoke with a workload; the result from the queue, and what stdout got meanwhile."""
        self.server.results.clear()
        invocation = Invocation.for_workload(InvocationId("id-1"), json.dumps(workload))
        answer, log = self.invoke(json.loads(invocation.encode()), time_out_s)
        assert "raised" not in answer, answer
        (result,) = self.server.results
        return result, log

    def invoke(self, event: object, time_out_s: float = 900) -> tuple[dict[str, Any], str]:
        """Invoke with any event, in a function with this time-out."""
        self.server.calls.clear()
        before = self.output.stat().st_size
        assert self._process.stdin is not None
        print(json.dumps([event, time_out_s]), file=self._process.stdin, flush=True)
        line = self._answer()
        log = self.output.read_bytes()[before:].decode()
        assert line, log
        answer: dict[str, Any] = json.loads(line)
        self.ends += "ended" in answer
        return answer, log

    def _answer(self) -> str:
        """The next line of its answers; empty if it has ended."""
        ready, _, _ = select.select([self._answers], [], [], _ANSWERS_WITHIN_S)
        assert ready, f"no answer in {_ANSWERS_WITHIN_S} s: {self.output.read_text()}"
        return self._answers.readline()

    def close(self) -> None:
        """End the process the usual way."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._answers.close()


def task(task_id: str, **changes: Any) -> dict[str, Any]:
    """A task as the scheduler hands it to an executor."""
    ti = {
        "id": str(uuid.uuid4()),
        "dag_version_id": str(uuid.uuid4()),
        "task_id": task_id,
        "dag_id": "handled",
        "run_id": "run",
        "try_number": 1,
        "map_index": -1,
        "pool_slots": 1,
        "queue": "default",
        "priority_weight": 1,
    }
    return {
        "type": "ExecuteTask",
        "token": TOKEN,
        "dag_rel_path": "handled.py",
        "bundle_info": {"name": "dags-folder", "version": None},
        "log_path": f"run/{ti['id']}/attempt=1.log",
        "ti": ti,
        **changes,
    }


@contextlib.contextmanager
def running(
    folder: Path,
    dags: str,
    variables: Mapping[str, str] | None = None,
    program: Sequence[str | Path] = (sys.executable,),
) -> Iterator[HandlerProcess]:
    """An environment with an API server of its own, and with this DAG file, `handled.py`."""
    (folder / "dags").mkdir(exist_ok=True)
    (folder / "dags" / "handled.py").write_text(dags)
    server = Server()
    process = HandlerProcess(folder, folder / "dags", server, variables, program)
    try:
        yield process
    finally:
        process.close()
        server.close()


#: What Lambda sets, besides.
_OF_A_FUNCTION = {
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]abc",
}


def environment_of(server: Server, dags: Path, temporary: Path) -> dict[str, str]:
    """The environment of a process of the image that finds this server everywhere."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{installed(temporary.parent / 'site')}",
        **image_variables(),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{server.url}/execution/",
        "AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URL": f"{server.url}/sqs/results",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": f"{server.url}/sqs",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TMPDIR": str(temporary),
    }


def image_variables() -> dict[str, str]:
    """The environment that the Dockerfile gives the image, but for where its modules are."""
    text = (ROOT / "lambda_image" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^ENV (.*)$", text, re.MULTILINE)
    variables = dict(word.split("=", 1) for word in line.split())
    del variables["PYTHONPATH"]
    return variables


def processes_with(argument: str) -> list[int]:
    """The processes of this machine that have this argument."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names only
        try:
            arguments = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argument.encode() in arguments:
            found.append(int(entry))
    return found


def connection_test(
    connection_id: str = "c", token: str = TOKEN, timeout_s: int = 5
) -> dict[str, Any]:
    """A connection test as the scheduler hands it to an executor."""
    return {
        "type": "TestConnection",
        "token": token,
        "connection_test_id": str(uuid.uuid4()),
        "connection_id": connection_id,
        "timeout": timeout_s,
    }
