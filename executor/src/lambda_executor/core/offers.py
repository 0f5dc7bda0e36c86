"""What a task needs, what each target offers, and which offer is the smallest that fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lambda_executor.contract.stop_margin import default_stop_margin_s


@dataclass(frozen=True, slots=True)
class Need:
    """What a task says that it needs; 0: it says nothing."""

    timeout_s: float = 0
    memory_mb: int = 0
    cpu: float = 0
    gpu: int = 0
    disk_gb: float = 0

    def __bool__(self) -> bool:
        return self != Need()

    def __str__(self) -> str:
        values = {
            "execution_timeout": f"{self.timeout_s:g} s" if self.timeout_s else "",
            "memory_mb": f"{self.memory_mb or ''}",
            "cpu": f"{self.cpu:g}" if self.cpu else "",
            "gpu": f"{self.gpu or ''}",
            "disk_gb": f"{self.disk_gb:g}" if self.disk_gb else "",
        }
        return ", ".join(f"{name} {value}" for name, value in values.items() if value)


@dataclass(frozen=True, slots=True)
class Offer:
    """What the target of one Airflow queue gives to a task.

    Attributes:
        queue: The queue.
        timeout_s: The target's time-out, in seconds; None: no limit.
        memory_mb: Memory, in MiB.
        cpu: Virtual processors.
        gpu: GPUs.
        disk_gb: Disk for temporary files, in GiB.
    """

    queue: str
    timeout_s: float | None = None
    memory_mb: int = 0
    cpu: float = 0
    gpu: int = 0
    disk_gb: float = 0

    @property
    def longest_try_s(self) -> float:
        """How long a try may take, in seconds: the time-out, less the default stop margin."""
        if self.timeout_s is None:
            return math.inf
        return self.timeout_s - default_stop_margin_s(self.timeout_s)

    def fits(self, need: Need) -> bool:
        """Whether a task with this need can run there."""
        return (
            need.timeout_s <= self.longest_try_s
            and need.memory_mb <= self.memory_mb
            and need.cpu <= self.cpu
            and need.gpu <= self.gpu
            and need.disk_gb <= self.disk_gb
        )

    def __str__(self) -> str:
        parts = [
            f"{self.longest_try_s:g} s" if self.timeout_s is not None else "no time limit",
            f"{self.memory_mb} MB" if self.memory_mb else "",
            f"{self.cpu:g} vCPU" if self.cpu else "",
            f"{self.gpu} GPU" if self.gpu else "",
            f"{self.disk_gb:g} GB of disk" if self.disk_gb else "",
        ]
        return f"{self.queue} ({', '.join(part for part in parts if part)})"


def smallest(offers: Sequence[Offer], need: Need) -> Offer | None:
    """Return the first offer that fits; the offers are in order, the smallest first."""
    return next((offer for offer in offers if offer.fits(need)), None)


def of_queue(offers: Sequence[Offer], queue: str | None) -> Offer | None:
    """Return the offer of a queue; None: nobody said what its target gives."""
    return next((offer for offer in offers if offer.queue == queue), None)


def next_longer(offers: Sequence[Offer], current: Offer, need: Need) -> Offer | None:
    """Return the next larger offer that fits and leaves more time than the current one.

    Those before the current one are smaller in something, on which the task may depend.
    """
    larger = offers[offers.index(current) + 1 :]
    return next(
        (o for o in larger if o.longest_try_s > current.longest_try_s and o.fits(need)), None
    )
