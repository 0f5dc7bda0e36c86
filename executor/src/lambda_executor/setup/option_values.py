"""The sources of an option's value, and their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from lambda_executor.contract import options
from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import REFERENCE_CLASS, REFERENCE_SECTION, SECTION, Option

Value = TypeVar("Value")


class Conf(Protocol):
    """The part of Airflow's configuration that we use: the global one, or one team's."""

    def get(self, section: str, key: str, *, fallback: str | None = None) -> str | None:
        """Return the value of an option, or the fallback."""


class OptionValues:
    """The values of the options, from Airflow's configuration and the SSM parameter."""

    def __init__(self, conf: Conf, parameter: Mapping[str, str] | None = None) -> None:
        self._conf = conf
        self._parameter = parameter or {}
        # Airflow returns the Amazon provider's defaults, `conn_id` among them, as if somebody had
        # set them. They count only where the reference executor was really configured.
        # Beside the reference executor its section is its own.
        self._is_beside_reference = REFERENCE_CLASS in (
            conf.get("core", "executor", fallback=None) or ""
        )
        self._was_reference = not self._is_beside_reference and any(
            conf.get(REFERENCE_SECTION, option.name, fallback=None)
            for option in (options.FUNCTION_NAME, options.QUEUE_URL)
        )

    def __getitem__(self, option: Option[Value]) -> Value:
        """Return the value of an option.

        Raises:
            ConfigError: Nothing sets it and it has no default, or its value is unusable.
        """
        value = self.get(option)
        if value is None:
            raise ConfigError(
                f"[{SECTION}] {option.name} is not set. {option.help.rstrip('.')}",
                fix=f"set {options.CONFIG_PARAMETER.environment_variable} to the SSM parameter of "
                f"a deployed environment (for example {options.CONFIG_PARAMETER.example}), or "
                f"{option.environment_variable} itself",
                command=options.CONFIG_PARAMETER.setting,
            )
        return value

    def get(self, option: Option[Value]) -> Value | None:
        """Return the value of an option; None when nothing sets it and it has no default.

        Raises:
            ConfigError: Its value is unusable.
        """
        _, text = self._found(option)
        return option.default if text is None else option.read(text)

    def companion(self, option: Option[Value], main: Option[object]) -> Value | None:
        """Return the value of an option unless a weaker source than that of `main` sets it.

        For example, the version of a function must not come from a weaker source than its name.
        """
        rank, _ = self._found(option)
        main_rank, _ = self._found(main)
        return self.get(option) if rank <= main_rank else None

    def of_reference_beside_us(self, option: Option[object]) -> str | None:
        """Return what the reference executor reads if it is in `[core] executor` as well."""
        if not self._is_beside_reference:
            return None
        return self._conf.get(REFERENCE_SECTION, option.name, fallback=None)

    def _found(self, option: Option[object]) -> tuple[int, str | None]:
        """Return the rank of the source that sets the option, the strongest first, and its text."""
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
