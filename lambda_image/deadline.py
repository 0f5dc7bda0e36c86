"""When a workload has to stop, when it is killed and when its end is told: pure arithmetic.

Everything counts back from the moment at which Lambda ends the execution environment
(`docs/reference/handler.md` has the timeline). It must not know processes, Airflow or AWS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import KILL_MARGIN_S, STOP_MARGIN_S, SecondsOption
from lambda_image.machine.zygote import Times

#: Parts of a short time-out that the margins take if nothing sets them.
_STOP_PART = 0.25
_KILL_PART = 0.4  # Of the stop margin.

#: Of the kill margin: what is kept for the result,
_REPORT_PART = 0.4
#: and how many seconds at least. The margins' own bounds are so wide that as much is left before.
_REPORT_S = 1.0

#: Seconds before the end that nothing may use: an exception has to reach Lambda's runtime.
RESERVE_S = 0.2


@dataclass(frozen=True, slots=True)
class Deadline:
    """The times of one invocation, on the monotonic clock.

    Attributes:
        time_out_s: What the function had when the handler was entered.
        stop_margin_s: How long before the end a task is asked to stop.
        kill_margin_s: How long before the end it is killed.
        end_at_s: When Lambda ends the environment.
    """

    time_out_s: float
    stop_margin_s: float
    kill_margin_s: float
    end_at_s: float

    @property
    def times(self) -> Times:
        """The times of the task's process."""
        return Times(self.end_at_s - self.stop_margin_s, self.end_at_s - self.kill_margin_s)

    @property
    def give_up_at_s(self) -> float:
        """When Airflow has to have been told: what is left is the result's."""
        return self.end_at_s - max(self.kill_margin_s * _REPORT_PART, _REPORT_S + RESERVE_S)

    @property
    def stop_words(self) -> str:
        """What is said to a task that is asked to stop."""
        return f"stopped {self.stop_margin_s:g} s before {self._time_out_words}"

    @property
    def kill_words(self) -> str:
        """What is said of a task that had to be killed."""
        return f"killed {self.kill_margin_s:g} s before {self._time_out_words}"

    @property
    def _time_out_words(self) -> str:
        return (
            f"the end of the function's time-out, which left {self.time_out_s:.1f} s for it: raise "
            "the time-out (Lambda's limit is 900 s), or give the task less to do"
        )


@dataclass(frozen=True, slots=True)
class Margins:
    """The margins as the function's environment sets them; None: not set."""

    stop_s: float | None
    kill_s: float | None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Margins:
        """Read them.

        Raises:
            ConfigError: They cannot work, whatever the time-out is.
        """
        margins = cls(
            STOP_MARGIN_S.from_environment(environ), KILL_MARGIN_S.from_environment(environ)
        )
        stop_comes_before_kill(margins)
        return margins

    def deadline(self, remaining_s: float, now_s: float) -> Deadline:
        """The times of an invocation.

        Args:
            remaining_s: What Lambda leaves it.
            now_s: The time of now, on the monotonic clock.

        Raises:
            ConfigError: The margins leave nothing of it for a task.
        """
        stop_s, kill_s = self.stop_s, self.kill_s
        if stop_s is None:
            stop_s = _at_most_the_default(STOP_MARGIN_S, remaining_s * _STOP_PART)
            stop_s = max(stop_s, (kill_s or 0) / _KILL_PART)
        if kill_s is None:
            kill_s = _at_most_the_default(KILL_MARGIN_S, stop_s * _KILL_PART)
        deadline = Deadline(remaining_s, stop_s, kill_s, now_s + remaining_s)
        task_comes_before_stop(deadline)
        return deadline


def stop_comes_before_kill(margins: Margins) -> None:
    """A task is asked to stop before it is killed, or it could not end by itself.

    Raises:
        ConfigError: Both margins are set, and the one for killing it is no shorter.
    """
    stop_s, kill_s = margins.stop_s, margins.kill_s
    if stop_s is not None and kill_s is not None and kill_s >= stop_s:
        raise ConfigError(
            f"{STOP_MARGIN_S.environment_variable} is {stop_s:g} and "
            f"{KILL_MARGIN_S.environment_variable} is {kill_s:g}: the first must be the longer "
            "one, a task is asked to stop before it is killed"
        )


def task_comes_before_stop(deadline: Deadline) -> None:
    """A task runs before it is asked to stop, or none would ever succeed.

    Raises:
        ConfigError: The margin for stopping it is no shorter than the time-out.
    """
    if deadline.stop_margin_s >= deadline.time_out_s:
        raise ConfigError(
            f"the function's time-out leaves {deadline.time_out_s:.1f} s, and a task would be "
            f"asked to stop {deadline.stop_margin_s:g} s and killed {deadline.kill_margin_s:g} s "
            f"before its end: raise the time-out, or lower {STOP_MARGIN_S.environment_variable} "
            f"and {KILL_MARGIN_S.environment_variable}"
        )


def _at_most_the_default(option: SecondsOption, seconds: float) -> float:
    """What a short time-out suggests, as far as the option allows it."""
    return min(option.default, max(seconds, option.bounds.least))
