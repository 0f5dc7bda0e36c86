"""What a run of one task says about it, and what Lambda would have stopped it for: pure text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambda_executor.contract.lambda_limits import THREADS
from lambda_executor.contract.wire import Outcome
from lambda_executor.ops.local_run.limits import Limits
from lambda_executor.ops.terminal import columns

if TYPE_CHECKING:
    from lambda_executor.ops.local_run.programs import Seen

_TMP = "/tmp"  # noqa: S108 - only its name
#: Most paths that are named.
_NAMED = 5
#: States that a try may have in the end without a failure.
_GOOD = frozenset({"success", "skipped", "deferred", "up_for_reschedule", "awaiting_input"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the summary.

    Attributes:
        subject: What it is about.
        text: The measured value, beside the limit.
        is_problem: Whether the task failed, or would have failed in Lambda, because of it.
    """

    subject: str
    text: str
    is_problem: bool = False


def head(
    request: Mapping[str, Any], limits: Limits, notes: Sequence[str], *, has_walls: bool
) -> Iterator[str]:
    """Yield what is known before the task starts."""
    yield from columns("", "run", f"{request['run_id']}, in a database of its own")
    sizes = f"{limits.memory_mb} MB, {limits.timeout_s:g} s, {limits.tmp_mb} MB in /tmp"
    yield from columns("", "limits", f"{sizes} ({limits.source})")
    walls = (
        "bubblewrap: all read-only but /tmp, which has its size"
        if has_walls
        else "none, because bubblewrap (bwrap) does not work here: writes outside of /tmp succeed, "
        "and those of Python code are listed"
    )
    yield from columns("", "file system", walls)
    yield from columns("", "credentials", "your own, not those of the function's role")
    for note in notes:
        yield from columns("", "database", note)
    yield ""


def findings(
    seen: Seen, limits: Limits, state: str | None, *, has_walls: bool, debugger: str | None
) -> tuple[Finding, ...]:
    """Judge what was measured."""
    return (
        _state(seen, state),
        _time(seen, limits, debugger),
        _memory(seen, limits, debugger),
        _tmp(seen, limits, has_walls=has_walls),
        _root(seen, has_walls=has_walls),
        _threads(seen),
    )


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the summary."""
    yield ""
    for finding in findings:
        yield from columns("PROBLEM" if finding.is_problem else "OK", finding.subject, finding.text)
    count = sum(finding.is_problem for finding in findings)
    yield "Lambda would have run it" if not count else f"{count} to fix"


def _state(seen: Seen, state: str | None) -> Finding:
    reason = f": {seen.ended.reason}" if seen.ended.reason else ""
    return Finding("task", f"{state}{reason}", state not in _GOOD)


def _time(seen: Seen, limits: Limits, debugger: str | None) -> Finding:
    ended = seen.ended
    of = f"{ended.run_s:.1f} s of {limits.timeout_s:g} s"
    if ended.outcome == Outcome.DEADLINE.value:
        return Finding(
            "time", f"{of}: it was stopped, as Lambda's time-out demands", is_problem=True
        )
    if ended.run_s < ended.stop_at_s:
        return Finding("time", of)
    asked = f"{of}: it would have been asked to stop after {ended.stop_at_s:.1f} s"
    if debugger:
        # The time at a prompt counts, too: nobody can tell it apart.
        return Finding("time", f"{asked}, but for {debugger}, in which it may have waited")
    return Finding("time", asked, is_problem=True)


def _memory(seen: Seen, limits: Limits, debugger: str | None) -> Finding:
    ended = seen.ended
    most_mb = max(ended.memory_mb, ended.largest_mb)
    text = (
        f"{most_mb:.0f} MB of {limits.memory_mb} MB; its largest process had "
        f"{ended.largest_mb:.0f} MB"
    )
    if most_mb <= limits.memory_mb:
        return _unless_unmeasured(seen, Finding("memory", text))
    at = "" if ended.over_memory_s is None else f" after {ended.over_memory_s:.1f} s"
    if ended.was_killed_for_memory:
        return Finding(
            "memory", f"{text}. It was killed{at}, as Lambda would have", is_problem=True
        )
    why = f", but for {debugger}" if debugger else ""
    return Finding("memory", f"{text}. Lambda would have killed it{at}{why}", is_problem=True)


def _tmp(seen: Seen, limits: Limits, *, has_walls: bool) -> Finding:
    used = seen.ended.tmp_mb
    text = f"{used:.0f} MB of {limits.tmp_mb} MB"
    if has_walls and used >= limits.tmp_mb - 1:
        text = f"{text}: it is full, and more could not be written"
        return Finding(_TMP, text, is_problem=True)
    if used > limits.tmp_mb:
        return Finding(_TMP, f"{text}: Lambda's would have been full", is_problem=True)
    return Finding(_TMP, text)


def _root(seen: Seen, *, has_walls: bool) -> Finding:
    if not seen.written:
        scope = "" if has_walls else " by Python code; other programs are not seen without walls"
        return Finding("read-only root", f"nothing was written outside of /tmp{scope}")
    paths = list(dict.fromkeys(seen.written))
    named = ", ".join(paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    what = "was refused" if has_walls else "would have been refused"
    return Finding("read-only root", f"writing {what}: {named}{more}", is_problem=True)


def _threads(seen: Seen) -> Finding:
    text = f"{seen.ended.threads} processes and threads of {THREADS} at once"
    if seen.ended.threads > THREADS:
        return Finding("processes", text, is_problem=True)
    return _unless_unmeasured(seen, Finding("processes", text))


def _unless_unmeasured(seen: Seen, finding: Finding) -> Finding:
    """A good finding, or that it may have become a bad one later."""
    if not seen.ended.not_measured:
        return finding
    why = f"not measured to the end, because sampling failed ({seen.ended.not_measured})"
    return Finding(finding.subject, f"{why}; until then {finding.text}", is_problem=True)
