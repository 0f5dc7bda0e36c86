"""The table of the executor's options, and that of the handler's.

Airflow's provider metadata, the documentation, and the parameter and the function's variables that
the stacks write are generated from these tables.
"""

from __future__ import annotations

from lambda_executor.contract.lambda_limits import LONGEST_TIMEOUT_S
from lambda_executor.contract.option_types import SECTION as SECTION  # noqa: PLC0414 - re-exported
from lambda_executor.contract.option_types import (
    BooleanOption,
    Bounds,
    IntegerOption,
    SecondsOption,
    StringOption,
)
from lambda_executor.contract.option_types import Option as Option  # noqa: PLC0414 - re-exported

#: The section of apache-airflow-providers-amazon's `AwsLambdaExecutor`. An option that is unset
#: in ours is looked up there, so that changing `[core] executor` alone migrates an environment.
REFERENCE_SECTION = "aws_lambda_executor"
REFERENCE_CLASS = "AwsLambdaExecutor"

#: Prefix of the keys of all objects in the payload bucket; IAM permissions are limited to it.
PAYLOAD_PREFIX = "invocations/"

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
        "A task runs on the function of its queue. The default queue runs on `function_name` when "
        "it has no entry; a task with any other queue fails. Unset: every queue runs on "
        "`function_name`."
    ),
    example='{"large": "airflow-lambda-dev-large:live"}',
    in_reference=False,
)

TARGETS = StringOption(
    name="targets",
    help=(
        "JSON object from Airflow queue to a job of AWS Batch, Amazon ECS or AWS Lambda MicroVMs, "
        "for tasks that no function can run. Inside are the parameters of `SubmitJob` (at least "
        "`jobQueue` and `jobDefinition`), of `RunTask` (at least `cluster` and `taskDefinition`), "
        "and for ECS `containerName`, which may be left out if the task definition has one "
        "container, or of `RunMicrovm` (at least `imageIdentifier`, the ARN of a MicroVM image, "
        "`executionRoleArn` and `maximumDurationInSeconds`). With "
        "`timeout.attemptDurationSeconds` (Batch) a task is stopped in time and says so. A Batch "
        "job has one attempt unless `retryStrategy` is set, because retries are Airflow's. "
        "Airflow takes back a task whose job does not start in time: raise `[scheduler] "
        "task_queued_timeout` (600 s by default) above the longest wait, and before Airflow 3.2 "
        "also `[execution_api] jwt_expiration_time`. "
        "`executor_config` may add parameters, and replace these, under the key `batch`, "
        "`ecs` or `microvm`. Needs `payload_bucket`."
    ),
    example=(
        '{"long": {"batch": {"jobQueue": "airflow-long", "jobDefinition": "airflow-task"}}, '
        '"huge": {"ecs": {"cluster": "airflow", "taskDefinition": "airflow-task", "launchType": '
        '"FARGATE", "networkConfiguration": {"awsvpcConfiguration": {"subnets": '
        '["subnet-0123456789abcdef0"]}}}}}'
    ),
    in_reference=False,
)

OFFERS = StringOption(
    name="offers",
    help=(
        "JSON object from Airflow queue to what its target gives to a task, the smallest target "
        "first: `timeout_s` (the target's time-out; left out: no limit), `memory_mb`, `cpu`, `gpu` "
        "and `disk_gb` (left out: none). A task that names no queue, and whose `execution_timeout` "
        "or need in `executor_config` does not fit on the default queue's target, goes to the "
        "first one on which it fits. An `execution_timeout` fits if it ends before the target asks "
        "the task to stop, 20 s before the time-out. Set it where the scheduler and the DAG "
        "processor run. Unset: every task stays on the target of its queue."
    ),
    example=(
        '{"default": {"timeout_s": 900, "memory_mb": 1769, "cpu": 1, "disk_gb": 0.5}, '
        '"long": {"memory_mb": 8192, "cpu": 2, "disk_gb": 20}}'
    ),
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
        "JSON list of results queues, so that each of several schedulers has its own: a scheduler "
        "uses the one at its job id modulo their number. Unset: all share `queue_url`."
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
        "CloudWatch log group of the function, from which the UI shows the log of a running task. "
        "Unset, and for the functions of `functions`: `/aws/lambda/<function>`, Lambda's default."
    ),
    example="/aws/lambda/airflow-lambda-dev",
    in_reference=False,
)

