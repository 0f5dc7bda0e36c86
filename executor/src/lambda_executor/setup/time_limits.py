"""How long a workload may wait for its start, by Airflow's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.token_lifetime import (
    TASK_QUEUED_TIMEOUT,
    LifetimeOption,
    token_lifetime_option,
)
from lambda_executor.setup.option_values import Conf


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """A number of seconds, and the option of Airflow that sets it."""

    option: LifetimeOption
    seconds: float


def token_lifetime(conf: Conf, airflow: str) -> TimeLimit:
    """Return how long the token of a workload lives in this version of Airflow.

    Raises:
        ConfigError: The option is not a number.
    """
    return _read(conf, token_lifetime_option(airflow))


def longest_wait(conf: Conf, airflow: str) -> TimeLimit:
    """Return how long a task may wait for its start: the token's life, or less.

    Airflow fails a task that is queued for longer than `task_queued_timeout`, whatever its token.

    Raises:
        ConfigError: One of the options is not a number.
    """
    limits = token_lifetime(conf, airflow), _read(conf, TASK_QUEUED_TIMEOUT)
    return min(limits, key=lambda limit: limit.seconds)


def _read(conf: Conf, option: LifetimeOption) -> TimeLimit:
    text = conf.get(option.section, option.name, fallback=None)
    if not text:
        return TimeLimit(option, option.default_s)
    try:
        return TimeLimit(option, float(text))
    except ValueError:
        raise ConfigError(
            f"{option} is {text!r}",
            fix=f"set it to a number of seconds, for example {option.default_s:g}",
            command=f"{option.environment_variable}={option.default_s:g}",
        ) from None
