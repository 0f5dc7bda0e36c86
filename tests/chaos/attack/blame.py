"""Which fault each failed try is put down to: each fault explains only so many failures.

A failure is explained if its reason matches what the fault excuses, and if it came during the fault
or soon after. A killed process explains one failure, an API server that is away explains those of
the tries that were open meanwhile.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from demo.outcome.airflow_api import Try, TryKey
from tests.chaos.attack.evidence import Evidence
from tests.chaos.attack.faults import SILENT, SILENT_S
from tests.chaos.attack.kinds import BY_NAME


def unexplained(evidence: Evidence, failed: Sequence[Try]) -> set[TryKey]:
    """The failed tries that no fault explains, or for which too few faults have happened."""
    rooms = _rooms(evidence)
    causes = {each.key: causes_of(evidence, each) for each in failed if not _is_own(evidence, each)}
    blamed: dict[str, list[TryKey]] = defaultdict(list)
    # Those with the fewest causes first; then it seldom has to be found another one.
    for key in sorted(causes, key=lambda key: len(causes[key])):
        _blame(key, causes, rooms, blamed, set())
    return set(causes) - {key for keys in blamed.values() for key in keys}


def causes_of(evidence: Evidence, failed: Try) -> list[str]:
    """The names of the faults, and of the kinds of tasks, that may have failed a try."""
    reason = evidence.reasons.get(failed.key, "")
    at_s, opened_s = (each.get(failed.key) for each in (evidence.failed_at_s, evidence.opened_at_s))
    after_s = SILENT_S if re.search(SILENT, reason) else 0.0
    found = [
        fault.name
        for fault in evidence.faults
        if fault.excuses
        and re.search(fault.excuses, reason)
        and evidence.was_during(fault, at_s, opened_s, after_s)
    ]
    kinds = {BY_NAME[spec.kind] for spec in evidence.plan}
    found += [
        kind.name
        for kind in kinds
        if kind.harms and kind.name != failed.key.task_id and re.search(kind.harms, reason)
    ]
    return sorted(found)


def _rooms(evidence: Evidence) -> Mapping[str, float]:
    """How many failures each cause explains: a wide one those of all tries that have met it."""
    rooms: dict[str, float] = {
        fault.name: math.inf if fault.is_wide else count for fault, count in evidence.faults.items()
    }
    raised = Counter(line.task_id for line in evidence.lines if line.event == "raise")
    # What a task leaves is met by one other task, and then the environment is given up.
    return rooms | {name: count for name, count in raised.items() if BY_NAME[name].harms}


def _is_own(evidence: Evidence, failed: Try) -> bool:
    """Whether the task has failed the try itself, in the way of its kind."""
    breaks = BY_NAME[failed.key.task_id].breaks
    reason = evidence.reasons.get(failed.key, "")
    return bool(breaks) and failed.key.try_number == 1 and bool(re.search(breaks, reason))


def _blame(
    key: TryKey,
    causes: Mapping[TryKey, Iterable[str]],
    rooms: Mapping[str, float],
    blamed: dict[str, list[TryKey]],
    asked: set[str],
) -> bool:
    """Put a failure down to a cause that has room, or makes some; return whether one has.

    This finds as many explanations as there can be (augmenting paths in a bipartite graph).
    """
    for cause in causes[key]:
        if cause in asked:
            continue
        asked.add(cause)
        others = blamed[cause]
        if len(others) < rooms.get(cause, 0):
            others.append(key)
            return True
        for number, other in enumerate(others):
            if _blame(other, causes, rooms, blamed, asked):
                others[number] = key
                return True
    return False
