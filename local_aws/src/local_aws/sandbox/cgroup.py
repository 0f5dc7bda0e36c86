"""Memory limits by the kernel: one cgroup per execution environment, if cgroups can be made.

Supports v1's `memory` controller and v2. Tries where a cgroup can be made: as root, in a delegated
unit of systemd, in a container with a writable hierarchy.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger("local_aws.sandbox.cgroup")

_NAME = "local-aws-"
_SELF_CGROUP = Path("/proc/self/cgroup")
_MOUNTS = Path("/proc/self/mounts")
#: A killed process leaves its cgroup with a delay.
_REMOVE_WITHIN_S = 1.0
_TRIAL_BYTES = 64 * 1024 * 1024


class MemoryCgroup:
    """One cgroup with a memory limit, beyond which the kernel kills a process in it.

    Raises:
        OSError: It cannot be made, or has no memory controller.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path = path
        path.mkdir()
        try:
            self._limit(limit_bytes)
        except OSError:
            path.rmdir()
            raise

    def open(self) -> int:
        """Return a descriptor; a process joins the cgroup by writing `0` to it."""
        return os.open(self._path / "cgroup.procs", os.O_WRONLY)

    @property
    def killed(self) -> bool:
        """Whether the kernel has killed a process that exceeded the limit."""
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                counted = re.search(
                    r"^oom_kill (\d+)$", (self._path / name).read_text(), re.MULTILINE
                )
                return counted is not None and int(counted[1]) > 0
        return False

    def lift(self) -> None:
        """Take the limit away; where the kernel refuses it, the log says so."""
        for name, unlimited in (
            ("memory.memsw.limit_in_bytes", "-1"),  # first: it bounds the next one
            ("memory.limit_in_bytes", "-1"),
            ("memory.max", "max"),
        ):
            if (self._path / name).exists():
                try:
                    (self._path / name).write_text(unlimited)
                except OSError as e:
                    logger.warning("the memory limit %s stays: %s", self._path / name, e.strerror)

    def remove(self) -> None:
        """Remove it as soon as its last process is gone."""
        deadline_s = time.monotonic() + _REMOVE_WITHIN_S
        while self._path.exists() and time.monotonic() < deadline_s:
            try:
                self._path.rmdir()
            except OSError:
                time.sleep(0.01)

    def _limit(self, limit_bytes: int) -> None:
        if (self._path / "memory.max").exists():
            (self._path / "memory.max").write_text(str(limit_bytes))
            swap, swap_bytes = self._path / "memory.swap.max", 0
        else:
            # Without the memory controller this fails: cgroupfs does not let files be made.
            (self._path / "memory.limit_in_bytes").write_text(str(limit_bytes))
            swap, swap_bytes = self._path / "memory.memsw.limit_in_bytes", limit_bytes
        if swap.exists():
            swap.write_text(str(swap_bytes))


class MemoryCgroups:
    """The cgroups of this process, below their own directory."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent

    @classmethod
    def find(cls) -> MemoryCgroups | None:
        """Find a place in the hierarchy where limits can be set; None: there is none."""
        for candidate in candidates(_MOUNTS.read_text(), _SELF_CGROUP.read_text()):
            _remove_left_over(candidate)
            cgroups = cls(candidate / f"{_NAME}{os.getpid()}")
            with contextlib.suppress(OSError):
                cgroups._prepare()
                return cgroups
        return None

    def make(self, name: str, limit_bytes: int) -> MemoryCgroup:
        """Make a cgroup.

        Raises:
            OSError: The kernel refuses it.
        """
        return MemoryCgroup(self._parent / name, limit_bytes)

    def close(self) -> None:
        """Remove the directory, unless processes still run in a cgroup below it."""
        with contextlib.suppress(OSError):
            self._parent.rmdir()

    def _prepare(self) -> None:
        """Make the directory and check that a process can join a cgroup below it."""
        self._parent.mkdir()
        try:
            control = self._parent / "cgroup.subtree_control"
            if control.exists():
                control.write_text("+memory")
            trial = self.make("trial", _TRIAL_BYTES)
            try:
                _try_to_join(self._parent / "trial")
            finally:
                trial.remove()
        except OSError:
            self._parent.rmdir()
            raise


def candidates(mounts: str, own: str) -> Iterator[Path]:
    """Directories to try: this process's cgroup and its parents, nearest first.

    Under v2 a cgroup that holds processes has no children with controllers, so the parent is
    usually the one: https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    paths = {
        controllers: path
        for _, controllers, path in (line.split(":", 2) for line in own.splitlines())
    }
    for line in mounts.splitlines():
        _, mount_point, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            own_path = next((paths[c] for c in paths if "memory" in c.split(",")), None)
        else:
            own_path = paths.get("") if kind == "cgroup2" else None
        if own_path is not None:
            nearest = Path(mount_point, own_path.lstrip("/"))
            for folder in (nearest, *nearest.parents):
                if folder.is_relative_to(mount_point) and folder.is_dir():
                    yield folder


def _try_to_join(path: Path) -> None:
    joining = subprocess.run(
        ["/bin/sh", "-c", 'echo 0 > "$0"', path / "cgroup.procs"], capture_output=True, check=False
    )
    if joining.returncode:
        raise OSError(f"processes cannot be moved into {path}")


def _remove_left_over(directory: Path) -> None:
    """Remove the cgroups of servers that were killed."""
    for path in directory.glob(f"{_NAME}[0-9]*"):
        if Path(f"/proc/{path.name.removeprefix(_NAME)}").exists():
            continue
        for below in (*path.glob("*/"), path):
            with contextlib.suppress(OSError):
                below.rmdir()
