"""When a workload is asked to stop, when it is killed and when it is reported: pure arithmetic.

All times count back from the moment at which Lambda ends the execution environment;
`docs/reference/handler.md` has the timeline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.lambda_limits import EARLIER_LONGEST_TIMEOUT_S, LONGEST_TIMEOUT_S
from lambda_executor.contract.option_types import SecondsOption
from lambda_executor.contract.options import KILL_MARGIN_S, STOP_MARGIN_S
from lambda_image.machine.zygote import Times

#: The default stop margin, as a share of a short time-out.
_STOP_SHARE = 0.25
#: The default kill margin, as a share of the stop margin.
_KILL_SHARE = 0.4

#: The share of the kill margin that is kept for the result.
_REPORT_SHARE = 0.4
#: The least time kept for the result. The margins' bounds leave Airflow's supervisor as much.
_REPORT_S = 1.0

#: How long the start of a task is repeated while the Execution API does not answer: this share of
#: the time-out, but at most so many seconds, because the wait is paid for.
_START_SHARE = 0.5
_MAX_START_S = 180.0

#: Seconds that are kept for uploading the task's log.
_UPLOAD_S = 1.0

#: Seconds before the end that nothing may use: an exception must still reach Lambda's runtime.
RESERVE_S = 0.2


@dataclass(frozen=True, slots=True)
class Deadline:
    """The times of one invocation, on the monotonic clock."""

    time_out_s: float  # What was left when the handler was entered.
    stop_margin_s: float  # Before the end.
    kill_margin_s: float  # Before the end.
    end_at_s: float  # When Lambda ends the execution environment.
    token_ends_at_s: float = math.inf  # When the workload's token expires.
    waited_s: float | None = None  # How long the invocation had waited for its start, if known.

    @property
    def start_by_s(self) -> float:
        """When Airflow must have accepted the start of the task: most of the rest is the task's."""
        entered_at_s = self.end_at_s - self.time_out_s
        patience_s = min(self.time_out_s * _START_SHARE, _MAX_START_S)
        return min(entered_at_s + patience_s, self.times.stop_at_s, self.token_ends_at_s)

    @property
    def times(self) -> Times:
        """When the task's process is stopped and killed."""
        return Times(self.end_at_s - self.stop_margin_s, self.end_at_s - self.kill_margin_s)

    @property
    def give_up_at_s(self) -> float:
        """When the supervisor must have notified Airflow; the rest is for sending the result."""
        return self.end_at_s - max(self.kill_margin_s * _REPORT_SHARE, _REPORT_S + RESERVE_S)

    @property
    def notify_by_s(self) -> float:
        """When a failed call about the task's end is not repeated any more: its log is uploaded."""
        return max(self.times.kill_at_s, self.give_up_at_s - _UPLOAD_S)

    @property
    def stop_reason(self) -> str:
        """The reason of a task that is asked to stop."""
        return f"stopped {self.stop_margin_s:g} s before {self._time_out}"

    @property
    def kill_reason(self) -> str:
        """The reason of a task that is killed."""
        return f"killed {self.kill_margin_s:g} s before {self._time_out}"

    @property
    def _time_out(self) -> str:
        return (
            f"the end of the function's time-out, which left {self.time_out_s:.1f} s for it: raise "
            f"the time-out (Lambda's limit is {LONGEST_TIMEOUT_S} s, in some Regions "
            f"{EARLIER_LONGEST_TIMEOUT_S} s), or give the task less to do"
        )


@dataclass(frozen=True, slots=True)
class Margins:
    """The margins that the function's variables set; None if not set."""

    stop_s: float | None
    kill_s: float | None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Margins:
        """Read the margins.

        Raises:
            ConfigError: The margins cannot work, whatever the time-out is.
        """
        margins = cls(
            STOP_MARGIN_S.from_environment(environ), KILL_MARGIN_S.from_environment(environ)
        )
        stop_comes_before_kill(margins)
        return margins

    def deadline(self, remaining_s: float, now_s: float) -> Deadline:
        """The times of an invocation that has so much time left now, on the monotonic clock.

        Raises:
            ConfigError: The margins leave no time for a task.
        """
        stop_s, kill_s = self.stop_s, self.kill_s
        if stop_s is None:
            stop_s = _at_most_the_default(STOP_MARGIN_S, remaining_s * _STOP_SHARE)
            stop_s = max(stop_s, (kill_s or 0) / _KILL_SHARE)
        if kill_s is None:
            kill_s = _at_most_the_default(KILL_MARGIN_S, stop_s * _KILL_SHARE)
        deadline = Deadline(remaining_s, stop_s, kill_s, now_s + remaining_s)
        task_comes_before_stop(deadline)
        return deadline


def stop_comes_before_kill(margins: Margins) -> None:
    """Require that a task is asked to stop before it is killed.

    Raises:
        ConfigError: The kill margin is at least as long as the stop margin.
    """
    stop_s, kill_s = margins.stop_s, margins.kill_s
    if stop_s is not None and kill_s is not None and kill_s >= stop_s:
        raise ConfigError(
            f"{STOP_MARGIN_S.environment_variable} is {stop_s:g} and "
            f"{KILL_MARGIN_S.environment_variable} is {kill_s:g}: the first must be the longer "
            "one, a task is asked to stop before it is killed"
        )


def task_comes_before_stop(deadline: Deadline) -> None:
    """Require that a task has time before it is asked to stop.

    Raises:
        ConfigError: The stop margin is at least as long as the time that is left.
    """
    if deadline.stop_margin_s >= deadline.time_out_s:
        raise ConfigError(
            f"the function's time-out leaves {deadline.time_out_s:.1f} s, and a task would be "
            f"asked to stop {deadline.stop_margin_s:g} s and killed {deadline.kill_margin_s:g} s "
            f"before its end: raise the time-out, or lower {STOP_MARGIN_S.environment_variable} "
            f"and {KILL_MARGIN_S.environment_variable}"
        )


def _at_most_the_default(option: SecondsOption, seconds: float) -> float:
    return min(option.default, max(seconds, option.bounds.least))
