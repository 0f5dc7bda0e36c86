"""The reference page of the options, `docs/reference/options.md`, generated from the tables."""

from __future__ import annotations

from lambda_executor.contract import options
from lambda_executor.contract.option_types import BOOLEANS, IntegerOption, Option, SecondsOption


def as_markdown() -> str:
    """Return the page."""
    return f"""# Options of the executor

Generated from `lambda_executor.contract.options` by `make docs`.

Section `[{options.SECTION}]` of Airflow's configuration. The first of these sources that sets an
option wins: this section, the SSM parameter that `config_parameter` names, the same option of
`AwsLambdaExecutor` in `[{options.REFERENCE_SECTION}]` if there is one, unless that executor is in
`[core] executor` too, the default. The sections of `AwsBatchExecutor` and `AwsEcsExecutor` are read
[in the same place](../howto/migrate.md#from-awsbatchexecutor-or-awsecsexecutor); then
`function_name` and `dead_letter_queue_url` are not required.

{_table(options.OPTIONS)}

## Options of the handler

The stacks set them as variables of the function; a scheduler ignores them.

{_table(options.HANDLER_OPTIONS)}

## Values

A boolean is true when it is {_spellings(of=True)}, and false when it is
{_spellings(of=False)}, in upper or lower case. A number is written as in Python, and must
be within the bounds given with its type.
"""


def _spellings(*, of: bool) -> str:
    *others, last = (f"`{word}`" for word, value in BOOLEANS.items() if value is of)
    return f"{', '.join(others)} or {last}"


def _table(rows_of: tuple[Option[object], ...]) -> str:
    rows = "\n".join(
        f"| `{o.name}` | `{o.environment_variable}` | {_type(o)} | {_default(o)} | {o.help} |"
        for o in rows_of
    )
    return f"""\
| option | environment variable | type | default | what it does |
|---|---|---|---|---|
{rows}"""


def _type(option: Option[object]) -> str:
    if isinstance(option, IntegerOption | SecondsOption):
        return f"{option.type}, {option.bounds.least} to {option.bounds.most}"
    return option.type


def _default(option: Option[object]) -> str:
    if option.required:
        return "required"
    return f"`{option.default}`" if option.default is not None else ""


if __name__ == "__main__":
    print(as_markdown(), end="")  # noqa: T201 - its output is the page
