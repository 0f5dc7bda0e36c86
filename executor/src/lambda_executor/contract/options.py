"""The one table of the executor's options, that of the handler's, and how their values are read.

Airflow's provider metadata, the documentation, the parameter and the function's environment that
the stacks write are generated from the tables. Plain Python: the stacks and the handler image
import it too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, TypeVar

from lambda_executor.contract.errors import ConfigError

SECTION = "lambda_executor"

#: The section of apache-airflow-providers-amazon's `AwsLambdaExecutor`. An option that is unset
#: in ours is looked up there, so that changing `[core] executor` alone migrates an environment.
REFERENCE_SECTION = "aws_lambda_executor"

#: What the keys of all objects in the payload bucket begin with; permissions end there.
PAYLOAD_PREFIX = "invocations/"

#: Every word that Airflow's `getboolean` or Python's `configparser` takes for a boolean.
_BOOLEANS = {
    **dict.fromkeys(("true", "t", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "f", "0", "no", "off"), False),
}

Value_co = TypeVar("Value_co", covariant=True)


class Bounds(NamedTuple):
    """The smallest and the largest number that an option may be."""

    least: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Option(ABC, Generic[Value_co]):
    """One option of Airflow's configuration; its class says how its text is read.

    Attributes:
        type: What Airflow calls the type of its value.
        name: Its name in the section.
        help: What it does, for a person.
        example: A plausible value, as text.
        default: What holds when nothing sets it; None: nothing.
        required: Whether dispatch is impossible without it.
        in_reference: Whether the reference has it too, under the same name.
        section: The section that it is in.
    """

    type: ClassVar[str]

    name: str
    help: str
    example: str
    default: Value_co | None = None
    required: bool = False
    in_reference: bool = True
    section: str = SECTION

    @property
    def environment_variable(self) -> str:
        """The variable that sets it, `AIRFLOW__<SECTION>__<NAME>`."""
        return f"AIRFLOW__{self.section.upper()}__{self.name.upper()}"

    def read(self, text: str, where: str | None = None) -> Value_co:
        """The value that a text stands for.

        Args:
            text: What a person set.
            where: Where they set it, for the error; None: in the section.

        Raises:
            ConfigError: It is no value of this option.
        """
        value = self._parse(text)
        if value is None:
            raise ConfigError(
                f"{where or f'[{self.section}] {self.name}'} is {text!r}: it must be "
                f"{self._allowed}, for example {self.example}"
            )
        return value

    def from_environment(self, environ: Mapping[str, str]) -> Value_co | None:
        """The value that a function's environment sets; None: its variable is unset or empty.

        Raises:
            ConfigError: The variable is set to no value of this option.
        """
        text = environ.get(self.environment_variable)
        return self.read(text, self.environment_variable) if text else None

    @property
    @abstractmethod
    def _allowed(self) -> str:
        """What a value must be."""

    @abstractmethod
    def _parse(self, text: str) -> Value_co | None:
        """The value that a text stands for; None: it stands for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StringOption(Option[str]):
    """A text; whoever uses it says what it must look like."""

    type = "string"
    _allowed = "a text"

    def _parse(self, text: str) -> str:
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class BooleanOption(Option[bool]):
    """A truth value, perhaps with a comment behind it, which Airflow allows there."""

    type = "boolean"
    default: bool
    _allowed = "True or False"

    def _parse(self, text: str) -> bool | None:
        return _BOOLEANS.get(text.partition("#")[0].strip().lower())


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
    return number if bounds.least <= number <= bounds.most else None  # A NaN is not.


CONFIG_PARAMETER = StringOption(
    name="config_parameter",
    help=(
        "Name of the SSM parameter, written by the stacks, that holds every option the executor "
        "needs as one JSON object. Options set in this section win over it."
    ),
    example="/airflow-lambda/dev/executor",
    in_reference=False,
)

FUNCTION_NAME = StringOption(
    name="function_name",
    help="Name or ARN of the Lambda function that runs the workloads.",
    example="airflow-lambda-dev",
    required=True,
)

FUNCTION_QUALIFIER = StringOption(
    name="function_qualifier",
    help="Version or alias of the function. Unset: the latest unpublished version.",
    example="live",
)

