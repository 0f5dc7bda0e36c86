"""Decides why a task failed or waits, and what to do about it. Pure.

The order of the rules is the order of how much a source knows: the executor's reason, the handler's
own words, Lambda's or a service's, and then Airflow's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lambda_executor.contract.help import help_page
from lambda_executor.contract.wire import Outcome
from lambda_executor.core.reports import CONTINUED
from lambda_executor.ops.explain.evidence import Evidence

#: What Airflow decides without an executor.
_NEVER_RUN = {
    "removed": "the task is no longer in its DAG",
    "skipped": "Airflow or an earlier task skipped it",
    "upstream_failed": "a task before it failed",
}
#: The pages of the documentation, from the root of the repository.
_TASKS = "docs/troubleshooting/tasks.md"
_RUNBOOK = "docs/howto/runbook.md"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer.

    Attributes:
        text: Why the task is as it is, in one sentence.
        fix: What to do; empty: nothing.
        page: The page and section of the documentation that fits; empty: there is none.
    """

    text: str
    fix: str = ""
    page: str = ""


class Cause(NamedTuple):
    """A kind of reason: parts of its texts, what to do, and the section about it."""

    parts: tuple[str, ...]
    fix: str
    page: str


#: The first that fits counts. `tests/unit/executor/test_explain.py` looks up each page.
CAUSES = (
    Cause(
        ("token ran out", "token expired", "until its token", "EventAgeExceeded", "not sent: it"),
        "find out what it waited for, or give its function or job queue more room",
        f"{_TASKS}#the-function-was-never-started-or-its-token-ran-out",
    ),
    Cause(
        ("killed by the kernel", "signal: killed", "more memory", "OutOfMemory"),
        "raise the memory of its target, or choose a larger target for this task",
        f"{_TASKS}#the-task-needed-more-memory",
    ),
    Cause(
        (
            "'s time-out",
            "timed out",
            "Status: timeout",
            "ran for longer",
            "ran for maximumDuration",
        ),
        "raise the time-out, give the task less to do, or choose a target with more time",
        f"{_TASKS}#the-task-ran-out-of-time",
    ),
    Cause(
        ("the Execution API at",),
        "make the way from the target to Airflow's API server work; "
        "`airflow lambda-executor check` tries it",
        f"{_TASKS}#the-execution-api-cannot-be-reached",
    ),
    Cause(
        ("DAG file", "DAG bundle"),
        "deploy or push the DAG files that the DAG processor reads",
        f"{_TASKS}#the-dag-file-is-not-where-the-task-runs",
    ),
    Cause(
        ("Lambda gave up: ", "Runtime exited", "Status: error"),
        "look for Lambda's own words in the lines below",
        f"{_TASKS}#lambda-gave-up",
    ),
    Cause(
        ("the job ended without a result", "no result came"),
        "do what AWS's words ask for; the job's log has its last lines",
        f"{_TASKS}#no-result-came",
    ),
    Cause(
        ("killed by", "exited with code", "exit code", "crashed"),
        "read the last lines of the task's log and of the function's or job's log",
        f"{_TASKS}#the-tasks-process-crashed",
    ),
    Cause(
        ("heartbeat timeout",),
        "see whether the lines below have a crash; if they have none, see whether the results and "
        "dead letters are read (`airflow lambda-executor check`)",
        f"{_RUNBOOK}#dead-letters-lost",
    ),
    Cause(
        ("stuck in queued",),
        "see below what it waited for: the function or job queue needs more room, or no scheduler "
        "has sent it",
        f"{_RUNBOOK}#invocations-wait",
    ),
)
_OTHER = Cause((), "do what the reason asks for", _TASKS)


def of(evidence: Evidence) -> Verdict:
    """Return the verdict on one try of a task."""
    state = evidence.task.state or ""
    if not evidence.task.is_ours:
        by = evidence.task.executor or "[core] executor's default"
        text = f"it is not this executor's task: {by} runs it, so only Airflow is asked"
        return Verdict(text, "read the task's log in Airflow")
    if state in _NEVER_RUN:
        return Verdict(f"it did not run: {_NEVER_RUN[state]}")
    return _RULES.get(state, _not_scheduled)(evidence)