PAYLOAD_BUCKET = StringOption(
    name="payload_bucket",
    help=(
        "S3 bucket for invocations of more than 1020 KiB, up to 6 MiB, and for all that go to "
        "`targets`. The function or the job reads only from the bucket that this variable names in "
        "its own environment. Unset: such a workload fails."
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
    help=(
        "Whether the scheduler refuses to start when a function, a target or a queue cannot be "
        "reached."
    ),
    example="True",
)

MAX_INVOKE_ATTEMPTS = IntegerOption(
    name="max_invoke_attempts",
    default=3,
    help=(
        "How often an invocation is sent that Lambda may have taken: its answer was lost, or was "
        "a server error. After that it stays in flight. Nothing else counts: what Lambda did not "
        "take is sent again until the workload's token expires, and a permanent error fails the "
        "workload at once."
    ),
    example="3",
    bounds=Bounds(1, 100),
)

END_WAIT_TIMEOUT = IntegerOption(
    name="end_wait_timeout",
    default=0,
    help=(
        "Seconds that an ending scheduler waits for the results of in-flight invocations. "
        "0: it does not wait; another scheduler, or the next start, adopts them."
    ),
    example="60",
    bounds=Bounds(0, 86_400),
)

DISPATCH_THREADS = IntegerOption(
    name="dispatch_threads",
    default=512,
    help=(
        "Maximum number of invokes under way at the same time. The actual number follows the "
        "latency of Lambda's API, and falls when throttling shows a limit."
    ),
    example="512",
    bounds=Bounds(1, 1000),
    in_reference=False,
)

POLL_THREADS = IntegerOption(
    name="poll_threads",
    default=64,
    help=(
        "Maximum number of receives, and of deletes, under way at the same time on the results "
        "queue. Without a backlog there is one."
    ),
    example="64",
    bounds=Bounds(1, 250),
    in_reference=False,
)

MAX_IN_FLIGHT = StringOption(
    name="max_in_flight",
    help=(
        "How many invocations of a function each scheduler keeps in flight, beside a small "
        "reserve: a number for every function, or a JSON object from function name to number; 0: "
        "no limit. What does not fit waits in Airflow, the highest `priority_weight` first. Unset, "
        "and for functions that the object lacks: as many as the function may run at once by its "
        "reserved concurrency, or else by the account's, read once a minute."
    ),
    example='{"airflow-lambda-dev": 50, "airflow-lambda-dev-large": 8}',
    in_reference=False,
)

OPTIONS: tuple[Option[object], ...] = (
    CONFIG_PARAMETER,
    FUNCTION_NAME,
    FUNCTION_QUALIFIER,
    FUNCTIONS,
    TARGETS,
    OFFERS,
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
    MAX_IN_FLIGHT,
    DISPATCH_THREADS,
    POLL_THREADS,
)

#: The options that the stacks write into the SSM parameter; `TARGETS` and `OFFERS` if there are
#: targets beside the functions.
WIRED_OPTIONS: tuple[StringOption, ...] = (
    FUNCTION_NAME,
    FUNCTION_QUALIFIER,
    FUNCTIONS,
    TARGETS,
    OFFERS,
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
        "How many seconds before the function's time-out a running task is asked to stop: it gets "
        "an `AirflowTaskTimeout`, its operator's `on_kill` is called, and it ends `failed` or "
        "`up_for_retry`. Must be longer than `kill_margin_s` and shorter than the time-out. "
        "Unset, with a time-out below 80 s: a quarter of it, but at least 3."
    ),
    example="60",
    bounds=Bounds(3, LONGEST_TIMEOUT_S - 1),
    in_reference=False,
)

KILL_MARGIN_S = SecondsOption(
    name="kill_margin_s",
    default=8,
    help=(
        "How many seconds before the function's time-out a task that did not stop is killed. The "
        "remaining time is for notifying Airflow and the executor. Unset, with a time-out below "
        "80 s: a tenth of it, but at least 2."
    ),
    example="15",
    bounds=Bounds(2, LONGEST_TIMEOUT_S - 1),
    in_reference=False,
)

PRELOAD_DAG_IMPORTS = BooleanOption(
    name="preload_dag_imports",
    default=True,
    help=(
        "Whether the init phase imports the installed modules that the DAG files import at their "
        "top level, so that tasks need not. The DAG files themselves are not run."
    ),
    example="True",
    in_reference=False,
)

WORKLOAD_SECRETS = StringOption(
    name="workload_secrets",
    help=(
        "JSON object from the tasks' variables to secrets of Secrets Manager: a secret's complete "
        "ARN, or the ARN with `:<key>::` for one key of its JSON. The handler fetches the values "
        "for the tasks; the function's role needs `secretsmanager:GetSecretValue` on the secrets."
    ),
    example=(
        '{"AIRFLOW_CONN_ORDERS": '
        '"arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf"}'
    ),
    in_reference=False,
)

#: The options that only the handler reads, from its function's variables. Of the executor's options
#: it also reads `QUEUE_URL` and `PAYLOAD_BUCKET`.
HANDLER_OPTIONS: tuple[Option[object], ...] = (
    STOP_MARGIN_S,
    KILL_MARGIN_S,
    PRELOAD_DAG_IMPORTS,
    WORKLOAD_SECRETS,
)