FUNCTIONS = StringOption(
    name="functions",
    help=(
        "JSON object from Airflow queue to function (name or ARN, with an optional `:alias`, and "
        "`@tenant` for a function that isolates tenants). "
        "A task whose queue is in it runs there, the default queue runs on `function_name`, any "
        "other queue fails the task. Unset: every queue runs on `function_name`."
    ),
    example='{"large": "airflow-lambda-dev-large:live"}',
    in_reference=False,
)

QUEUE_URL = StringOption(
    name="queue_url",
    help="URL of the SQS queue to which the handler sends results.",
    example="https://sqs.eu-west-1.amazonaws.com/123456789012/airflow-lambda-dev-results",
    required=True,
)

QUEUE_URLS = StringOption(
    name="queue_urls",
    help=(
        "JSON list of results queues that several schedulers share, so that each has one of its "
        "own: a scheduler takes the one at its job id modulo their number. Unset: all share "
        "`queue_url`."
    ),
    example='["https://sqs.eu-west-1.amazonaws.com/123456789012/results", "https://..."]',
    in_reference=False,
)

DEAD_LETTER_QUEUE_URL = StringOption(
    name="dead_letter_queue_url",
    help="URL of the SQS queue to which Lambda sends the invocations that it gave up on.",
    example="https://sqs.eu-west-1.amazonaws.com/123456789012/airflow-lambda-dev-dead-letters",
    required=True,
)

LOG_GROUP = StringOption(
    name="log_group",
    help=(
        "CloudWatch log group of the function; the UI shows the log of a running task from it. "
        "Unset, and for the functions of `functions`: `/aws/lambda/<function>`, Lambda's own "
        "default."
    ),
    example="/aws/lambda/airflow-lambda-dev",
    in_reference=False,
)

PAYLOAD_BUCKET = StringOption(
    name="payload_bucket",
    help=(
        "S3 bucket through which an invocation of more than 1 MiB travels, up to 6 MiB; the "
        "function reads only the one that the same variable names in its own environment. Unset: "
        "such a workload fails."
    ),
    example="airflow-lambda-dev-payloads",
    in_reference=False,
)

CONN_ID = StringOption(
    name="conn_id",
    help=(
        "Airflow connection with the AWS credentials; needs apache-airflow-providers-amazon. "
        "Unset: boto3's own credential chain."
    ),
    example="aws_default",
)

REGION_NAME = StringOption(
    name="region_name",
    help="AWS Region of the function and the queues. Unset: boto3's own.",
    example="eu-west-1",
)

CHECK_HEALTH_ON_STARTUP = BooleanOption(
    name="check_health_on_startup",
    default=True,
    help="Whether the scheduler refuses to start when the function or a queue cannot be reached.",
    example="True",
)

MAX_INVOKE_ATTEMPTS = IntegerOption(
    name="max_invoke_attempts",
    default=3,
    help=(
        "How often an invoke that fails with a server or network error is sent before the "
        "workload fails. Throttling and missing credentials do not count, a permanent error "
        "fails at once."
    ),
    example="3",
    bounds=Bounds(1, 100),
)

END_WAIT_TIMEOUT = IntegerOption(
    name="end_wait_timeout",
    default=0,
    help=(
        "Seconds that a scheduler that ends waits for the results of what is in flight. "
        "0: it does not wait; another scheduler, or the next start, adopts what is in flight."
    ),
    example="60",
    bounds=Bounds(0, 86_400),
)

DISPATCH_THREADS = IntegerOption(
    name="dispatch_threads",
    default=256,
    help=(
        "How many invokes may be under way at the same time, at most. How many are follows the "
        "latency of Lambda's API, and falls when it throttles."
    ),
    example="256",
    bounds=Bounds(1, 1000),
    in_reference=False,
)

POLL_THREADS = IntegerOption(
    name="poll_threads",
    default=64,
    help=(
        "How many receives, and how many deletes, may be under way at the same time on the "
        "results queue, at most. One is while there is no backlog."
    ),
    example="64",
    bounds=Bounds(1, 250),
    in_reference=False,
)

