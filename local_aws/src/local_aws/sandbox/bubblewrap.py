"""The walls of a sandbox, by bubblewrap: a read-only file system, a /tmp and a process namespace.

It builds bubblewrap's command line and finds out, by running it, whether this machine allows it.
It must not know what runs inside.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TMP = Path("/tmp")  # noqa: S108 - the sandbox's own
_PROBE_TIMEOUT_S = 10
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Walls:
    """What one sandbox sees and may change; everything else of the machine is read-only.

    Attributes:
        tmp_mb: The size of its /tmp, which is empty and its own.
        readable: What it must see although it lies below the machine's /tmp.
        writable: What it may write, beside its /tmp.
        working_directory: Where its first process starts.
    """

    tmp_mb: int
    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    working_directory: Path


def command(program: str, walls: Walls, argv: Iterable[str]) -> list[str]:
    """The command line that runs `argv` behind the walls, as process 1 of its namespace.

    There is no `--die-with-parent`: the parent is a thread here, and threads end.
    """
    line = [program, "--unshare-pid", "--unshare-ipc", "--as-pid-1", "--cap-drop", "ALL"]
    line += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    # Lambda has no /dev/shm, and so no shared semaphores.
    line += ["--remount-ro", "/dev"]
    line += ["--size", str(walls.tmp_mb * _MEBIBYTE), "--tmpfs", str(_TMP)]
    for path in walls.readable:
        if path.is_relative_to(_TMP):
            line += ["--ro-bind", str(path), str(path)]
    for path in walls.writable:
        line += ["--bind", str(path), str(path)]
    return [*line, "--chdir", str(walls.working_directory), "--", *argv]


def find() -> str | None:
    """The program, where there is one."""
    return shutil.which("bwrap")


def problem(program: str) -> str | None:
    """Why this machine does not let it build walls; None: it does."""
    walls = Walls(1, (), (), Path("/"))
    try:
        done = subprocess.run(
            command(program, walls, ["/bin/sh", "-c", ":"]),
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    return None if done.returncode == 0 else done.stderr.strip() or f"status {done.returncode}"
