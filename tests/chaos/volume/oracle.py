"""What must hold in a simulation: broken promises are recorded here, each with its name.

Nothing is raised, because the code under test would catch and log it.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sized
from typing import Any

from tests.chaos.volume.rows import Flight, Row

#: Violations after which a simulation ends: the others would follow from these.
MOST_VIOLATIONS = 20
#: Memory blocks by which memory may grow with each invocation that has ended, and apart from that.
#: What keeps anything of an invocation, if only its id, keeps at least one block.
#:
#: The second number is for what the simulation itself keeps. The tasks that ended in the last two
#: minutes are 3,000 to 5,000, of seven blocks each. Each killed scheduler leaves some 250 messages,
#: which are delivered again until their retention ends, and the twin of the queue keeps each of
#: their receipts: 5,000 blocks. These are the results of tasks that ended before another scheduler
#: could adopt them, so nobody waits for them.
GROWTH_PER_INVOCATION = 0.1
MOST_GROWTH = 12_000
#: Entries in all collections of an engine, for each invocation that is open and apart from those.
MOST_PER_OPEN, MOST_AT_REST = 8, 600
#: What a part of the engine may hold when nothing is open: the last durations, of which it needs
#: the mean.
MOST_KEPT = 64


class Oracle:
    """Collects violations, and watches the memory.

    Attributes:
        violations: What was broken, each with what it is about.
        counts: The ends of workloads, and what else is worth counting.
        peaks: The most memory blocks of the first half of the load, and of the second.
        suspects: By fault, how many violations are about a workload that has met it.
        not_survived: By fault, how often a workload has met it about which there is a violation.
        unexplained: How many violations are about no workload in particular.
    """

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.peaks = [0, 0]
        self.suspects: Counter[str] = Counter()
        self.not_survived: Counter[str] = Counter()
        self.unexplained = 0
        self._most: Counter[str] = Counter()
        self._broken: set[Row] = set()

    @property
    def is_over(self) -> bool:
        """Whether so much is broken that it makes no sense to continue."""
        return len(self.violations) >= MOST_VIOLATIONS

    def broken(self, promise: str, about: object) -> None:
        """Record a violation."""
        self.violations.append(f"{promise}: {about}")
        if not isinstance(about, Flight):
            self.unexplained += 1
            return
        self.suspects.update(set(about.row.met))
        if about.row not in self._broken:
            self._broken.add(about.row)
            self.not_survived.update(about.row.met)

    def highest(self, name: str, value: int) -> None:
        """Keep the highest of some values."""
        self._most[name] = max(self._most[name], value)

    @property
    def most(self) -> dict[str, int]:
        """The highest value of each name."""
        return dict(self._most)

    def measure(self, half: int) -> None:
        """Count the memory blocks that are in use, in the first half (0) or the second (1)."""
        gc.collect()
        self.peaks[half] = max(self.peaks[half], sys.getallocatedblocks())

    def check_kept(self, name: str, engine: object, open: int) -> None:
        """Check that an engine holds no more than so many open invocations need."""
        counts = {path: count for path, count in kept(engine) if not _is_bounded(path)}
        total = sum(counts.values())
        self.highest("entries of all collections of an engine", total)
        if total > MOST_PER_OPEN * open + MOST_AT_REST:
            largest = sorted(counts, key=counts.__getitem__, reverse=True)[:3]
            what = ", ".join(f"{counts[path]} in {path}" for path in largest)
            self.broken("kept more than what is open", f"{name} has {open} open, and {what}")

    def check_growth(self, invocations: int) -> None:
        """Check that the second half of so many invocations needed little more than the first."""
        grown = self.peaks[1] - self.peaks[0]
        if grown > GROWTH_PER_INVOCATION * invocations / 2 + MOST_GROWTH:
            self.broken(
                "memory grows",
                f"{grown} blocks more in the second half of {invocations} invocations",
            )

    def check_nothing_kept(self, name: str, part: object) -> None:
        """Check that nothing in a part of the engine still holds much now that all has ended."""
        for path, count in kept(part):
            if count > MOST_KEPT and not _is_bounded(path):
                self.broken("kept after everything has ended", f"{count} in {name}{path}")


def _is_bounded(path: str) -> bool:
    """Whether a collection has a limit of its own.

    These are the ids of settled invocations, and those of messages that no scheduler claims, which
    are forgotten an hour after the last delivery.
    """
    return path.endswith(("ledger._settled", "unclaimed._noted"))


def kept(root: object) -> Iterator[tuple[str, int]]:
    """Yield the path and the size of each collection inside an object of the executor."""
    seen: set[int] = set()
    waiting: deque[tuple[str, object]] = deque([("", root)])
    while waiting:
        path, one = waiting.popleft()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict | list | set | deque):
            yield path, len(one)
            parts: Iterable[object] = one.values() if isinstance(one, dict) else one
            waiting.extend((f"{path}[]", part) for part in list(parts)[:MOST_KEPT])
        elif type(one).__module__.startswith("lambda_executor.") or one is root:
            waiting.extend((f"{path}.{name}", part) for name, part in _attributes(one))


def _attributes(one: object) -> Iterator[tuple[str, Any]]:
    names = {*getattr(one, "__dict__", {})}
    for each in type(one).__mro__:
        slots = each.__dict__.get("__slots__", ())
        names.update([slots] if isinstance(slots, str) else slots)
    for name in sorted(names):
        value = getattr(one, name, None)
        if isinstance(value, Sized) or type(value).__module__.startswith("lambda_executor."):
            yield name, value
