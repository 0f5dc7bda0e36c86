"""A handler that does what its event says; runs under `awslambdaric`, so standard library only."""

import http.client
import json
import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_invocations = 0
_ALLOCATE = "import sys, time; held = b'x' * (int(sys.argv[1]) * 1024 * 1024); time.sleep(60)"


def handle(event: dict[str, Any], context: Any) -> Any:
    """Carry out the steps of the event in the order they are written here."""
    global _invocations  # noqa: PLW0603 - it shows that an environment is warm
    _invocations += 1
    _record(event, context)
    did = _do(event)
    _wait(event)
    _fail(event)
    if "return_mb" in event:
        return "x" * (event["return_mb"] * 1024 * 1024)
    return {
        "did": did,
        "invocations": _invocations,
        "request_id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "memory_mb": context.memory_limit_in_mb,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "tenant_id": getattr(context, "tenant_id", None),
        "temporary": [path.name for path in Path(tempfile.gettempdir()).iterdir()],
        "environment": dict(os.environ),
    }


def _do(event: dict[str, Any]) -> Any:
    """Carry out the step that has a result."""
    return next((step(event) for name, step in _STEPS.items() if name in event), None)


def _allocate_in_a_child(size_mb: int) -> int:
    return subprocess.run([sys.executable, "-c", _ALLOCATE, str(size_mb)], check=False).returncode


def _user() -> dict[str, Any]:
    """What a program may know about its user."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = None
    shell = subprocess.run(["sh", "-c", "echo $HOME"], capture_output=True, text=True, check=True)
    return {
        "uid": os.getuid(),
        "name": name,
        "home": os.environ.get("HOME"),
        "home_of_a_shell": shell.stdout.strip(),
        "home_can_be_written": os.access(os.path.expanduser("~"), os.W_OK),  # noqa: PTH111 - for ~
    }


def _call_runtime_api(method: str, path: str) -> list[Any]:
    """Call the Runtime API as a task could; the answer's status and JSON body."""
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=1)
    connection.request(method, f"/2018-06-01/runtime/{path}", b"{}" if method == "POST" else None)
    answer = connection.getresponse()
    return [answer.status, json.loads(answer.read())]


def _write(name: str, size_mb: int) -> int:
    """Write a file, relative to the folder of temporary files; the error's number, or 0."""
    try:
        with (Path(tempfile.gettempdir()) / name).open("wb") as file:
            for _ in range(size_mb):
                file.write(b"x" * (1024 * 1024))
    except OSError as e:
        return e.errno or -1
    return 0


_STEPS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "write": lambda event: _write(event["write"], event.get("write_mb", 0)),
    "read": lambda event: Path(event["read"]).read_text(),
    "child_allocates_mb": lambda event: _allocate_in_a_child(event["child_allocates_mb"]),
    "peak_mb": lambda event: len(b"x" * (event["peak_mb"] * 1024 * 1024)),
    "user": lambda _event: _user(),
    "runtime_api": lambda event: _call_runtime_api(*event["runtime_api"]),
}


def _record(event: dict[str, Any], context: Any) -> None:
    if "print" in event:
        print(event["print"])  # noqa: T201 - what is logged
    if "record" in event:
        _append(event["record"], {"event": event, "request_id": context.aws_request_id})
    if "leave_child" in event:
        # In a session of its own: the runtime's process group does not hold it.
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        Path(event["leave_child"]).touch()


def _wait(event: dict[str, Any]) -> None:
    if "enter" in event:
        _append(event["enter"], 1)
    if "wait_for" in event:
        while not Path(event["wait_for"]).exists():
            time.sleep(0.005)
    if "sleep_s" in event:
        time.sleep(event["sleep_s"])
    if "enter" in event:
        _append(event["enter"], -1)


def _fail(event: dict[str, Any]) -> None:
    if "allocate_mb" in event:
        held = b"x" * (event["allocate_mb"] * 1024 * 1024)
        time.sleep(len(held))
    if "exit" in event:
        os._exit(event["exit"])
    if "kill" in event:
        os.kill(os.getpid(), event["kill"])
    if "raise" in event:
        raise ValueError(event["raise"])


def _append(path: str, value: Any) -> None:
    """Add a line; one `write` to an appending descriptor, so lines never mix."""
    line = json.dumps(value) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)
