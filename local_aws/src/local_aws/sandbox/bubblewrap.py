"""Sandbox walls by bubblewrap: a read-only file system, an empty /tmp and a process namespace.

Builds bubblewrap's command line and checks, by running it, whether this machine allows it.
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
    """The file system of one sandbox (see `RuntimeCommand`); everything else is read-only."""

    tmp_mb: int
    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    working_directory: Path


def command(program: str, walls: Walls, argv: Iterable[str]) -> list[str]:
    """The command line that runs `argv` behind the walls, as process 1 of its namespace.

    Without `--die-with-parent`: it would end the sandbox with the thread that started it.
    """
    line = [program, "--unshare-pid", "--unshare-ipc", "--as-pid-1", "--cap-drop", "ALL"]
    line += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    # Like Lambda: without a writable /dev/shm there are no shared semaphores.
    line += ["--remount-ro", "/dev"]
    line += ["--size", str(walls.tmp_mb * _MEBIBYTE), "--tmpfs", str(_TMP)]
    for path in walls.readable:
        if path.is_relative_to(_TMP):
            line += ["--ro-bind", str(path), str(path)]
    for path in walls.writable:
        line += ["--bind", str(path), str(path)]
    return [*line, "--chdir", str(walls.working_directory), "--", *argv]


def find() -> str | None:
    """The path of bubblewrap; None: it is not installed."""
    return shutil.which("bwrap")


def failure_reason(program: str) -> str | None:
    """Why bubblewrap does not work on this machine; None: it works."""
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
