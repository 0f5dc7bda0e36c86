"""The Lambda functions that run the workloads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lambda_executor.contract.lambda_limits import EARLIER_LONGEST_TIMEOUT_S, LONGEST_TIMEOUT_S
from lambda_executor.contract.options import KILL_MARGIN_S, STOP_MARGIN_S
from stacks.config.sections.section import Section, rule
from stacks.config.sections.workloads import Environment, Policies, Secrets, Statements

#: Name of the function of every Airflow queue that no other function serves.
DEFAULT_FUNCTION = "default"

#: Name of AWS's own function that changes the database's password.
PASSWORD_ROTATION = "password-rotation"  # noqa: S105 - a function's name

#: Airflow's supervisor and what the image imports take about 300 MB before the task's own code.
LEAST_MEMORY_MB = 512

Architecture = Literal["x86_64", "arm64"]

#: As long as Airflow's column, without characters that separate queues in a list.
QueueName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_.-]{1,256}$",
        examples=["large"],
        json_schema_extra=rule("1 to 256 letters, digits, dots, hyphens and underscores"),
    ),
]


#: The name of a function or of another target: part of physical names, without a doubled hyphen.
TargetName = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
        max_length=32,
        json_schema_extra=rule("lower-case letters, digits and single hyphens, a letter first"),
    ),
]


class FunctionConfig(Section):
    """A Lambda function and the Airflow queues that it serves.

    Bounds: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """

    name: TargetName = Field(
        description="Its name in this stage; `default` serves every queue that no other function "
        "serves.",
        examples=["default"],
    )
    queues: list[QueueName] = Field(
        [],
        description="Airflow queues whose tasks it runs. If no function has queues, the default "
        "one runs all tasks; otherwise a task in a queue without a function fails.",
    )
    memory_mb: int = Field(
        1769,
        ge=LEAST_MEMORY_MB,
        le=10240,
        description="Memory, of which Airflow uses about 300 MB; 1769 MB give one full vCPU.",
    )
    timeout_s: int = Field(
        EARLIER_LONGEST_TIMEOUT_S,
        ge=STOP_MARGIN_S.bounds.least + 1,  # Leaves time before a task must stop.
        le=LONGEST_TIMEOUT_S,
        description="The longest a single try may take; its last seconds serve to end it. A Region "
        f"may still refuse more than {EARLIER_LONGEST_TIMEOUT_S} "
        "(docs/howto/runbook.md#workloads-stopped).",
    )
    ephemeral_storage_mb: int = Field(512, ge=512, le=10240, description="Space in `/tmp`.")
    architecture: Architecture = Field(
        "x86_64", description="Processor architecture of the function and of its image."
    )
    reserved_concurrency: int | None = Field(
        None,
        ge=0,
        description="How many workloads may run at the same time, reserved from the account's "
        "limit; null: no reservation; 0: a pause, in which every invocation becomes a dead letter.",
    )
    provisioned_concurrency: int | None = Field(
        None,
        ge=1,
        description="Number of execution environments that are kept warm, and charged all the "
        "time; null: none.",
    )
    snap_start: bool | None = Field(
        None,
        description="Whether its execution environments start from a snapshot of one that has "
        "imported Airflow already, in a fraction of the time (Lambda SnapStart). Each kept version "
        "costs money all the time, and each start from it, too "
        "(docs/reference/costs-of-snapshots.md). null: yes, unless Lambda does not allow it "
        "(provisioned concurrency, tenant isolation, more than 512 MB of storage, a Region without "
        "it), or `image.uri` names an image, whose Python is not known.",
    )
    tenant_isolation: bool = Field(
        False,
        description="Whether each of its queues is a tenant with its own execution environments. "
        "It cannot change while the function exists.",
    )
    stop_margin_s: int | None = Field(
        None,
        ge=STOP_MARGIN_S.bounds.least,
        le=STOP_MARGIN_S.bounds.most,
        description="Seconds before the time-out at which a task is asked to stop; null: "
        f"{STOP_MARGIN_S.default:g}, or less with a short time-out.",
    )
    kill_margin_s: int | None = Field(
        None,
        ge=KILL_MARGIN_S.bounds.least,
        le=KILL_MARGIN_S.bounds.most,
        description="Seconds before the time-out at which a task's processes are killed; null: "
        f"{KILL_MARGIN_S.default:g}, or less with a short time-out.",
    )
    environment: Environment = Field({})
    secrets: Secrets = Field({})
    policies: Policies = Field([])
    statements: Statements = Field([])