def _failed(evidence: Evidence) -> Verdict:
    then = ", and Airflow will try it again" if evidence.task.state == "up_for_retry" else ""
    settled, log = evidence.log.settled, evidence.log
    reason = evidence.executors_reason or str(settled.get("reason") or "") or log.crash
    if not reason and evidence.job_ends:
        reason = evidence.job_ends[-1]
    if not reason and settled.get("outcome") == Outcome.COMPLETED.value:
        text = f"the task itself failed{then}: its function or job did its part, and says so"
        return Verdict(text, "read the task's log in Airflow: it has the exception")
    reason = reason or evidence.airflows_reason
    if not reason:
        text = f"it failed{then}, and neither the executor nor AWS has a reason: most often the "
        text += "task itself failed"
        return Verdict(text, "read the task's log in Airflow, and the lines below")
    cause = cause_of(reason)
    return Verdict(f"it failed{then}: {reason}", cause.fix, cause.page)


def _running(evidence: Evidence) -> Verdict:
    ended = evidence.log.crash or (evidence.job_ends[-1] if evidence.job_ends else "")
    if ended and not evidence.log.settled:
        text = f"its function or job has ended, and Airflow does not know that yet: {ended}"
        fix = "wait until the executor has its dead letter, or Airflow misses its heartbeats"
        return Verdict(text, fix, cause_of(ended).page)
    if evidence.log.settled:
        text = "its function or job has ended and sent its result, and the executor has not yet "
        text += "told Airflow"
        fix = "wait a minute, then see whether results are read (`airflow lambda-executor check`)"
        return Verdict(text, fix, f"{_RUNBOOK}#results-unread")
    return Verdict("it runs, and nothing says that it has ended", "read its log in Airflow")


def _queued(evidence: Evidence) -> Verdict:
    if evidence.log.has_started or evidence.log.crash:
        ended = f": {evidence.log.crash}" if evidence.log.crash else ""
        text = f"its function or job has started it, and Airflow has not heard of a start{ended}"
        fix = "see whether the Execution API can be reached (`airflow lambda-executor check`)"
        return Verdict(text, fix, f"{_TASKS}#the-execution-api-cannot-be-reached")
    if evidence.job_ends:
        ended = evidence.job_ends[-1]
        text = f"its job has ended before it started the task: {ended}"
        return Verdict(text, cause_of(ended).fix, f"{_TASKS}#the-job-or-microvm-did-not-start")
    why = _joined(evidence.waits) or "it was given to the executor, and has not started yet"
    return Verdict(f"it waits for its start: {why}", *_room(evidence.waits))


def _scheduled(evidence: Evidence) -> Verdict:
    why = _joined(evidence.waits)
    if not why:
        why = "the scheduler will queue it once its DAG (max_active_tasks), its pool and [core] "
        why += "parallelism have room"
    return Verdict(f"it waits in Airflow: {why}", *_room(evidence.waits))


def _not_scheduled(evidence: Evidence) -> Verdict:
    name = evidence.task.name
    why = _joined(evidence.waits) or "tasks before it have not ended, or its run has not begun"
    return Verdict(
        f"Airflow has not scheduled it yet: {why}",
        f"airflow tasks failed-deps {name.dag_id} {name.task_id} {name.run_id} lists what it "
        "waits for",
    )


def _succeeded(evidence: Evidence) -> Verdict:  # noqa: ARG001 - as the other rules
    return Verdict("it succeeded")


def _continues(evidence: Evidence) -> Verdict:
    text = f"it is {evidence.task.state}: it occupies no function or job, and continues in another "
    return Verdict(f"{text}invocation of the same try", "look at what it waits for")


def _room(waits: Sequence[str]) -> tuple[str, str]:
    if waits:
        fix = "remove what keeps it, or wait: the task with the highest priority_weight comes first"
        return fix, f"{_RUNBOOK}#tasks-stay-scheduled"
    return "wait; if it stays so, ask `airflow lambda-executor check`", ""


def _joined(parts: Sequence[str]) -> str:
    return "; ".join(parts)


def cause_of(reason: str) -> Cause:
    """Return the kind of a reason."""
    other = _OTHER._replace(page=help_page(reason) or _OTHER.page)
    return next((each for each in CAUSES if any(part in reason for part in each.parts)), other)


#: The rule for each state of a task in which an executor may have a part.
_RULES: Mapping[str, Callable[[Evidence], Verdict]] = {
    **dict.fromkeys(CONTINUED, _continues),
    "failed": _failed,
    "queued": _queued,
    "restarting": _running,
    "running": _running,
    "scheduled": _scheduled,
    "success": _succeeded,
    "up_for_retry": _failed,
}
