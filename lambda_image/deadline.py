"""When a workload has to stop, when it is killed and when its end is told: pure arithmetic.

Everything counts back from the moment at which Lambda ends the execution environment
(`docs/reference/handler.md` has the timeline). It must not know processes, Airflow or AWS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lambda_executor.errors import ConfigError
from lambda_executor.options import KILL_MARGIN_S, STOP_MARGIN_S, Option
from lambda_image.zygote import Times

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
        stop_s, kill_s = _number(STOP_MARGIN_S, environ), _number(KILL_MARGIN_S, environ)
        if stop_s is not None and kill_s is not None and kill_s >= stop_s:
            raise ConfigError(
                f"{STOP_MARGIN_S.environment_variable} is {stop_s:g} and "
                f"{KILL_MARGIN_S.environment_variable} is {kill_s:g}: the first must be the longer "
                "one, a task is asked to stop before it is killed"
            )
        return cls(stop_s, kill_s)

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
        if stop_s >= remaining_s:
            raise ConfigError(
                f"the function's time-out leaves {remaining_s:.1f} s, and a task would be asked to "
                f"stop {stop_s:g} s and killed {kill_s:g} s before its end: raise the time-out, or "
                f"lower {STOP_MARGIN_S.environment_variable} and "
                f"{KILL_MARGIN_S.environment_variable}"
            )
        return Deadline(remaining_s, stop_s, kill_s, now_s + remaining_s)


def _at_most_the_default(option: Option, seconds: float) -> float:
    """What a short time-out suggests, as far as the option allows it."""
    least, _ = option.bounds or (0, math.inf)
    return min(float(option.default or math.inf), max(seconds, least))


def _number(option: Option, environ: Mapping[str, str]) -> float | None:
    value = environ.get(option.environment_variable)
    if not value:
        return None
    least, most = option.bounds or (0, math.inf)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise ConfigError(
            f"{option.environment_variable} is {value!r}: it must be a number of seconds from "
            f"{least} to {most}, for example {option.example}"
        )
    return number
