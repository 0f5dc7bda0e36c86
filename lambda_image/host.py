"""What this process runs in, as a reason names it.

A function, a job of AWS Batch or Amazon ECS, or a MicroVM of AWS Lambda.
"""

from __future__ import annotations

from typing import Literal

Name = Literal["function", "job", "MicroVM"]

_name: Name = "function"


def become(name: Name) -> None:
    """Be another one: call it before another module of the image is imported, which may keep it."""
    global _name  # noqa: PLW0603 - a process is one of them for good
    _name = name


def name() -> Name:
    """`function`, `job` or `MicroVM`."""
    return _name
