"""The sources of an option's value, and their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from lambda_executor.contract import options
from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import SECTION, Option
from lambda_executor.setup import references
from lambda_executor.setup.references import LAMBDA, Reference
from lambda_executor.setup.references import Conf as Conf  # noqa: PLC0414 - re-exported

Value = TypeVar("Value")


class OptionValues:
    """The values of the options, from Airflow's configuration and the SSM parameter.

    Attributes:
        references: The executors of the Amazon provider whose environment this was; the stronger
            one first.
    """

    def __init__(self, conf: Conf, parameter: Mapping[str, str] | None = None) -> None:
        self._conf = conf
        self._parameter = parameter or {}
        self.references = references.configured(conf)
        self._sources = references.sources(conf)

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
        """Return what `AwsLambdaExecutor` reads if it is in `[core] executor` as well."""
        return LAMBDA.get(self._conf, option.name) if LAMBDA.is_beside_us(self._conf) else None

    def in_section(self, reference: Reference, name: str) -> str | None:
        """Return the text of an option of a reference, by its name there; None: it is not set."""
        return self._conf.get(reference.section, name, fallback=None) or None

    def _found(self, option: Option[object]) -> tuple[int, str | None]:
        """Return the rank of the source that sets the option, the strongest first, and its text."""
        sources = (
            self._conf.get(SECTION, option.name, fallback=None),
            self._parameter.get(option.name),
            *(reference.get(self._conf, option.name) for reference in self._sources),
        )
        found = ((rank, text) for rank, text in enumerate(sources) if text)
        return next(found, (len(sources), None))
