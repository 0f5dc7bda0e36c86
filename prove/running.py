"""Does steps in their order, and goes on after a failure with what does not depend on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from prove.actions import Seen
from prove.place import Place
from prove.steps import STEPS, Step


class Outcome(StrEnum):
    """What became of a step."""

    SEEN = "seen"
    FAILED = "FAILED"
    LEFT_OUT = "left out"
    NEEDS_AN_ACCOUNT = "needs an account"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a step, in `seconds`; `detail` says what was seen or why not."""

    step: Step
    outcome: Outcome
    detail: str
    seconds: float = 0.0

    @property
    def number(self) -> int:
        """The number of the step in the plan."""
        return STEPS.index(self.step) + 1


def run(
    steps: Sequence[Step], place: Place, logs: Path, say: Callable[[str], None]
) -> Iterator[Result]:
    """Do steps and yield the result of each.

    A step that is not among `steps` counts as done: whoever chose says so.
    """
    chosen = {step.name for step in steps}
    missing: set[str] = set()
    for step in steps:
        if reason := _reason(step, place, missing & chosen):
            outcome, detail = reason
            result = Result(step, outcome, detail)
        else:
            result = _do(step, place, logs, say)
        if result.outcome is not Outcome.SEEN:
            missing.add(step.name)
        say(f"{result.outcome}: {result.detail}")
        yield result


def _reason(step: Step, place: Place, missing: Collection[str]) -> tuple[Outcome, str] | None:
    """Return why a step is not done."""
    if left_out := step.left_out(place):
        return Outcome.LEFT_OUT, left_out
    if step.only_account and place.is_embedded:
        return Outcome.NEEDS_AN_ACCOUNT, f"in the embedded AWS, {step.only_account}"
    for name in step.after:
        if name in missing:
            return Outcome.LEFT_OUT, f"{name} was not seen"
    return None


def _do(step: Step, place: Place, logs: Path, say: Callable[[str], None]) -> Result:
    number, started_s = STEPS.index(step) + 1, time.monotonic()
    seen = Seen(logs / f"{number:02}-{step.name}.log")
    seen.log.unlink(missing_ok=True)
    say(f"{number}. {step.name}: {step.does} (about {step.minutes} min; {seen.log})")
    outcome, detail, has_begun, problem = Outcome.SEEN, "", False, ""
    try:
        seen.before = step.before(place)
        has_begun = True
        for action in step.actions(place):
            say(f"   $ {action.command(place)}")
            action.run(place, seen)
        detail = step.check(place, seen)
    except Exception as e:  # noqa: BLE001 - one step must not lose the results of the others
        outcome, detail = Outcome.FAILED, _said(e)
    finally:
        if has_begun:  # Also after Ctrl-C: what was paused must not stay so.
            problem = _undo(step, place, seen, say)
    if problem:
        outcome, detail = Outcome.FAILED, "; ".join(filter(None, (detail, problem)))
    return Result(step, outcome, detail, time.monotonic() - started_s)


def _undo(step: Step, place: Place, seen: Seen, say: Callable[[str], None]) -> str:
    """Undo a step; return why that failed."""
    try:
        for action in step.undo(place, seen):
            say(f"   $ {action.command(place)}")
            action.run(place, seen)
        if step.undone:
            step.undone(place, seen)
    except Exception as e:  # noqa: BLE001 - as above
        return f"and it could not be undone: {_said(e)}"
    return ""


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
