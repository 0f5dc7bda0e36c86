"""A handler for snapshots: its init phase has a past, and its event says what it shows of it.

The variables `BEFORE` and `AFTER` say what the hooks do: `raise`, `slow` or `exit`. With
`ATTEMPTS`, every init phase adds a line to that file, and fails if there is a file beside it named
`broken`.
"""

import contextlib
import hashlib
import os
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from snapshot_restore_py import (  # type: ignore[import-not-found] # of the image's packages
    register_after_restore,
    register_before_snapshot,
)

_born = uuid.uuid4().hex
_pid = os.getpid()
_variables = dict(os.environ)
_modules = sorted(sys.modules)
_hooks: list[str] = []
_open_files: dict[str, list[str]] = {}
_file = Path(tempfile.gettempdir(), "of-the-init-phase")
_file.write_text(_born)
_notes = Path(tempfile.gettempdir(), "notes").open("w+")  # noqa: SIM115 - open in the snapshot
_notes.write("of the init phase\n")
_notes.flush()
_nameless = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open in the snapshot
_of_memory = os.fdopen(os.memfd_create("of-the-init-phase"), "w+")
_of_memory_again = os.fdopen(os.dup(_of_memory.fileno()), "w+")
for _open in (_nameless, _of_memory):
    _open.write("of the init phase\n")
    _open.flush()
_pipe = os.pipe()
os.write(_pipe[1], b"lost")
_listener = socket.create_server(("127.0.0.1", 0))
_connection = socket.create_connection(_listener.getsockname())
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
print("the init phase prints")  # noqa: T201 - what is logged

if _attempts := os.environ.get("ATTEMPTS"):
    with Path(_attempts).open("a") as _lines:
        _lines.write("begun\n")
    if Path(_attempts).with_name("broken").exists():
        raise ValueError("no init today")


def _list_open_files() -> list[str]:
    """What this process has open: the numbers and where they lead, without names of the moment."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - without the iterator's descriptor
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            path = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - not a path
            kind = "deleted" if path.endswith(" (deleted)") else path.partition(":[")[0]
            found.append(f"{name} {kind}")
    return sorted(found)


def _hook(name: str) -> None:
    _hooks.append(name)
    _open_files[name] = _list_open_files()
    match os.environ.get(name):
        case "raise":
            raise ValueError(f"no {name} today")
        case "slow":
            time.sleep(60)
        case "exit":
            os._exit(7)


register_before_snapshot(_hook, "BEFORE")
register_after_restore(_hook, "AFTER")


def _credentials(variables: Mapping[str, str]) -> dict[str, Any]:
    """What an SDK that read these finds; `botocore` is not among the packages of every image."""
    import json  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    address = variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    token = variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    request = urllib.request.Request(address, headers={"Authorization": token})
    with urllib.request.urlopen(request, timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _send() -> str:
    try:
        _connection.sendall(b"x")
    except OSError as e:
        return type(e).__name__
    return "sent"


def _take_notes(notes: IO[str]) -> str:
    """Add a line to a file that was open in the snapshot, and return all of it."""
    notes.write("of an environment\n")
    notes.flush()
    notes.seek(0)
    return notes.read()


def _pass_on() -> str:
    """Send something through the pipe, of which this process has both ends."""
    os.write(_pipe[1], b"sent")
    return os.read(_pipe[0], 16).decode()


def handle(event: dict[str, Any], _context: Any) -> Any:
    """Do what the event says and return what this environment shares with others, and what not."""
    if "enter" in event:
        Path(event["enter"]).touch()
    while "wait_for" in event and not Path(event["wait_for"]).exists():
        time.sleep(0.005)
    if "write" in event:
        Path(tempfile.gettempdir(), event["write"]).touch()
    if "allocate_mb" in event:
        held = b"x" * (event["allocate_mb"] * 1024 * 1024)
        time.sleep(len(held))
    if "kill" in event:
        os.kill(os.getpid(), event["kill"])
    time.sleep(event.get("sleep_s", 0))
    if "print" in event:
        print(event["print"])  # noqa: T201 - what is logged
    return {
        "born": _born,
        "random": random.random(),
        "urandom": os.urandom(16).hex(),
        "tls": hashlib.sha256(ssl.RAND_bytes(32)).hexdigest(),
        "same_pid": os.getpid() == _pid,
        "hooks": _hooks,
        "temporary": sorted(path.name for path in Path(tempfile.gettempdir()).iterdir()),
        "file": _file.read_text(),
        "sent": _send(),
        "notes": [_take_notes(each) for each in (_notes, _nameless, _of_memory)],
        "again": os.pread(_of_memory_again.fileno(), 100, 0).decode(),
        "passed_on": _pass_on(),
        "environment": dict(os.environ),
        "environment_of_a_child": subprocess.run(
            ["env"], capture_output=True, text=True, check=True
        ).stdout,
        "of_the_init_phase": _variables,
        "modules": _modules,
        "path": sys.path,
        "status": Path("/proc/self/status").read_text(),
        "open_files": _open_files,
        "processes": sorted(int(p.name) for p in Path("/proc").glob("[0-9]*")),
        "output": str(Path("/proc/self/fd/1").readlink()),
        "credentials": "AWS_ACCESS_KEY_ID" in os.environ or _credentials(os.environ),
        "credentials_by_the_former_address": (
            "AWS_ACCESS_KEY_ID" in os.environ or _credentials(_variables)
        ),
    }
