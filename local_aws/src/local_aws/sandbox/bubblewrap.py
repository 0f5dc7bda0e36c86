"""Sandbox walls by bubblewrap: a read-only file system, an empty /tmp, a nameless user.

Builds bubblewrap's command line and checks, by running it, whether this machine allows it.
"""

from __future__ import annotations

import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from local_aws.sandbox.mount import MOUNTED as _MOUNTED
from local_aws.sandbox.mount import Mount

_TMP = Path("/tmp")  # noqa: S108 - the sandbox's own
#: Lambda's user and group, as far as public reports show: https://simonko.dev/posts/aws/non-root-lambda-image
_UID, _GID = 993, 990
_PROBE_TIMEOUT_S = 10
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Walls:
    """The file system of one sandbox (see `RuntimeCommand`); everything else is read-only.

    Attributes:
        copied: Whether the runtime will be copied into sandboxes of their own (`runtime_copy.py`).
        mounts: Writable folders under names of their own.
    """

    tmp_mb: int
    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    working_directory: Path
    copied: bool = False
    mounts: tuple[Mount, ...] = ()

    @property
    def moved(self) -> tuple[Path, ...]:
        """The readable paths that would be in the sandbox's /tmp, and are below `/mnt` there."""
        return tuple(
            path
            for path in dict.fromkeys(self.readable)
            if path.is_relative_to(_TMP) and not any(map(path.is_relative_to, self.writable))
        )

    def inside(self, text: str) -> str:
        """A text with the machine's paths, such as an argument, with the sandbox's instead."""
        if not self.moved:
            return text
        longest_first = sorted(map(str, self.moved), key=len, reverse=True)
        paths = "|".join(map(re.escape, longest_first))
        return re.sub(rf"(?<![\w./-])(?:{paths})(?![\w.-])", rf"{_MOUNTED}\g<0>", text)


def command(program: str, walls: Walls, argv: Iterable[str]) -> list[str]:
    """The command line that runs `argv` behind the walls, as process 1 of its namespace.

    Without `--die-with-parent`: it would end the sandbox with the thread that started it.
    """
    line = [program, "--unshare-pid", "--unshare-ipc", "--as-pid-1", "--cap-drop", "ALL"]
    line += ["--unshare-user", "--uid", str(_nameless_user()), "--gid", str(_GID)]
    line += ["--ro-bind", "/", "/", "--proc", "/proc", *_devices(walls.copied)]
    # Like Lambda: without a writable /dev/shm there are no shared semaphores.
    line += ["--remount-ro", "/dev"]
    line += ["--size", str(walls.tmp_mb * _MEBIBYTE), "--tmpfs", str(_TMP)]
    if walls.moved or walls.mounts:
        line += ["--tmpfs", str(_MOUNTED)]
        for path in walls.moved:
            line += ["--ro-bind", str(path), f"{_MOUNTED}{path}"]
        for path in walls.readable:
            if path.is_relative_to(_MOUNTED):
                line += ["--ro-bind", str(path), str(path)]
        for mount in walls.mounts:
            line += ["--bind", str(mount.folder), str(mount.path)]
        line += ["--remount-ro", str(_MOUNTED)]
    for path in walls.writable:
        line += ["--bind", str(path), str(path)]
    line += ["--chdir", walls.inside(str(walls.working_directory)), "--"]
    return [*line, *map(walls.inside, argv)]


def _devices(copied: bool) -> list[str]:
    """/dev, as `--dev` makes it.

    With `--dev`, bubblewrap is root of a namespace for a moment. If it runs as the machine's root,
    it can then write in /proc, and so it covers parts of it. But the kernel mounts a new /proc, as
    a copy of the runtime does, only where no part of the old one is covered. So a runtime that is
    copied has the devices one by one, and no terminals.
    """
    if not copied:
        return ["--dev", "/dev"]
    line = ["--tmpfs", "/dev", "--dir", "/dev/shm"]  # noqa: S108 - the sandbox's own
    for name in ("full", "null", "random", "tty", "urandom", "zero"):
        line += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        line += ["--symlink", f"/proc/self/fd{target}", f"/dev/{name}"]
    return line


def _nameless_user() -> int:
    """The first user id from Lambda's on that /etc/passwd does not name."""
    named = {user.pw_uid for user in pwd.getpwall()}
    return next(uid for uid in count(_UID) if uid not in named)


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
