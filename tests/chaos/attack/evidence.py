"""What was seen during an attacked run and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from demo.outcome.airflow_api import Try, TryKey
from tests.chaos.attack.faults import Fault
from tests.chaos.attack.kinds import Spec
from tests.chaos.attack.recorder import Line


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
        unrecorded: The tries of which Airflow keeps no record, because they failed while they were
            queued. Its audit log has their failures.
        lines: What the tasks have recorded.
        reasons: Why each failed try has failed, as Airflow says it.
        opened_at_s: When Airflow has queued each failed try, in seconds since the epoch, if it says
            so.
        failed_at_s: When Airflow has heard of the failure, likewise.
        faults: Those that have happened, with the number of times.
        windows: When the actions among them lasted.
        not_done: What should have been done and was not, in words: such a run shows nothing.
        left: What is left, in words; empty if all is as before.
        unchecked: By queue, how many messages were left that may be copies: nobody waited for them.
        in_slots: What executors still count, in words.
        secrets: Where a secret was found, in words.
        is_reference: Whether the reference's executor ran the tasks. It has other reasons.
        airflow: The first two numbers of Airflow's version.
    """

    plan: Sequence[Spec]
    tries: Sequence[Try]
    lines: Sequence[Line]
    unrecorded: Sequence[TryKey] = field(default=(), kw_only=True)
    reasons: Mapping[TryKey, str] = field(default_factory=dict)
    opened_at_s: Mapping[TryKey, float] = field(default_factory=dict)
    failed_at_s: Mapping[TryKey, float] = field(default_factory=dict)
    faults: Mapping[Fault, int] = field(default_factory=dict)
    windows: Sequence[Window] = ()
    not_done: Sequence[str] = ()
    left: Sequence[str] = ()
    unchecked: Mapping[str, int] = field(default_factory=dict)
    in_slots: Sequence[str] = ()
    secrets: Sequence[str] = ()
    is_reference: bool = False
    airflow: tuple[int, int] = (3, 3)

    def was_during(
        self, fault: Fault, at_s: float | None, opened_s: float | None = None, after_s: float = 0.0
    ) -> bool:
        """Whether something may be of an action by its time; of a rule it always may.

        Args:
            fault: The fault.
            at_s: When it happened, in seconds since the epoch; None: nobody knows.
            opened_s: When the try began to which it happened. One that began after the action has
                not met it.
            after_s: So long after the action it may happen, if that is longer than the fault says.
        """
        if fault.rule or at_s is None:
            return True
        after_s = max(after_s, fault.after_s)
        return any(
            window.fault == fault.name
            and window.from_s - 1 <= at_s <= window.to_s + after_s
            and (opened_s is None or opened_s <= window.to_s)
            for window in self.windows
        )
