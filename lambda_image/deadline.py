"""When a workload is asked to stop, when it is killed and when it is reported: pure arithmetic.

All times count back from the moment at which Lambda ends the execution environment. A job may have
no end, or one that it is told of when AWS asks it to stop. `docs/reference/handler.md` has the
timeline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.lambda_limits import (
    EARLIER_LONGEST_TIMEOUT_S,
    LONGEST_LIFE_S,
    LONGEST_TIMEOUT_S,
)
from lambda_executor.contract.options import KILL_MARGIN_S, STOP_MARGIN_S
from lambda_executor.contract.stop_margin import default_stop_margin_s
from lambda_executor.contract.wire import Outcome
from lambda_image import host
from lambda_image.machine import stop_request
from lambda_image.machine.stop_request import StopRequest
from lambda_image.machine.zygote import REQUEST_SIGNAL, STOP_SIGNAL, Times
from lambda_image.verdict import Verdict

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

#: How a task gets more time than its target has; the page `docs/howto/route-by-need.md` says more.
_ELSEWHERE = (
    ". For a target with more time, set the task's execution_timeout or queue, or "
    "{'lambda_executor': {'on_deadline': 'next_target'}} as its executor_config"
)

#: Seconds that are kept for uploading the task's log.
_UPLOAD_S = 1.0

#: The setting that is the time-out, by what has it.
_TIME_OUTS: Mapping[host.Name, str] = {
    "function": (
        f"the time-out (Lambda's limit is {LONGEST_TIMEOUT_S} s, in some Regions "
        f"{EARLIER_LONGEST_TIMEOUT_S} s)"
    ),
    "job": "timeout.attemptDurationSeconds of the Batch job",
    "MicroVM": f"maximumDurationInSeconds of the target (AWS's limit is {LONGEST_LIFE_S} s)",
}

#: Seconds before the end that nothing may use: an exception must still reach Lambda's runtime.
RESERVE_S = 0.2


@dataclass(frozen=True, slots=True)
class Deadline:
    """The times of one invocation, on the monotonic clock.

    Attributes:
        entered_at_s: When the handler was entered.
        time_out_s: What was left then; infinite for a job without a time-out.
        stop_margin_s: How long before the time-out the task is asked to stop.
        kill_margin_s: How long before the end the task is killed.
        token_ends_at_s: When the workload's token expires.
        waited_s: How long the invocation had waited for its start, if known.
        request: Brings the end forward, at any time.
    """

    entered_at_s: float
    time_out_s: float
    stop_margin_s: float
    kill_margin_s: float
    token_ends_at_s: float = math.inf
    waited_s: float | None = None
    request: StopRequest = field(default_factory=StopRequest, compare=False)

    @property
    def end_at_s(self) -> float:
        """When AWS ends the execution environment."""
        return min(self.entered_at_s + self.time_out_s, self.request.ends_at_s)

    @property
    def is_requested(self) -> bool:
        """Whether AWS has asked for the end, and that is earlier than the time-out's."""
        return self.request.ends_at_s < self.entered_at_s + self.time_out_s

    @property
    def start_by_s(self) -> float:
        """When Airflow must have accepted the start of the task: most of the rest is the task's."""
        patience_s = min(self.time_out_s * _START_SHARE, _MAX_START_S)
        return min(self.entered_at_s + patience_s, self.times.stop_at_s, self.token_ends_at_s)

    @property
    def times(self) -> Times:
        """When the task's process is stopped and killed."""
        if self.is_requested:
            return Times(self.request.made_at_s, self._kill_at_s, REQUEST_SIGNAL)
        return Times(self.end_at_s - self.stop_margin_s, self._kill_at_s)

    @property
    def give_up_at_s(self) -> float:
        """When the supervisor must have notified Airflow; the rest is for sending the result."""
        return self.end_at_s - max(self._kill_margin_s * _REPORT_SHARE, _REPORT_S + RESERVE_S)

    @property
    def notify_by_s(self) -> float:
        """When a failed call about the task's end is not repeated any more: its log is uploaded."""
        return max(self._kill_at_s, self.give_up_at_s - _UPLOAD_S)

    @property
    def stop_reasons(self) -> Mapping[int, str]:
        """The reasons of a task that is asked to stop, by the signal that asks."""
        return {
            STOP_SIGNAL: f"stopped {self.stop_margin_s:g} s before {self._time_out}",
            REQUEST_SIGNAL: f"stopped: {self.request.cause}",
        }

    @property
    def stop_reason(self) -> str:
        """The reason of a task that was asked to stop."""
        return self.stop_reasons[self.times.stop_signal]

    @property
    def kill_reason(self) -> str:
        """The reason of a task that was killed."""
        if self.is_requested:
            after_s = self._kill_at_s - self.request.made_at_s
            return f"killed {after_s:g} s after the request to stop: {self.request.cause}"
        return f"killed {self.kill_margin_s:g} s before {self._time_out}"

    def with_request(self, verdict: Verdict) -> Verdict:
        """A verdict that says so if nothing was started after AWS had asked for the end."""
        if verdict.outcome is not Outcome.REJECTED or not self.is_requested:
            return verdict
        if self.request.cause in verdict.reason:
            return verdict
        return verdict.adding(self.request.cause)

    @property
    def _kill_margin_s(self) -> float:
        """The kill margin, unless it is longer than what a request to stop leaves."""
        if self.is_requested:
            return min(self.kill_margin_s, stop_request.GRACE_S / 2)
        return self.kill_margin_s

    @property
    def _kill_at_s(self) -> float:
        return self.end_at_s - self._kill_margin_s

    @property
    def _time_out(self) -> str:
        return (
            f"the end of the {host.name()}'s time-out, which left {self.time_out_s:.1f} s for it: "
            f"raise {_TIME_OUTS[host.name()]}, or give the task less to do{_ELSEWHERE}"
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
            stop_s = max(default_stop_margin_s(remaining_s), (kill_s or 0) / _KILL_SHARE)
        if kill_s is None:
            least_s = KILL_MARGIN_S.bounds.least
            kill_s = min(KILL_MARGIN_S.default, max(stop_s * _KILL_SHARE, least_s))
        deadline = Deadline(now_s, remaining_s, stop_s, kill_s)
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
            f"the {host.name()}'s time-out leaves {deadline.time_out_s:.1f} s, and a task would be "
            f"asked to stop {deadline.stop_margin_s:g} s and killed {deadline.kill_margin_s:g} s "
            f"before its end: raise the time-out, or lower {STOP_MARGIN_S.environment_variable} "
            f"and {KILL_MARGIN_S.environment_variable}"
        )
