"""Where an option's value comes from: pure, given Airflow's configuration and the SSM parameter.

It owns the order of the sources and the words about a value that cannot work; `config.py` makes an
`ExecutorConfig` of the values.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Protocol

from lambda_executor import options
from lambda_executor.errors import ConfigError
from lambda_executor.options import REFERENCE_SECTION, SECTION, Option

_TRUE = frozenset({"t", "true", "1", "yes", "on"})
_FALSE = frozenset({"f", "false", "0", "no", "off"})


class Conf(Protocol):
    """The part of Airflow's configuration that is used: the global one, or one team's."""

    def get(self, section: str, key: str, *, fallback: str | None = None) -> str | None:
        """The value of an option, or the fallback."""


class OptionValues:
    """The values of the options, wherever they come from.

    Args:
        conf: Airflow's configuration.
        parameter: What the SSM parameter holds; empty before it is read.
    """

    def __init__(self, conf: Conf, parameter: Mapping[str, str] | None = None) -> None:
        self._conf = conf
        self._parameter = parameter or {}
        # Airflow gives the Amazon provider's defaults for its section, `conn_id` among them, as if
        # somebody had set them. They count only where the reference was really configured.
        self._was_reference = any(
            conf.get(REFERENCE_SECTION, option.name, fallback=None)
            for option in (options.FUNCTION_NAME, options.QUEUE_URL)
        )

    def text(self, option: Option) -> str | None:
        """The value as text; None when nothing sets it.

        Raises:
            ConfigError: The option is required and nothing sets it.
        """
        _, value = self._found(option)
        if value is None and option.required:
            raise ConfigError(
                f"[{SECTION}] {option.name} is not set. {option.help} Set "
                f"{options.CONFIG_PARAMETER.environment_variable} to the SSM parameter of a "
                f"deployed environment (for example {options.CONFIG_PARAMETER.example}), or "
                f"{option.environment_variable} itself"
            )
        return value

    def companion(self, option: Option, main: Option) -> str | None:
        """The value of an option that goes with another one; None when it is another source's.

        Who sets a function sets which version of it, and who sets a queue sets how many there
        are: a source that wins with the one must not be joined with a losing source's other.
        """
        rank, value = self._found(option)
        main_rank, _ = self._found(main)
        return value if rank <= main_rank else None

    def _found(self, option: Option) -> tuple[int, str | None]:
        """The value, and which source it is from: the lower wins."""
        sources = (
            self._conf.get(SECTION, option.name, fallback=None),
            self._parameter.get(option.name),
            self._reference(option),
            option.default,
        )
        found = ((rank, value) for rank, value in enumerate(sources) if value)
        return next(found, (len(sources), None))

    def _reference(self, option: Option) -> str | None:
        if not (option.in_reference and self._was_reference):
            return None
        return self._conf.get(REFERENCE_SECTION, option.name, fallback=None)

    def required(self, option: Option) -> str:
        """The value of an option that something must set."""
        value = self.text(option)
        if value is None:
            raise ConfigError(f"[{SECTION}] {option.name} is not set")
        return value

    def integer(self, option: Option) -> int:
        """The value as a whole number within the option's bounds."""
        value = self.required(option)
        least, most = option.bounds or (0, sys.maxsize)
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise ConfigError(
                f"[{SECTION}] {option.name} is {value!r}: it must be a whole number of at least "
                f"{least} and at most {most}, for example {option.example}"
            )
        return number

    def boolean(self, option: Option) -> bool:
        """The value as a truth value, with Airflow's words for it."""
        value = self.required(option).strip().lower()
        if value in _TRUE or value in _FALSE:
            return value in _TRUE
        raise ConfigError(f"[{SECTION}] {option.name} is {value!r}: it must be True or False")
