"""The result of attacked runs, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from tests.chaos.attack.evidence import Evidence
from tests.chaos.attack.faults import FAULTS
from tests.chaos.attack.kinds import BY_NAME
from tests.chaos.attack.oracle import PROMISES, Violation

#: So many violations of one promise are shown.
SHOWN = 12
#: In place of a fault's name, for violations whose reason names none.
UNNAMED = "none of them"


def faults(runs: Sequence[Mapping[str, Any]]) -> Table:
    """What was done in some runs, and what became of it.

    Args:
        runs: As their files have them.
    """
    table = Table(
        *("fault", "what it is", "injected", "survived", "violations"),
        title="Done to the environment",
    )
    injected, broken = counts(runs), violations_by_fault(runs)
    for fault in FAULTS:
        count, bad = injected[fault.name], broken[fault.name]
        table.add_row(fault.name, fault.does, *map(str, (count, max(0, count - bad), bad)))
    if broken[UNNAMED]:
        table.add_row(UNNAMED, "", "", "", str(broken[UNNAMED]))
    return table


def counts(runs: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How often each fault was injected."""
    total: Counter[str] = Counter()
    for run in runs:
        total.update(run["faults"])
    return total


def violations_by_fault(runs: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How many violations the reason of a try puts down to each fault."""
    return Counter(
        name for run in runs for each in run["violations"] for name in each["faults"] or [UNNAMED]
    )


def kinds(evidence: Evidence) -> Table:
    """What the tasks did to themselves, and how they ended."""
    table = Table("kind", "what it does", "tasks", "tries", title="Tasks")
    planned = Counter(spec.kind for spec in evidence.plan)
    tries = Counter(each.key.task_id for each in evidence.tries)
    for name, count in sorted(planned.items()):
        table.add_row(name, BY_NAME[name].does, str(count), str(tries[name]))
    return table


def promises(found: Sequence[Violation], run: Mapping[str, Any]) -> Table:
    """What was promised, and how often that was broken.

    Args:
        found: The violations of a run.
        run: As its file has it.
    """
    table = Table("promise", "what it means", "violations", title="Promises")
    counts = Counter(violation.promise for violation in found)
    for promise, meaning in PROMISES.items():
        count = kept(counts[promise], [run]) if promise == "left" else str(counts[promise])
        table.add_row(promise, meaning, count)
    return table


def kept(count: int, runs: Sequence[Mapping[str, Any]]) -> str:
    """How often something was left in some runs, and how much was not looked at."""
    if any("unchecked" not in run for run in runs):
        return f"{count}; the messages that were left were not counted"
    unchecked = sum(sum(run["unchecked"].values()) for run in runs)
    return f"{count}; {unchecked} messages were left and not checked" if unchecked else str(count)


def lines(found: Sequence[Violation], replay: str) -> list[str]:
    """The violations, each with the command that repeats the run."""
    shown: Counter[str] = Counter()
    text = []
    for each in found:
        shown[each.promise] += 1
        if shown[each.promise] <= SHOWN:
            text.append(f"{each.promise}: {each.what}. Replay: {replay}")
    for promise, count in shown.items():
        if count > SHOWN:
            text.append(f"{promise}: {count - SHOWN} more")
    return text
