"""What the kernel reports about memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import psutil

from lambda_image import host

#: The container's own files: cgroups of version 2, then of version 1.
#: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
#: https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
CGROUP = Path("/sys/fs/cgroup")
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_EVENTS = ("memory.events", "memory/memory.oom_control")

#: A cgroup of version 1 without a limit has one that no machine has.
_NO_LIMIT_BYTES = 2**60

#: The memory of a job, as AWS says it; None if nobody does.
_given_mb: int | None = None


def be_limited_to(memory_mb: int | None) -> None:
    """Take this for the limit of a job whose cgroup names none."""
    global _given_mb  # noqa: PLW0603 - a process has one limit
    _given_mb = memory_mb


def resident_mb() -> float:
    """The memory that this process has resident, in MiB."""
    return round(psutil.Process().memory_info().rss / 2**20, 1)


def oom_kills(cgroup: Path = CGROUP) -> int:
    """How many processes the kernel has killed so far because memory ran out; 0 if unknown.

    In Lambda each execution environment has its own kernel, which counts since it was booted, and
    so has a MicroVM. A job may share it with others, and its cgroup counts its own.
    """
    of_container = [] if host.name() == "function" else [cgroup / name for name in _EVENTS]
    for file in (*of_container, Path("/proc/vmstat")):
        for line in _lines(file):
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def limit(cgroup: Path = CGROUP) -> str:
    """The memory of the function, job or MicroVM, as a reason names it.

    A MicroVM may use four times the memory that its image asks for, so only a cgroup tells it.
    https://docs.aws.amazon.com/lambda/latest/dg/microvms-images.html
    """
    size = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if host.name() != "function":
        size = _limit_of_container(cgroup)
    whose = f"the {host.name()}'s memory"
    return f"{whose} of {size} MB" if size else whose


def _limit_of_container(cgroup: Path) -> str | None:
    for name in _LIMITS:
        for line in _lines(cgroup / name):
            if line.isdecimal() and int(line) < _NO_LIMIT_BYTES:
                return str(int(line) >> 20)
    return None if _given_mb is None else str(_given_mb)


def _lines(file: Path) -> Sequence[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return ()
