"""Memory limits by the kernel: a cgroup for each execution environment, where one can be made.

Knows both hierarchies (v1's `memory` controller, v2) and finds out by trying, because who may
make a cgroup where depends on the machine: root, a delegated unit of systemd, a container with a
writable hierarchy. It must not know what runs in a cgroup.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_NAME = "local-aws-"
_SELF_CGROUP = Path("/proc/self/cgroup")
_MOUNTS = Path("/proc/self/mounts")
#: A process that was killed leaves its cgroup a moment later.
_REMOVE_WITHIN_S = 1.0
_TRIAL_BYTES = 64 * 1024 * 1024


class MemoryCgroup:
    """One cgroup with a memory limit.

    Args:
        path: Its directory, made here.
        limit_bytes: More than which the kernel kills a process in it.

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
        """A descriptor; who writes `0` into it joins."""
        return os.open(self._path / "cgroup.procs", os.O_WRONLY)

    @property
    def killed(self) -> bool:
        """Whether the kernel has killed a process for its memory."""
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                counted = re.search(
                    r"^oom_kill (\d+)$", (self._path / name).read_text(), re.MULTILINE
                )
                return counted is not None and int(counted[1]) > 0
        return False

    def remove(self) -> None:
        """Remove it, once its last process is gone."""
        give_up_s = time.monotonic() + _REMOVE_WITHIN_S
        while time.monotonic() < give_up_s:
            try:
                self._path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.01)
            else:
                return

    def _limit(self, limit_bytes: int) -> None:
        if (self._path / "memory.max").exists():
            (self._path / "memory.max").write_text(str(limit_bytes))
            swap, swap_bytes = self._path / "memory.swap.max", 0
        else:
            # Not made by writing: cgroupfs has only the files of its controllers.
            (self._path / "memory.limit_in_bytes").write_text(str(limit_bytes))
            swap, swap_bytes = self._path / "memory.memsw.limit_in_bytes", limit_bytes
        if swap.exists():
            swap.write_text(str(swap_bytes))


class MemoryCgroups:
    """Makes cgroups below a directory of this process's own.

    Args:
        parent: The directory, made here.
    """

    def __init__(self, parent: Path) -> None:
        self._parent = parent

    @classmethod
    def find(cls) -> MemoryCgroups | None:
        """Somewhere below the hierarchy where limits can be set; None: nowhere."""
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
        """Remove the directory; what still runs in a cgroup below stays."""
        with contextlib.suppress(OSError):
            self._parent.rmdir()

    def _prepare(self) -> None:
        """Make the directory and show that a process can live below it."""
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
    """Directories to try: this process's cgroup and those above it, nearest first.

    Under v2 a cgroup that holds processes has no children with controllers, so that the one
    above is usually it: https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    paths = {
        controllers: path
        for _, controllers, path in (line.split(":", 2) for line in own.splitlines())
    }
    for line in mounts.splitlines():
        _, mount_point, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            controllers = next((c for c in paths if "memory" in c.split(",")), None)
        elif kind == "cgroup2":
            controllers = "" if "" in paths else None
        else:
            continue
        if controllers is None:
            continue
        root = Path(mount_point)
        current = root / paths[controllers].lstrip("/")
        while current.is_relative_to(root):
            if current.is_dir():
                yield current
            current = current.parent


def _try_to_join(path: Path) -> None:
    joining = subprocess.run(
        ["/bin/sh", "-c", 'echo 0 > "$0"', path / "cgroup.procs"], capture_output=True, check=False
    )
    if joining.returncode:
        raise OSError(f"processes cannot be moved into {path}")


def _remove_left_over(directory: Path) -> None:
    """Remove what a server left that was killed."""
    for path in directory.glob(f"{_NAME}[0-9]*"):
        if Path(f"/proc/{path.name.removeprefix(_NAME)}").exists():
            continue
        for below in (*path.glob("*/"), path):
            with contextlib.suppress(OSError):
                below.rmdir()
