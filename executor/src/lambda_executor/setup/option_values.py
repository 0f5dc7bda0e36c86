"""Where an option's value comes from: pure, given Airflow's configuration and the SSM parameter.

It owns the order of the sources; how a text is read is the option's own, and `config.py` makes an
`ExecutorConfig` of the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from lambda_executor.contract import options
from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import REFERENCE_SECTION, SECTION, Option

Value = TypeVar("Value")


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

    def __getitem__(self, option: Option[Value]) -> Value:
        """The value of an option that has one.

        Raises:
            ConfigError: Nothing sets it and it has no default, or it has a value that cannot work.
        """
        value = self.get(option)
        if value is None:
            raise ConfigError(
                f"[{SECTION}] {option.name} is not set. {option.help} Set "
                f"{options.CONFIG_PARAMETER.environment_variable} to the SSM parameter of a "
                f"deployed environment (for example {options.CONFIG_PARAMETER.example}), or "
                f"{option.environment_variable} itself"
            )
        return value

    def get(self, option: Option[Value]) -> Value | None:
        """The value; None when nothing sets it and it has no default.

        Raises:
            ConfigError: It has a value that cannot work.
        """
        _, text = self._found(option)
        return option.default if text is None else option.read(text)

    def companion(self, option: Option[Value], main: Option[object]) -> Value | None:
        """The value of an option that goes with another one; None when it is another source's.

        Who sets a function sets which version of it, and who sets a queue sets how many there
        are: a source that wins with the one must not be joined with a losing source's other.
        """
        rank, _ = self._found(option)
        main_rank, _ = self._found(main)
        return self.get(option) if rank <= main_rank else None

    def _found(self, option: Option[object]) -> tuple[int, str | None]:
        """The text that a source sets, and which source it is: the lower wins."""
        sources = (
            self._conf.get(SECTION, option.name, fallback=None),
            self._parameter.get(option.name),
            self._reference(option),
        )
        found = ((rank, text) for rank, text in enumerate(sources) if text)
        return next(found, (len(sources), None))

    def _reference(self, option: Option[object]) -> str | None:
        if not (option.in_reference and self._was_reference):
            return None
        return self._conf.get(REFERENCE_SECTION, option.name, fallback=None)
