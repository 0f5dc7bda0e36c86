"""The limits of MicroVMs that a user may change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MicroVmLimits:
    """Limits of MicroVMs.

    Attributes:
        memory_gb: Of all MicroVMs that run in an account and Region.
        exit_delay_s: From the end of a MicroVM's process until it is TERMINATED.
    """

    memory_gb: int
    exit_delay_s: float
