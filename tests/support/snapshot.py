"""Real copies of the real handler's process, as Lambda makes them from a snapshot (SnapStart).

The template runs the init phase and the hooks before the snapshot as awslambdaric does. Each
restored environment is a copy of it by the raw system call: Python's own fork would seed `random`
anew and hide a shared past. It is process 1 of its own, as the template is, so that a process id
tells no copy from another, and has its own copy of the temporary folder.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NoReturn

import pytest

from lambda_executor.contract.wire import Invocation, InvocationId
from tests.support.handler_process import ROOT, HandlerProcess, Server, image_variables

#: The interpreter of the image's packages, and Lambda's runtime in it, which is plain Python.
IMAGE = ROOT / "build" / "venv" / "image"
_RUNTIME = ("awslambdaric", "snapshot_restore_py.py")

#: What the function's variables give a client of AWS with SnapStart, in the place of a key.
#: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html#snapstart-credentials
AUTHORIZATION = "container-authorization-token-1"

#: A new namespace of processes, and of mounts, for a program and its children.
_ISOLATED = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

_DRIVER = """
import ctypes, datetime, json, os, platform, signal, socket, sys, time, traceback, types
began_s = time.time()
offset_s, now_s = [0.0], time.time
time.time = lambda: now_s() + offset_s[0]  # The wall clock of the copies, not the monotonic one.
class Later(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.now(tz) + datetime.timedelta(seconds=offset_s[0])
control = socket.socket(fileno=int(sys.argv[1]))
from awslambdaric import lambda_runtime_hooks_runner as hooks
from lambda_image import handler
try:
    hooks.run_before_snapshot()
except BaseException as e:
    control.send(json.dumps({"error": repr(e)}).encode())
    os._exit(64)
control.send(json.dumps({"init_s": now_s() - began_s}).encode())

libc = ctypes.PyDLL(None, use_errno=True)  # No other thread runs Python during the copy.
def mount(source, target, kind, flags):
    if libc.mount(source.encode(), target.encode(), kind, flags, None):
        raise OSError(ctypes.get_errno(), "mount " + target)
CLONE_NEWPID, CLONE_NEWNS, MS_BIND = 0x20000000, 0x20000, 4096
CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]
while True:
    body, fds, _, _ = socket.recv_fds(control, 65536, 3)
    if not body:
        os._exit(0)
    if libc.syscall(CLONE, CLONE_NEWPID | CLONE_NEWNS | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        break
    for fd in fds:
        os.close(fd)
restored_s = now_s()
control.close()
os.dup2(fds[2], 1)
os.dup2(fds[2], 2)
order = json.loads(body)
mount("proc", "/proc", b"proc", 0)
mount(order["temporary"], os.environ["TMPDIR"], None, MS_BIND)
offset_s[0] = order["later_s"]
import botocore.auth, botocore.compat, botocore.credentials  # What expires, and what is signed.
later = types.SimpleNamespace(**vars(datetime) | {"datetime": Later})
botocore.auth.datetime = botocore.compat.datetime = botocore.credentials.datetime = later
answers = os.fdopen(fds[1], "w")
def answer(value):
    print(json.dumps(value), file=answers, flush=True)
try:
    hooks.run_after_restore()
except BaseException as e:
    traceback.print_exc()
    answer({"error": repr(e)})
    os._exit(65)
answer({"restored_s": restored_s})
for number, line in enumerate(os.fdopen(fds[0])):
    event, time_out_s = json.loads(line)
    if isinstance(event, str):
        answer({"value": eval(event)})
        continue
    ends_at_s = time.monotonic() + time_out_s
    context = types.SimpleNamespace(
        aws_request_id=f"request-{order['name']}-{number}",
        log_stream_name=os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME"),
        get_remaining_time_in_millis=lambda: int((ends_at_s - time.monotonic()) * 1000),
    )
    try:
        said = handler.lambda_handler(event, context)
    except Exception as error:
        said = {"raised": repr(error)}
    answer(said)
"""


class World(Server):
    """The world outside the function, with the role's credentials, new ones for every request.

    Attributes:
        credentials_live_s: How long they are valid, in seconds.
        keys: The key that signed each result, in their order.
        asked: Of every other call of SQS the key that signed it, and its connection.
        dated_at_s: When each of these calls was signed, by the function's clock.
        given_keys: The keys that were given away.
        used: The connection of each of these calls.
        refused: How many requests for credentials came without the function's token.
    """

    def __post_init__(self) -> None:
        self.credentials_live_s = 3600.0
        self.keys: list[str] = []
        self.given_keys: list[str] = []
        self.asked: list[tuple[str, object]] = []
        self.dated_at_s: list[float] = []
        self.used: list[object] = []
        self.refused = 0
        self._lock = threading.Lock()
        super().__post_init__()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path == "/credentials":
            self._give_credentials(request)
            return
        target = request.headers.get("X-Amz-Target", "")
        if not target.startswith("AmazonSQS."):
            super()._answer(request)
            return
        found = re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", ""))
        key = found[1] if found else "none"
        signed_at = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%S%z")
        with self._lock:  # The server has one request object for each connection.
            self.used.append(request)
            self.dated_at_s.append(signed_at.timestamp())
            if target == "AmazonSQS.SendMessage":
                self.keys.append(key)
            else:
                self.asked.append((key, request))
        if target == "AmazonSQS.SendMessage":
            super()._answer(request)
        else:
            request.rfile.read(int(request.headers["Content-Length"]))
            self._respond(request, 200, {})

    def _give_credentials(self, request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Authorization") != AUTHORIZATION:
            self.refused += 1
            self._respond(request, 401, {"message": "no"})
            return
        with self._lock:
            key = f"KEY{len(self.given_keys)}"
            self.given_keys.append(key)
            self.used.append(request)
        expires_at = datetime.now(UTC) + timedelta(seconds=self.credentials_live_s)
        answer = {
            "AccessKeyId": key,
            "SecretAccessKey": f"secret-of-{key}-secret",
            "Token": f"token-of-{key}-token",
            "Expiration": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self._respond(request, 200, answer)


class _Copy:
    """What `HandlerProcess` uses of a process that it started, of one that it did not start."""

    def __init__(self, stdin: int) -> None:
        self.stdin = os.fdopen(stdin, "w")

    def wait(self, timeout: float) -> None:
        """Wait for nothing: the end of the template ends every copy."""


class Restored(HandlerProcess):
    """One restored environment.

    Attributes:
        answer: What its driver said first: since when it runs, or the error of a hook.
    """

    def __init__(self, server: Server, name: str, folder: Path) -> None:
        self.server, self.ends = server, 0
        self.name = name
        self.output, self.temporary = folder / "stdout", folder / "tmp"
        theirs, stdin = os.pipe()
        answers, write = os.pipe()
        self.given = (theirs, write, os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        self._process: Any = _Copy(stdin)
        self._answers = os.fdopen(answers)

    def begin(self) -> None:
        """Wait until the hooks after the restore have ended."""
        for fd in self.given:
            os.close(fd)
        self.answer: dict[str, Any] = json.loads(self._answer() or '{"error": "gone"}')

    def value(self, expression: str) -> Any:
        """The value of an expression in the handler's process."""
        self.send(expression)
        return self.receive()["value"]

    def send(self, event: object, time_out_s: float = 60) -> None:
        """Hand it an event, and do not wait for its end."""
        print(json.dumps([event, time_out_s]), file=self._process.stdin, flush=True)

    def receive(self) -> dict[str, Any]:
        """What it answers to the event that was sent first."""
        line = self._answer()
        assert line, self.output.read_text()
        answer: dict[str, Any] = json.loads(line)
        return answer


class Snapshot:
    """A handler whose init phase has ended in a snapshot.

    Attributes:
        answer: What its driver said: how long the init phase took, or the error of a hook.
    """

    def __init__(
        self,
        folder: Path,
        server: World,
        variables: Mapping[str, str],
        python: Path = IMAGE / "bin" / "python",
    ) -> None:
        self.server = server
        self.output = folder / "stdout"
        self._folder = folder
        self._numbers = itertools.count()
        self._copies: list[Restored] = []
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self._control, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs, self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [*_isolated(), python, "-c", _DRIVER, str(theirs.fileno())],
                env=self._variables() | dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
            )
        self._control.settimeout(120)
        said = self._control.recv(65536)
        self.answer: dict[str, Any] = json.loads(said or '{"error": "the init phase failed"}')

    def _variables(self) -> dict[str, str]:
        runtime = self._folder / "runtime"
        runtime.mkdir()
        packages = next(IMAGE.glob("lib/python*/site-packages"), None)
        if packages is None:
            _cannot(f"no {IMAGE.relative_to(ROOT)}: `make test` makes it")
        for name in _RUNTIME:
            (runtime / name).symlink_to(packages / name)
        return image_variables() | {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'executor/src'}:{runtime}",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.server.url}/execution/",
            "AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URL": f"{self.server.url}/sqs/results",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "1",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.server.url}/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": AUTHORIZATION,
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": f"{self.server.url}/sqs",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "TMPDIR": str(self.temporary),
        }

    def restore(self, *, later_s: float = 0, after: Restored | None = None) -> Restored:
        """Start an environment, `later_s` seconds of the wall clock after the snapshot.

        Args:
            later_s: Between the snapshot and the restore.
            after: Another process that died: this one starts in the same environment.
        """
        copy = self.order(later_s=later_s, after=after)
        copy.begin()
        return copy

    def order(self, *, later_s: float = 0, after: Restored | None = None) -> Restored:
        """Start an environment, and do not wait for its hooks."""
        name = f"copy-{next(self._numbers)}"
        folder = self._folder / name
        folder.mkdir()
        copy = Restored(self.server, name, folder)
        if after is None:
            shutil.copytree(self.temporary, copy.temporary, symlinks=True)
        else:
            copy.temporary = after.temporary
        order = {"name": name, "temporary": str(copy.temporary), "later_s": later_s}
        socket.send_fds(self._control, [json.dumps(order).encode()], copy.given)
        self._copies.append(copy)
        return copy

    def close(self) -> None:
        """End it and all of its copies."""
        self._process.kill()  # `unshare` then kills the template, and the kernel all copies.
        self._process.wait(10)
        self._control.close()
        for copy in self._copies:
            copy._process.stdin.close()
            copy._answers.close()


