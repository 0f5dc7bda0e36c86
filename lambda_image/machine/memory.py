"""What the kernel reports about memory."""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def resident_mb() -> float:
    """The memory that this process has resident, in MiB."""
    return round(psutil.Process().memory_info().rss / 2**20, 1)


def oom_kills() -> int:
    """How many processes the kernel has killed since boot because memory ran out; 0 if unknown.

    In Lambda each execution environment has its own kernel.
    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
    """
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def limit() -> str:
    """The function's memory, as a reason names it."""
    size = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    return f"the function's memory of {size} MB" if size else "the function's memory"
