"""How the text of an option is read: one grammar for each type of option."""

from __future__ import annotations

import contextlib
import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.option_types import (
    BooleanOption,
    IntegerOption,
    Option,
    SecondsOption,
    StringOption,
)
from lambda_executor.contract.options import HANDLER_OPTIONS, OPTIONS

EVERY: Final = (*OPTIONS, *HANDLER_OPTIONS)
BOOLEANS = [option for option in EVERY if isinstance(option, BooleanOption)]
INTEGERS = [option for option in EVERY if isinstance(option, IntegerOption)]
SECONDS = [option for option in EVERY if isinstance(option, SecondsOption)]
STRINGS = [option for option in EVERY if isinstance(option, StringOption)]

every_option = pytest.mark.parametrize("option", EVERY, ids=lambda option: option.name)
every_boolean = pytest.mark.parametrize("option", BOOLEANS, ids=lambda option: option.name)
every_integer = pytest.mark.parametrize("option", INTEGERS, ids=lambda option: option.name)
every_number = pytest.mark.parametrize(
    "option", [*INTEGERS, *SECONDS], ids=lambda option: option.name
)


def test_every_option_of_the_table_has_a_type_that_is_tested_here() -> None:
    """Every option of the table is tested, new ones included."""
    assert {*BOOLEANS, *INTEGERS, *SECONDS, *STRINGS} == set(EVERY)
    assert len({option.name for option in EVERY}) == len(EVERY)


@every_boolean
@pytest.mark.parametrize("word", ["true", "t", "1", "yes", "on"])
def test_a_boolean_is_true_by_each_of_the_words_for_it(option: BooleanOption, word: str) -> None:
    """Upper or lower case, surrounding spaces and a trailing comment are allowed."""
    for text in (word, word.upper(), word.capitalize(), f" {word}\n", f"{word} # a comment"):
        assert option.read(text) is True


@every_boolean
@pytest.mark.parametrize("word", ["false", "f", "0", "no", "off"])
def test_a_boolean_is_false_by_each_of_the_words_for_it(option: BooleanOption, word: str) -> None:
    """Upper or lower case, surrounding spaces and a trailing comment are allowed."""
    for text in (word, word.upper(), word.capitalize(), f" {word}\n", f"{word} # a comment"):
        assert option.read(text) is False


@every_boolean
@pytest.mark.parametrize("text", ["maybe", "", " ", "2", "-1", "1.0", "truee", "y", "n", "#", "∞"])
def test_any_other_text_is_refused_by_a_boolean(option: BooleanOption, text: str) -> None:
    """The error names the option, the value and the allowed values."""
    message = f"[lambda_executor] {option.name} is {text!r}: set it to True or False, for example"
    with pytest.raises(ConfigError, match=re.escape(message)):
        option.read(text)


@every_number
def test_a_number_is_taken_up_to_its_bounds_and_no_further(
    option: IntegerOption | SecondsOption,
) -> None:
    """Both bounds are allowed; the error for a number beyond them names both."""
    least, most = option.bounds
    for number in (least, most):
        assert option.read(str(number)) == number
    for number in (least - 1, most + 1):
        with pytest.raises(ConfigError, match=rf"{option.name} is '{number}'.*{least}.*{most}"):
            option.read(str(number))


@every_number
@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "many", "0x10", "1,5", "1 0", "_1", "1__0", "3 # a comment"),
        *("nan", "inf", "-inf", "Infinity", "1e400", "9" * 400, "9" * 5000),
    ],
)
def test_what_is_no_finite_number_is_refused(
    option: IntegerOption | SecondsOption, text: str
) -> None:
    """The error names the option, the value, both bounds and an example."""
    with pytest.raises(ConfigError) as error:
        option.read(text)
    least, most = option.bounds
    for part in (f"[lambda_executor] {option.name} is {text!r}", f"{least} ", f"{most}, "):
        assert part in str(error.value)
    assert str(error.value).endswith(f"for example {option.example}")


@every_number
def test_a_number_may_be_written_in_every_way_that_python_reads(
    option: IntegerOption | SecondsOption,
) -> None:
    """As in Airflow, spaces, a sign, a fraction of zero and underscores are allowed."""
    _, most = option.bounds
    for text in (f" {most}\n", f"+{most}", f"{most}.0", f"{most}e0", f"{most:_}", f"0{most}"):
        assert option.read(text) == most


@every_integer
def test_a_whole_number_has_no_fraction(option: IntegerOption) -> None:
    """A fraction is refused, not rounded; the value is an `int`."""
    least, _ = option.bounds
    assert type(option.read(f"{least}.0")) is int
    with pytest.raises(ConfigError, match=r"set it to a whole number"):
        option.read(f"{least}.5")


@pytest.mark.parametrize("option", STRINGS, ids=lambda option: option.name)
def test_a_string_is_taken_as_it_is(option: StringOption) -> None:
    """The reader of a string option checks its form."""
    assert option.read(" a # b ") == " a # b "


@every_option
def test_the_example_and_the_default_are_values(option: Option[object]) -> None:
    """The documented example is an allowed value."""
    assert option.read(option.example) is not None
    if option.default is not None:
        assert option.read(str(option.default)) == option.default


@every_option
def test_a_variable_of_the_function_is_read_like_the_option(option: Option[object]) -> None:
    """An empty variable sets nothing."""
    variable = option.environment_variable
    assert option.from_environment({variable: option.example}) == option.read(option.example)
    assert option.from_environment({variable: ""}) is None
    assert option.from_environment({}) is None


@pytest.mark.parametrize("option", [*BOOLEANS, *INTEGERS, *SECONDS], ids=lambda option: option.name)
def test_a_wrong_variable_of_the_function_is_named(option: Option[object]) -> None:
    """The error names the variable, because a function has no sections."""
    variable = option.environment_variable
    with pytest.raises(ConfigError, match=rf"^{variable} is 'wrong': set it to "):
        option.from_environment({variable: "wrong"})


@given(st.sampled_from(EVERY), st.text() | st.floats().map(str) | st.integers().map(str))
def test_any_text_is_a_value_within_the_bounds_or_refused(
    option: Option[object], text: str
) -> None:
    """The only error is a ConfigError."""
    with contextlib.suppress(ConfigError):
        value = option.read(text)
        if isinstance(option, IntegerOption | SecondsOption):
            assert isinstance(value, int | float)
            assert option.bounds.least <= value <= option.bounds.most