@contextlib.contextmanager
def snapshot(
    folder: Path,
    dags: str,
    variables: Mapping[str, str] | None = None,
    python: Path = IMAGE / "bin" / "python",
) -> Iterator[Snapshot]:
    """A snapshot with a world of its own, and with this DAG file, `handled.py`."""
    (folder / "dags").mkdir(exist_ok=True)
    (folder / "dags" / "handled.py").write_text(dags)
    server = World()
    given = {"AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags")} | dict(variables or {})
    taken = Snapshot(folder / "template", server, given, python)
    try:
        yield taken
    finally:
        taken.close()
        server.close()


def together(copies: Sequence[Restored], workloads: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Run one workload in each environment at the same moment; their results as they were sent."""
    for copy, workload in zip(copies, workloads, strict=True):
        invocation = Invocation.for_workload(InvocationId(f"id-{copy.name}"), json.dumps(workload))
        copy.send(json.loads(invocation.encode()))
    return [copy.receive() for copy in copies]


def _isolated() -> Sequence[str]:
    """The command that gives a program its own namespaces; without one the test is skipped."""
    as_root = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    command = (_ISOLATED[0], *as_root, *_ISOLATED[1:])
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as e:
        _cannot(f"this machine gives no namespaces: {e}")
    return command


def _cannot(why: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    if "CI" in os.environ:
        pytest.fail(why)
    pytest.skip(why)
