"""Compares what Airflow says with what the tasks said, and with what is left. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from demo.outcome.airflow_api import FINAL, Try, TryKey
from tests.chaos.attack.blame import causes_of, unexplained
from tests.chaos.attack.evidence import Evidence
from tests.chaos.attack.kinds import BY_NAME
from tests.chaos.attack.recorder import Line

#: What a violation is about, in the order of the table.
PROMISES = {
    "lost": "every task is in the state that its kind ends in",
    "stuck": "nothing is left queued, running or in a slot",
    "twice": "the code of a try starts once",
    "healthy failed": "no task fails but those that break themselves for good",
    "untrue": "a success ran to its end, and a failure has a true reason",
    "left": "queues, processes, descriptors and threads are as before",
    "secret": "no token, key or password is in a log",
}

#: The longest time from the end of a process until Airflow hears of it, in seconds.
DEAD_LETTER_S = 15
#: The reason of a start that was killed, and the longest that another start of the same event may
#: run on, in seconds: no task works longer in a function.
KILLED_START = r"Lambda gave up: .*(Runtime exited|Runtime\.ExitError|signal: killed)"
AT_MOST_S = 5


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise.

    Attributes:
        promise: A key of `PROMISES`.
        what: What was seen.
        faults: The names of those that the reason of the try names.
    """

    promise: str
    what: str
    faults: tuple[str, ...] = ()


def violations(evidence: Evidence) -> list[Violation]:
    """Every broken promise, in the order of `PROMISES`."""
    found = [
        *_of_tasks(evidence),
        *_of_tries(evidence),
        *_of_unknown_lines(evidence),
        *_of_overlaps(evidence),
        *_of_callbacks(evidence),
        *(Violation("stuck", what) for what in evidence.in_slots),
        *(Violation("left", what) for what in evidence.left),
        *(Violation("secret", what) for what in evidence.secrets),
    ]
    order = list(PROMISES)
    return sorted(found, key=lambda each: order.index(each.promise))


def _of_tasks(evidence: Evidence) -> Iterable[Violation]:
    """The last try of each planned task."""
    last = _last_tries(evidence)
    for spec in evidence.plan:
        found = last.get((spec.dag_id, spec.kind, spec.map_index))
        kind = BY_NAME[spec.kind]
        if found is None:
            yield Violation("lost", f"{spec.dag_id}.{spec.kind}[{spec.map_index}] has no try")
        elif found.state not in FINAL:
            yield Violation("stuck", f"{_name(found.key)} is {found.state}")
        elif found.state == "failed" != kind.ends:
            promise = "healthy failed" if kind.is_healthy else "lost"
            yield _violation(evidence, promise, found, f"{_name(found.key)} failed")
        elif found.state != kind.ends:
            yield Violation("lost", f"{_name(found.key)} is {found.state}, not {kind.ends}")


def _of_tries(evidence: Evidence) -> Iterable[Violation]:
    """Each try beside what its code has recorded."""
    by_try: dict[tuple[str, str, int, int], list[Line]] = defaultdict(list)
    for line in evidence.lines:
        by_try[line.dag_id, line.task_id, line.map_index, line.try_number].append(line)
    older = _ran_as_older(evidence)
    to_explain = []
    for each in evidence.tries:
        key = each.key
        number = older.get(key, key.try_number)
        lines = by_try[key.dag_id, key.task_id, key.map_index, number]
        yield from _of_lines(evidence, each, lines)
        # Other executors have other reasons.
        is_ours = not (BY_NAME[key.task_id].executor or evidence.is_reference)
        raised = any(line.event == "raise" for line in lines)
        if is_ours and not raised and _has_failed(each):
            to_explain.append(each)
    to_explain += [
        Try(key, "failed", "")
        for key in evidence.unrecorded
        if not (BY_NAME[key.task_id].executor or evidence.is_reference)
    ]
    lone = unexplained(evidence, to_explain)
    for each in to_explain:
        if each.key in lone:
            what = f"{_name(each.key)} has failed, and nothing explains it"
            yield _violation(evidence, "untrue", each, what)


