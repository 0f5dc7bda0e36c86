"""The result of a simulation, and its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.volume.faults import Chance
from tests.chaos.volume.oracle import Oracle


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of one fault.

    Attributes:
        injected: How often it happened.
        possible: How often it could have happened.
        survived: How often it happened to what no promise was broken about.
        violations: How many violations are about a workload that had met it. A workload may have
            met several faults, so this accuses and does not prove.
    """

    injected: int
    possible: int
    survived: int
    violations: int


def tallies(chance: Chance, oracle: Oracle) -> dict[str, Tally]:
    """What became of each fault, by name.

    A violation about no workload in particular is held against the faults that happened to none.
    """
    found = {}
    for name, possible in sorted(chance.possible.items()):
        injected, violations = chance.injected[name], oracle.suspects[name]
        survived = chance.of_workloads[name] - oracle.not_survived[name]
        if others := injected - chance.of_workloads[name]:
            violations += oracle.unexplained
            survived += 0 if oracle.unexplained else others
        found[name] = Tally(injected, possible, max(0, survived), violations)
    return found


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of a simulation.

    Attributes:
        invocations: How many there were.
        simulated_s: The time that passed in it.
        took_s: The processor time that it took.
        faults: What became of each fault.
        counts: What else was counted.
        most: The highest values.
        peaks: The most memory blocks in each half.
        violations: What was broken.
    """

    invocations: int
    simulated_s: float
    took_s: float
    faults: Mapping[str, Tally]
    counts: Mapping[str, int]
    most: Mapping[str, int]
    peaks: tuple[int, int]
    violations: tuple[str, ...]

    def __str__(self) -> str:
        rows = [
            f"{self.invocations} invocations in {self.simulated_s / 3600:.1f} simulated hours",
            f"processor time: {self.took_s:.0f} s",
            f"memory blocks, at most: {self.peaks[0]} in the first half, {self.peaks[1]} later",
        ]
        for title, values in (("count", self.counts), ("the most", self.most)):
            rows += ["", f"{title:42} {'number':>9}"]
            rows += [f"{name:42} {count:9}" for name, count in values.items()]
        rows += ["", f"{'fault':42} {'of':>9} {'injected':>9} {'survived':>9} {'violations':>10}"]
        rows += [
            f"{name:42} {each.possible:9} {each.injected:9} {each.survived:9} {each.violations:10}"
            for name, each in self.faults.items()
        ]
        rows += ["", f"violations: {len(self.violations)}", *self.violations]
        return "\n".join(rows)
