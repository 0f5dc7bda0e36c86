"""The one table of the executor's options, and that of the handler's.

Airflow's provider metadata, the documentation, the parameter and the function's environment that
the stacks write are generated from them. Plain Python: the stacks and the handler image import it
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SECTION = "lambda_executor"

#: The section of apache-airflow-providers-amazon's `AwsLambdaExecutor`. An option that is unset
#: in ours is looked up there, so that changing `[core] executor` alone migrates an environment.
REFERENCE_SECTION = "aws_lambda_executor"

#: What the keys of all objects in the payload bucket begin with; permissions end there.
PAYLOAD_PREFIX = "invocations/"


@dataclass(frozen=True, slots=True)
class Option:
    """One option of the section `[lambda_executor]`.

    Attributes:
        name: Its name in the section.
        type: What its value is read as.
        default: What holds when nothing sets it, as text; None: nothing.
        help: What it does, for a person.
        example: A plausible value.
        bounds: The smallest and the largest number allowed.
        required: Whether dispatch is impossible without it.
        in_reference: Whether the reference has it too, under the same name.
    """

    name: str
    type: Literal["string", "integer", "number", "boolean"]
    default: str | None
    help: str
    example: str
    bounds: tuple[int, int] | None = None
    required: bool = False
    in_reference: bool = True

    @property
    def environment_variable(self) -> str:
        """The variable that sets it, `AIRFLOW__LAMBDA_EXECUTOR__<NAME>`."""
        return f"AIRFLOW__{SECTION.upper()}__{self.name.upper()}"


CONFIG_PARAMETER = Option(
    name="config_parameter",
    type="string",
    default=None,
    help=(
        "Name of the SSM parameter, written by the stacks, that holds every option the executor "
        "needs as one JSON object. Options set in this section win over it."
    ),
    example="/airflow-lambda/dev/executor",
    in_reference=False,
)

FUNCTION_NAME = Option(
    name="function_name",
    type="string",
    default=None,
    help="Name or ARN of the Lambda function that runs the workloads.",
    example="airflow-lambda-dev",
    required=True,
)

FUNCTION_QUALIFIER = Option(
    name="function_qualifier",
    type="string",
    default=None,
    help="Version or alias of the function. Unset: the latest unpublished version.",
    example="live",
)

FUNCTIONS = Option(
    name="functions",
    type="string",
    default=None,
    help=(
        "JSON object from Airflow queue to function (name or ARN, with an optional `:alias`, and "
        "`@tenant` for a function that isolates tenants). "
        "A task whose queue is in it runs there, the default queue runs on `function_name`, any "
        "other queue fails the task. Unset: every queue runs on `function_name`."
    ),
    example='{"large": "airflow-lambda-dev-large:live"}',
    in_reference=False,
)

QUEUE_URL = Option(
    name="queue_url",
    type="string",
    default=None,
    help="URL of the SQS queue to which the handler sends results.",
    example="https://sqs.eu-west-1.amazonaws.com/123456789012/airflow-lambda-dev-results",
    required=True,
)

QUEUE_URLS = Option(
    name="queue_urls",
    type="string",
    default=None,
    help=(
        "JSON list of results queues that several schedulers share, so that each has one of its "
        "own: a scheduler takes the one at its job id modulo their number. Unset: all share "
        "`queue_url`."
    ),
    example='["https://sqs.eu-west-1.amazonaws.com/123456789012/results", "https://..."]',
    in_reference=False,
)

DEAD_LETTER_QUEUE_URL = Option(
    name="dead_letter_queue_url",
    type="string",
    default=None,
    help="URL of the SQS queue to which Lambda sends the invocations that it gave up on.",
    example="https://sqs.eu-west-1.amazonaws.com/123456789012/airflow-lambda-dev-dead-letters",
    required=True,
)

LOG_GROUP = Option(
    name="log_group",
    type="string",
    default=None,
    help=(
        "CloudWatch log group of the function; the UI shows the log of a running task from it. "
        "Unset, and for the functions of `functions`: `/aws/lambda/<function>`, Lambda's own "
        "default."
    ),
    example="/aws/lambda/airflow-lambda-dev",
    in_reference=False,
)

PAYLOAD_BUCKET = Option(
    name="payload_bucket",
    type="string",
    default=None,
    help=(
        "S3 bucket through which an invocation of more than 1 MiB travels, up to 6 MiB; the "
        "function reads only the one that the same variable names in its own environment. Unset: "
        "such a workload fails."
    ),
    example="airflow-lambda-dev-payloads",
    in_reference=False,
)

CONN_ID = Option(
    name="conn_id",
    type="string",
    default=None,
    help=(
        "Airflow connection with the AWS credentials; needs apache-airflow-providers-amazon. "
        "Unset: boto3's own credential chain."
    ),
    example="aws_default",
)

REGION_NAME = Option(
    name="region_name",
    type="string",
    default=None,
    help="AWS Region of the function and the queues. Unset: boto3's own.",
    example="eu-west-1",
)

CHECK_HEALTH_ON_STARTUP = Option(
    name="check_health_on_startup",
    type="boolean",
    default="True",
    help="Whether the scheduler refuses to start when the function or a queue cannot be reached.",
    example="True",
)

MAX_INVOKE_ATTEMPTS = Option(
    name="max_invoke_attempts",
    type="integer",
    default="3",
    help=(
        "How often an invoke that fails with a server or network error is sent before the "
        "workload fails. Throttling and missing credentials do not count, a permanent error "
        "fails at once."
    ),
    example="3",
    bounds=(1, 100),
)

END_WAIT_TIMEOUT = Option(
    name="end_wait_timeout",
    type="integer",
    default="0",
    help=(
        "Seconds that a scheduler that ends waits for the results of what is in flight. "
        "0: it does not wait; another scheduler, or the next start, adopts what is in flight."
    ),
    example="60",
    bounds=(0, 86_400),
)

DISPATCH_THREADS = Option(
    name="dispatch_threads",
    type="integer",
    default="256",
    help=(
        "How many invokes may be under way at the same time, at most. How many are follows the "
        "latency of Lambda's API, and falls when it throttles."
    ),
    example="256",
    bounds=(1, 1000),
    in_reference=False,
)

POLL_THREADS = Option(
    name="poll_threads",
    type="integer",
    default="64",
    help=(
        "How many receives, and how many deletes, may be under way at the same time on the "
        "results queue, at most. One is while there is no backlog."
    ),
    example="64",
    bounds=(1, 250),
    in_reference=False,
)

OPTIONS: tuple[Option, ...] = (
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
WIRED_OPTIONS: tuple[Option, ...] = (
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


STOP_MARGIN_S = Option(
    name="stop_margin_s",
    type="number",
    default="20",
    help=(
        "Seconds before the function's time-out at which a task that still runs is asked to stop: "
        "it gets an `AirflowTaskTimeout`, its operator's `on_kill` is called, and it ends `failed` "
        "or `up_for_retry`. Must be longer than `kill_margin_s` and shorter than the time-out. "
        "Unset, with a time-out below 80 s: a quarter of it, but at least 3."
    ),
    example="60",
    bounds=(3, 899),
    in_reference=False,
)

KILL_MARGIN_S = Option(
    name="kill_margin_s",
    type="number",
    default="8",
    help=(
        "Seconds before the function's time-out at which whatever is left of the task is killed; "
        "the rest is for telling Airflow and the executor. Unset, with a time-out below 80 s: a "
        "tenth of it, but at least 2."
    ),
    example="15",
    bounds=(2, 899),
    in_reference=False,
)

DAGS_S3_URI = Option(
    name="dags_s3_uri",
    type="string",
    default=None,
    help=(
        "Where the function gets its DAG files from: `s3://bucket/prefix/` (a folder, see "
        "`airflow lambda-executor dags push`) or `s3://bucket/key` of a `.zip` or `.tar.gz`. "
        "Looked at before every task. Unset: the DAG files of the image."
    ),
    example="s3://airflow-lambda-dev-dags/dags/",
    in_reference=False,
)

PRELOAD_DAG_IMPORTS = Option(
    name="preload_dag_imports",
    type="boolean",
    default="True",
    help=(
        "Whether the init phase imports the installed modules that the DAG files import at their "
        "top level, so that tasks need not. It never runs a DAG file."
    ),
    example="True",
    in_reference=False,
)

#: What the handler reads in the environment of its function, besides `QUEUE_URL` and
#: `PAYLOAD_BUCKET` of the executor's; the scheduler has no use for them.
HANDLER_OPTIONS: tuple[Option, ...] = (
    STOP_MARGIN_S,
    KILL_MARGIN_S,
    DAGS_S3_URI,
    PRELOAD_DAG_IMPORTS,
)


def as_markdown() -> str:
    """The reference page `docs/reference/options.md`."""
    return f"""# Options of the executor

Generated from `lambda_executor.options` by `make docs`.

Section `[{SECTION}]` of Airflow's configuration. A value is the first of: this section, the SSM
parameter that `config_parameter` names, the same option in `[{REFERENCE_SECTION}]` (the section of
`AwsLambdaExecutor`; not for options that it does not have), the default.

{_table(OPTIONS)}

## Options of the handler

Read in the environment of the function, where the stacks set them; a scheduler ignores them.

{_table(HANDLER_OPTIONS)}
"""


def _table(options: tuple[Option, ...]) -> str:
    rows = "\n".join(
        f"| `{o.name}` | `{o.environment_variable}` | {_type(o)} | {_default(o)} | {o.help} |"
        for o in options
    )
    return f"""\
| option | environment variable | type | default | what it does |
|---|---|---|---|---|
{rows}"""


def _type(option: Option) -> str:
    if option.bounds is None:
        return option.type
    least, most = option.bounds
    return f"{option.type}, {least} to {most}"


def _default(option: Option) -> str:
    if option.required:
        return "required"
    return f"`{option.default}`" if option.default is not None else ""


if __name__ == "__main__":
    print(as_markdown(), end="")  # noqa: T201 - its output is the page