def _ran_as_older(evidence: Evidence) -> dict[TryKey, int]:
    """The tries that have run from an event of an older try, and the number of that one.

    A second delivery of an event may come when its task is already queued for a later try. Before
    Airflow 3.4 all tries have the same id, so that Airflow starts the later one in its place, and
    has no record of the older one. There are no more of them than second deliveries.
    """
    if evidence.airflow >= (3, 4):
        return {}
    room = sum(count for fault, count in evidence.faults.items() if fault.delivers_again)
    ran = {(line.dag_id, line.task_id, line.map_index, line.try_number) for line in evidence.lines}
    known = {each.key for each in evidence.tries}
    found: dict[TryKey, int] = {}
    for key in sorted(known, key=lambda key: (-key.try_number, key)):
        tries = [replace(key, try_number=number) for number in range(1, key.try_number + 1)]
        said = [each for each in tries if _recorded(each) in ran]
        unknown = [each for each in said if each not in known]
        if unknown and key not in said and len(found) < room:
            found[key] = unknown[-1].try_number
            ran.remove(_recorded(unknown[-1]))  # One try ran from it.
    return found


def _recorded(key: TryKey) -> tuple[str, str, int, int]:
    return key.dag_id, key.task_id, key.map_index, key.try_number


def _of_lines(evidence: Evidence, each: Try, lines: Sequence[Line]) -> Iterable[Violation]:
    """One try beside what its code has recorded."""
    name, kind = _name(each.key), BY_NAME[each.key.task_id]
    events = [line.event for line in lines]
    at_s = {line.event: line.at_s for line in reversed(lines)}
    for event in ("start", "resume", "callback"):
        excused = event == "callback" and _may_be_called_twice(evidence, each, at_s.get(event, 0.0))
        # LocalExecutor starts the try of a dead scheduler again.
        if events.count(event) > 1 and not (kind.executor or excused):
            what = f"{name}: {events.count(event)} times {event}"
            yield _violation(evidence, "twice", each, what)
    if each.state in {"success", "skipped"} and "end" not in events:
        yield Violation("untrue", f"{name} is {each.state}, its code said {events}")
    ran = _has_failed(each) and "end" in at_s and not kind.executor
    if ran and not _may_be_untold(evidence, each, at_s["end"]):
        what = f"{name} is {each.state}, its code ran to its end"
        yield _violation(evidence, "untrue", each, what)


def _may_be_called_twice(evidence: Evidence, each: Try, at_s: float) -> bool:
    """Whether Airflow itself may have called the callback of a failure again.

    Its scheduler calls the callback of a failure that it was not told of. Of a task without a
    heartbeat it calls it when it finds the task, and when its executor's event follows.
    """
    was_silent = "heartbeat" in evidence.reasons.get(each.key, "").lower()
    return was_silent or _may_be_untold(evidence, each, at_s)


def _may_be_untold(evidence: Evidence, each: Try, end_s: float) -> bool:
    """Whether Airflow may not have been told how the code of a try ended.

    Airflow was away, or the process was killed before it had told Airflow. A try that ran on after
    Airflow had its failure is something else, but if its event was there twice: nothing in a dead
    letter says which of the two starts was killed (docs/reference/reliability.md).
    """
    failed_s = evidence.failed_at_s.get(each.key, end_s)
    causes = causes_of(evidence, each)
    was_killed = any(fault.kills and fault.name in causes for fault in evidence.faults)
    if failed_s < end_s:
        was_copied = any(fault.delivers_again for fault in evidence.faults)
        is_dead_letter = re.search(KILLED_START, evidence.reasons.get(each.key, ""))
        return bool(was_killed and was_copied and is_dead_letter) and end_s < failed_s + AT_MOST_S
    if any(fault.repeats and evidence.was_during(fault, end_s) for fault in evidence.faults):
        return True
    return was_killed and failed_s <= end_s + DEAD_LETTER_S


