"""What this process runs in, as a reason names it: a function, or a job of AWS Batch or ECS."""

from __future__ import annotations

_name = "function"


def become_job() -> None:
    """Be a job: call it before another module of the image is imported, which may keep the name."""
    global _name  # noqa: PLW0603 - a process is one or the other for good
    _name = "job"


def name() -> str:
    """`function` or `job`."""
    return _name


def is_job() -> bool:
    """Whether this process is a job, of which the container runs no other workload."""
    return _name == "job"