OPTIONS: tuple[Option[object], ...] = (
    CONFIG_PARAMETER,
    FUNCTION_NAME,
    FUNCTION_QUALIFIER,
    FUNCTIONS,
    QUEUE_URL,
    QUEUE_URLS,
    DEAD_LETTER_QUEUE_URL,
    LOG_GROUP,
    PAYLOAD_BUCKET,
    CONN_ID,
    REGION_NAME,
    CHECK_HEALTH_ON_STARTUP,
    MAX_INVOKE_ATTEMPTS,
    END_WAIT_TIMEOUT,
    DISPATCH_THREADS,
    POLL_THREADS,
)

#: What the stacks write into the SSM parameter: option name to string value.
WIRED_OPTIONS: tuple[StringOption, ...] = (
    FUNCTION_NAME,
    FUNCTION_QUALIFIER,
    FUNCTIONS,
    QUEUE_URL,
    QUEUE_URLS,
    DEAD_LETTER_QUEUE_URL,
    LOG_GROUP,
    PAYLOAD_BUCKET,
    REGION_NAME,
)


STOP_MARGIN_S = SecondsOption(
    name="stop_margin_s",
    default=20,
    help=(
        "Seconds before the function's time-out at which a task that still runs is asked to stop: "
        "it gets an `AirflowTaskTimeout`, its operator's `on_kill` is called, and it ends `failed` "
        "or `up_for_retry`. Must be longer than `kill_margin_s` and shorter than the time-out. "
        "Unset, with a time-out below 80 s: a quarter of it, but at least 3."
    ),
    example="60",
    bounds=Bounds(3, 899),
    in_reference=False,
)

KILL_MARGIN_S = SecondsOption(
    name="kill_margin_s",
    default=8,
    help=(
        "Seconds before the function's time-out at which whatever is left of the task is killed; "
        "the rest is for telling Airflow and the executor. Unset, with a time-out below 80 s: a "
        "tenth of it, but at least 2."
    ),
    example="15",
    bounds=Bounds(2, 899),
    in_reference=False,
)

DAGS_S3_URI = StringOption(
    name="dags_s3_uri",
    help=(
        "Where the function gets its DAG files from: `s3://bucket/prefix/` (a folder, see "
        "`airflow lambda-executor dags push`) or `s3://bucket/key` of a `.zip` or `.tar.gz`. "
        "Looked at before every task. Unset: the DAG files of the image."
    ),
    example="s3://airflow-lambda-dev-dags/dags/",
    in_reference=False,
)

PRELOAD_DAG_IMPORTS = BooleanOption(
    name="preload_dag_imports",
    default=True,
    help=(
        "Whether the init phase imports the installed modules that the DAG files import at their "
        "top level, so that tasks need not. It never runs a DAG file."
    ),
    example="True",
    in_reference=False,
)

#: What the handler reads in the environment of its function, besides `QUEUE_URL` and
#: `PAYLOAD_BUCKET` of the executor's; the scheduler has no use for them.
HANDLER_OPTIONS: tuple[Option[object], ...] = (
    STOP_MARGIN_S,
    KILL_MARGIN_S,
    DAGS_S3_URI,
    PRELOAD_DAG_IMPORTS,
)


def as_markdown() -> str:
    """The reference page `docs/reference/options.md`."""
    return f"""# Options of the executor

Generated from `lambda_executor.contract.options` by `make docs`.

Section `[{SECTION}]` of Airflow's configuration. A value is the first of: this section, the SSM
parameter that `config_parameter` names, the same option in `[{REFERENCE_SECTION}]` (the section of
`AwsLambdaExecutor`; not for options that it does not have), the default.

{_table(OPTIONS)}

## Options of the handler

Read in the environment of the function, where the stacks set them; a scheduler ignores them.

{_table(HANDLER_OPTIONS)}

## Values

A boolean is true when it is {_words(means=True)}, and false when it is
{_words(means=False)}, in upper or lower case. A number is written as in Python, and lies
within the bounds beside its type.
"""


def _words(*, means: bool) -> str:
    *others, last = (f"`{word}`" for word, value in _BOOLEANS.items() if value is means)
    return f"{', '.join(others)} or {last}"


def _table(options: tuple[Option[object], ...]) -> str:
    rows = "\n".join(
        f"| `{o.name}` | `{o.environment_variable}` | {_type(o)} | {_default(o)} | {o.help} |"
        for o in options
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
