"""What was seen during an attacked run and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from demo.outcome.airflow_api import Try, TryKey
from tests.chaos.attack.faults import Fault
from tests.chaos.attack.kinds import Spec
from tests.chaos.attack.recorder import Line

#: So long after an action Airflow may hear of a failure, in seconds: it waits for heartbeats, and
#: handlers repeat their calls.
AFTER_S = 90


@dataclass(frozen=True, slots=True)
class Window:
    """When an action lasted, in seconds since the epoch."""

    fault: str
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the oracle judges.

    Attributes:
        plan: The tasks that there should be.
        tries: Every try of each.
        lines: What the tasks have recorded.
        reasons: Why each failed try has failed, as Airflow says it.
        failed_at_s: When Airflow has heard of it, in seconds since the epoch, if it says so.
        faults: Those that have happened, with the number of times.
        windows: When the actions among them lasted.
        not_done: What should have been done and was not, in words: such a run shows nothing.
        left: What is left, in words; empty if all is as before.
        in_slots: What executors still count, in words.
        secrets: Where a secret was found, in words.
        is_reference: Whether the reference's executor ran the tasks. It has other reasons.
    """

    plan: Sequence[Spec]
    tries: Sequence[Try]
    lines: Sequence[Line]
    reasons: Mapping[TryKey, str] = field(default_factory=dict)
    failed_at_s: Mapping[TryKey, float] = field(default_factory=dict)
    faults: Mapping[Fault, int] = field(default_factory=dict)
    windows: Sequence[Window] = ()
    not_done: Sequence[str] = ()
    left: Sequence[str] = ()
    in_slots: Sequence[str] = ()
    secrets: Sequence[str] = ()
    is_reference: bool = False

    def was_during(self, fault: Fault, at_s: float | None) -> bool:
        """Whether something may be of an action by its time; of a rule it always may.

        Args:
            fault: The fault.
            at_s: When it happened, in seconds since the epoch; None: nobody knows.
        """
        if fault.rule or at_s is None:
            return True
        return any(
            window.fault == fault.name and window.from_s - 1 <= at_s <= window.to_s + AFTER_S
            for window in self.windows
        )
