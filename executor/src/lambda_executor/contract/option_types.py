"""The kinds of options, and how the text of each is read."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, TypeVar

from lambda_executor.contract.errors import ConfigError

SECTION = "lambda_executor"

#: Every word for a boolean that Airflow's `getboolean` or Python's `configparser` knows.
BOOLEANS = {
    **dict.fromkeys(("true", "t", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "f", "0", "no", "off"), False),
}

Value_co = TypeVar("Value_co", covariant=True)


class Bounds(NamedTuple):
    """The smallest and the largest number that an option accepts."""

    least: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Option(ABC, Generic[Value_co]):
    """One option of Airflow's configuration; each subclass reads one kind of value."""

    type: ClassVar[str]  # Airflow's name for the kind of value.

    name: str
    help: str
    example: str
    default: Value_co | None = None
    required: bool = False  # Whether dispatch is impossible without it.
    in_reference: bool = True  # Whether `AwsLambdaExecutor` has the same option.
    section: str = SECTION

    @property
    def environment_variable(self) -> str:
        """The variable that sets the option, `AIRFLOW__<SECTION>__<NAME>`."""
        return f"AIRFLOW__{self.section.upper()}__{self.name.upper()}"

    @property
    def setting(self) -> str:
        """A line that sets the option in an environment, to its example."""
        return f"{self.environment_variable}={shlex.quote(self.example)}"

    def read(self, text: str, where: str | None = None) -> Value_co:
        """Return the value of a text that is set in `where`, by default in the section.

        Raises:
            ConfigError: The text is not a value of this option.
        """
        value = self._parse(text)
        if value is None:
            raise ConfigError(
                f"{where or f'[{self.section}] {self.name}'} is {text!r}",
                fix=f"set it to {self._allowed}, for example {self.example}",
                command=self.setting,
            )
        return value

    def from_environment(self, environ: Mapping[str, str]) -> Value_co | None:
        """Return the value that a function's variable sets; None: it is unset or empty.

        Raises:
            ConfigError: The variable does not hold a value of this option.
        """
        text = environ.get(self.environment_variable)
        return self.read(text, self.environment_variable) if text else None

    @property
    @abstractmethod
    def _allowed(self) -> str:
        """The allowed values, for the error."""

    @abstractmethod
    def _parse(self, text: str) -> Value_co | None:
        """Return the value of a text; None: the text is not allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StringOption(Option[str]):
    """Any text; its reader checks the form."""

    type = "string"
    _allowed = "a text"

    def _parse(self, text: str) -> str:
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class BooleanOption(Option[bool]):
    """A boolean, optionally followed by a `#` comment, as Airflow allows."""

    type = "boolean"
    default: bool
    _allowed = "True or False"

    def _parse(self, text: str) -> bool | None:
        return BOOLEANS.get(text.partition("#")[0].strip().lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerOption(Option[int]):
    """A whole number within bounds."""

    type = "integer"
    default: int
    bounds: Bounds

    @property
    def _allowed(self) -> str:
        return f"a whole number of at least {self.bounds.least} and at most {self.bounds.most}"

    def _parse(self, text: str) -> int | None:
        number = _number(text, self.bounds)
        return int(number) if number is not None and number.is_integer() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondsOption(Option[float]):
    """A number of seconds within bounds, fractions allowed."""

    type = "number"
    default: float
    bounds: Bounds

    @property
    def _allowed(self) -> str:
        return f"a number of seconds from {self.bounds.least} to {self.bounds.most}"

    def _parse(self, text: str) -> float | None:
        return _number(text, self.bounds)


def _number(text: str, bounds: Bounds) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if bounds.least <= number <= bounds.most else None  # False for a NaN, too.
