"""A MicroVM's main process: a hook server, then what the payload of `/run` says.

One thread, standard library only; `boto3` is imported when it is asked for.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

_PREFIX = "/aws/lambda-microvms/runtime/v1/"
#: What the image's variables say about the hooks: `{"ready": [503, 200]}` are its answers in order.
_ANSWERS: dict[str, list[int]] = json.loads(os.environ.get("ANSWERS", "{}"))
#: A file with other answers, which need not exist.
_OTHER_ANSWERS = os.environ.get("OTHER_ANSWERS", "")
_TEMPORARY = os.environ.get("TMPDIR", "/tmp")
#: Made before the snapshot, so equal in all MicroVMs.
_RANDOM = random.Random(os.urandom(8))
_MADE = _RANDOM.random()

_run: dict[str, Any] | None = None
_told_to_end = False


class _Hooks(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Answer a hook."""
        global _run, _told_to_end  # noqa: PLW0603 - the main loop looks at them
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.path.removeprefix(_PREFIX)
        if os.environ.get("BEFORE") == "restart":
            _restart()
        answers = _ANSWERS.get(name, [200])
        status = answers.pop(0) if len(answers) > 1 else answers[0]
        print("hook", name, status, flush=True)
        if name == "run":
            payload = json.loads(body["runHookPayload"] or "{}")
            payload |= payload.get("event", {})  # Of the executor's payload.
            time.sleep(payload.get("delay_s", 0))
            _run = {**payload, "id": body["microvmId"]}
        _told_to_end = name == "terminate"
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _restart() -> None:
    """Begin anew, with another value of `BEFORE`, and leave the hook unanswered."""
    print("restart", flush=True)
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, {**os.environ, "BEFORE": "restarted"})


def _report(_payload: dict[str, Any]) -> int:
    found = {
        "made": _MADE,
        "next": _RANDOM.random(),
        "pid": os.getpid(),
        "environment": dict(os.environ),
        "temporary": sorted(os.listdir(_TEMPORARY)),  # noqa: PTH208 - no pathlib here
    }
    print(json.dumps(found), flush=True)
    return 0


def _exit(payload: dict[str, Any]) -> int:
    return int(payload["exit"])


def _wait(_payload: dict[str, Any]) -> int:
    """Wait for the hook `terminate`."""
    print(os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"], flush=True)
    print("waiting", flush=True)
    while not _told_to_end:
        _server.handle_request()
    print("told to end", flush=True)
    time.sleep(600)
    return 0


def _session() -> Any:
    import boto3  # noqa: PLC0415 - slow, and rarely needed

    return boto3.session.Session(region_name=os.environ["AWS_REGION"])


def _call(payload: dict[str, Any]) -> int:
    """Call AWS with the role's session."""
    session = _session()
    try:
        print(session.client("sts").get_caller_identity()["Arn"], flush=True)
        session.client("sqs").send_message(QueueUrl=payload["call"], MessageBody="hello")
        print("sent", flush=True)
    except Exception as e:  # noqa: BLE001 - the test reads it
        print(f"{type(e).__name__}: {e}", flush=True)
    return 0


def _allocate(payload: dict[str, Any]) -> int:
    held = b"x" * (payload["allocate_mb"] * 1024 * 1024)
    time.sleep(600)
    return len(held)


_STEPS: dict[str, Callable[[dict[str, Any]], int]] = {
    "exit": _exit,
    "wait": _wait,
    "call": _call,
    "allocate_mb": _allocate,
}

if __name__ == "__main__":
    if os.path.exists(_OTHER_ANSWERS):  # noqa: PTH110 - no pathlib here
        with open(_OTHER_ANSWERS) as other:  # noqa: PTH123 - as above
            _ANSWERS |= json.load(other)
    with open(f"{_TEMPORARY}/made", "w") as made:  # noqa: PTH123 - no pathlib here
        made.write("before the snapshot")
    match os.environ.get("BEFORE", ""):
        case "thread":
            threading.Thread(target=time.sleep, args=[600], daemon=True).start()
        case "process":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        case "identity":
            print(_session().client("sts").get_caller_identity()["Arn"], flush=True)
        case "exit":
            sys.exit(9)
    _server = HTTPServer(("", 9000), _Hooks)
    while _run is None:
        _server.handle_request()
    step = next((step for name, step in _STEPS.items() if name in _run), _report)
    sys.exit(step(_run))
