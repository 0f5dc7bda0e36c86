"""What the command `run` and the image's process for it tell each other, as JSON.

The command writes one `Order`. The process answers with lines, each a `Reading` of its own kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

#: The module of the image that runs the workload.
ENTRY_POINT = "lambda_image.local_run"


@dataclass(frozen=True, slots=True)
class Order:
    """One workload, and the limits under which it runs.

    Attributes:
        workload: The workload, as JSON.
        memory_mb: The memory of the function, in MiB.
        timeout_s: Its time-out, in seconds.
        debugger: None; `pdb`; or `debugpy`.
        debug_port: The port of debugpy on 127.0.0.1.
    """

    workload: str
    memory_mb: int
    timeout_s: float
    debugger: str | None = None
    debug_port: int = 0

    def encode(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Order:
        """Read what `encode` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Ended:
    """How the workload ended, and what it needed.

    Attributes:
        outcome: As in a result (`wire.Outcome`).
        reason: Why it failed; empty if it did not.
        return_code: 0 if it succeeded.
        run_s: Seconds from the start of the invocation to its end.
        largest_mb: MiB that the largest process of the workload had, as the kernel counted them.
        memory_mb: The most MiB that all processes together had, as sampled.
        over_memory_s: Seconds after the start at which it had more than its memory; None if never.
        was_killed_for_memory: Whether it was killed then.
        tmp_mb: The most MiB that there were in /tmp.
        threads: The most processes and threads at once, as sampled.
        stop_at_s: Seconds after the start at which a function would have asked the task to stop.
        not_measured: Why sampling ended before the workload did; empty if it did not.
    """

    outcome: str
    reason: str
    return_code: int
    run_s: float
    largest_mb: float
    memory_mb: float
    over_memory_s: float | None
    was_killed_for_memory: bool
    tmp_mb: float
    threads: int
    stop_at_s: float
    not_measured: str = ""

    def encode(self) -> str:
        """As one line of JSON."""
        return json.dumps({"ended": asdict(self)})


@dataclass(frozen=True, slots=True)
class Written:
    """A path outside of /tmp that Python code opened for writing, made, moved or removed."""

    path: str

    def encode(self) -> str:
        """As one line of JSON."""
        return json.dumps({"written": self.path})


def decode(line: str) -> Ended | Written | None:
    """Read a line that the image's process wrote; None: it was cut, because its process died."""
    try:
        found: Mapping[str, Any] = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return Ended(**found["ended"]) if "ended" in found else Written(found["written"])