def _has_failed(each: Try) -> bool:
    return each.state in FINAL | {"up_for_retry"} and each.state not in {"success", "skipped"}


def _violation(evidence: Evidence, promise: str, each: Try, what: str) -> Violation:
    """With the reason on one line, not too long, and the faults that it names."""
    reason = " ".join(evidence.reasons.get(each.key, "no reason").split())[:1500]
    return Violation(promise, f"{what}: {reason}", tuple(causes_of(evidence, each)))


def _of_callbacks(evidence: Evidence) -> Iterable[Violation]:
    """A task that fails for good by its own exception notifies its author."""
    said: dict[tuple[str, str, int, int], set[str]] = defaultdict(set)
    for line in evidence.lines:
        said[line.dag_id, line.task_id, line.map_index, line.try_number].add(line.event)
    for each in _last_tries(evidence).values():
        key = each.key
        events = said[key.dag_id, key.task_id, key.map_index, key.try_number]
        must = BY_NAME[key.task_id].ends == "failed" and "raise" in events
        # A reason says that the process was lost after the exception, and the callback with it.
        if must and "callback" not in events and not causes_of(evidence, each):
            yield Violation("lost", f"{_name(key)}: the callback of its failure did not run")


def _last_tries(evidence: Evidence) -> dict[tuple[str, str, int], Try]:
    """The last try of each task."""
    last: dict[tuple[str, str, int], Try] = {}
    for each in evidence.tries:
        key = (each.key.dag_id, each.key.task_id, each.key.map_index)
        if key not in last or last[key].key.try_number <= each.key.try_number:
            last[key] = each
    return last


def _of_unknown_lines(evidence: Evidence) -> Iterable[Violation]:
    """Code that ran in a try that Airflow does not know.

    Airflow keeps no record of a try that failed while it was queued, as the second part of a task
    that has left may be.
    """
    known: dict[tuple[str, str, int], set[int]] = defaultdict(set)
    for each in evidence.tries:
        known[each.key.dag_id, each.key.task_id, each.key.map_index].add(each.key.try_number)
    events: dict[tuple[str, str, int, int], set[str]] = defaultdict(set)
    for line in evidence.lines:
        events[line.dag_id, line.task_id, line.map_index, line.try_number].add(line.event)
    for key, number in _ran_as_older(evidence).items():
        known[key.dag_id, key.task_id, key.map_index].add(number)
    for (dag_id, task_id, map_index, number), said in sorted(events.items()):
        numbers = known[dag_id, task_id, map_index]
        has_left = "leave" in said and "end" not in said and number < max(numbers, default=0)
        if number not in numbers and not has_left:
            what = f"{dag_id}.{task_id}[{map_index}] try {number} ran, and Airflow does not know it"
            yield Violation("untrue", what)


def _of_overlaps(evidence: Evidence) -> Iterable[Violation]:
    """Code that went on in a try after that of a later try had begun."""
    by_task: dict[tuple[str, str, int], list[Line]] = defaultdict(list)
    for line in evidence.lines:
        # LocalExecutor leaves the try of a paused scheduler to that one, and starts the next.
        if not BY_NAME[line.task_id].executor:
            by_task[line.dag_id, line.task_id, line.map_index].append(line)
    for (dag_id, task_id, map_index), lines in by_task.items():
        starts = [line for line in lines if line.event == "start"]
        beside = {
            (line.try_number, start.try_number)
            for line in lines
            for start in starts
            if line.event != "callback"
            and line.try_number < start.try_number
            and line.at_s > start.at_s
        }
        for older, later in sorted(beside):
            what = f"{dag_id}.{task_id}[{map_index}] try {older} ran while try {later} did"
            yield Violation("twice", what)


def _name(key: TryKey) -> str:
    return f"{key.dag_id}.{key.task_id}[{key.map_index}] try {key.try_number}"
