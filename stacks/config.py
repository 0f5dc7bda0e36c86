"""What a person may say about a stage, and the relations that must hold between the values.

One frozen pydantic model per concern; the model is also the source of the reference page
(`stacks/config_reference.py`) and of what an error calls allowed. It must not know the CDK: the
stacks unpack it into typed arguments, constructs never see it. Where the values come from is
`stacks/config_loading.py`.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

#: The host of the placeholder that `cdk.json` has for an Airflow that is yet to be named.
PLACEHOLDER_HOST = "airflow.example.com"

#: The address range of a VPC is cut for as many zones from the start.
MOST_AZS = 3

#: Of the numbers that CloudWatch Logs takes, those a stage is likely to want.
#: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LogRetentionDays = Literal[1, 3, 7, 14, 30, 90, 180, 365, 731, 1827, 3653]


def _an_execution_api_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ValueError("it must be a whole URL, https:// or http:// included")
    if not url.path.rstrip("/").endswith("/execution"):
        raise ValueError("it must end in /execution/, where Airflow serves its Execution API")
    return value


def _a_private_network(value: str) -> str:
    network = ipaddress.IPv4Network(value)
    # https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
    if not network.is_private or not 16 <= network.prefixlen <= 24:  # noqa: PLR2004 - the page's bounds, but /24: nine subnets must fit
        raise ValueError("it must be a private range from /16 to /24")
    return value


class Section(BaseModel):
    """What every part of the configuration has in common: no coercion, no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NetworkConfig(Section):
    """The VPC of the stage."""

    cidr: Annotated[str, AfterValidator(_a_private_network)] = Field(
        "10.42.0.0/16",
        description="Address range of the VPC, a private one from /16 to /24; it cannot change "
        "while the VPC has anything in it.",
        examples=["10.42.0.0/16"],
    )
    max_azs: int = Field(
        2,
        ge=2,
        le=MOST_AZS,
        description="Availability Zones that the subnets spread over; a database needs two.",
    )
    nat_gateways: int = Field(
        0,
        ge=0,
        le=MOST_AZS,
        description="NAT gateways, for what runs inside the VPC; 0: the VPC reaches nothing outside"
        " and costs nothing.",
    )
    function_in_vpc: bool = Field(
        False,
        description="Whether the function runs inside the VPC, as it must for an Execution API "
        "with a private address.",
    )
    flow_logs: bool = Field(
        False, description="Whether the VPC's rejected and accepted connections are logged."
    )


class DatabaseConfig(Section):
    """Airflow's metadata database."""

    instance_class: str = Field(
        "db.t4g.micro",
        pattern=r"^db\.[a-z0-9-]+\.[a-z0-9]+$",
        description="RDS instance class.",
        examples=["db.t4g.micro"],
    )
    storage_gb: int = Field(20, ge=20, le=65536, description="Storage (gp3).")
    postgres_version: Literal["16", "17", "18"] = Field(
        "17",
        description="Major version of Postgres; RDS chooses the minor one and keeps it current.",
    )
    multi_az: bool = Field(
        False, description="Whether a standby in another Availability Zone takes over on failure."
    )
    backup_days: int = Field(
        1, ge=0, le=35, description="Days that automated backups are kept; 0: none are made."
    )
    deletion_protection: bool = Field(
        False, description="Whether AWS refuses to delete the database until this is off."
    )
    name: str = Field(
        "airflow",
        pattern=r"^[a-z][a-z0-9_]{0,62}$",
        description="Name of the database on the instance.",
        examples=["airflow"],
    )


class FunctionConfig(Section):
    """The Lambda function that runs the workloads.

    Bounds: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """

    memory_mb: int = Field(
        1769, ge=128, le=10240, description="Memory; 1769 MB come with one full vCPU."
    )
    timeout_s: int = Field(900, ge=1, le=900, description="The longest a single try may take.")
    ephemeral_storage_mb: int = Field(512, ge=512, le=10240, description="Space in `/tmp`.")
    reserved_concurrency: int | None = Field(
        None,
        ge=0,
        description="How many workloads may run at the same time, taken out of the account's own "
        "limit; null: no reservation; 0: a pause, every invocation becomes a dead letter.",
    )
    log_retention_days: LogRetentionDays = Field(
        14, description="Days that the function's log is kept."
    )


class ImageConfig(Section):
    """The container image of the function, built from this repository."""

    dags: str = Field(
        "dags",
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$",
        description="Folder with the DAGs that are baked into the image, relative to the root of "
        "the repository.",
        examples=["dags"],
    )
    architecture: Literal["x86_64", "arm64"] = Field(
        "x86_64", description="Processor architecture of the image and of the function."
    )
    keep_images: int = Field(
        20,
        ge=2,
        le=1000,
        description="How many of the newest images the repository keeps: as many deploys can be "
        "undone.",
    )


class ExecutionConfig(Section):
    """How invocations travel between Airflow and the function.

    Bounds of event age: https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html,
    of retention and visibility:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-quotas.html
    """

    execution_api_url: Annotated[str, AfterValidator(_an_execution_api_url)] = Field(
        description="URL of the Execution API of the Airflow that the stage serves, as the "
        "function reaches it.",
        examples=["https://airflow.example.com/execution/"],
    )
    task_queued_timeout_s: int = Field(
        600,
        ge=60,
        description="`[scheduler] task_queued_timeout` of that Airflow; the token of a workload "
        "is valid for as long.",
    )
    event_age_s: int = Field(
        540,
        ge=60,
        le=21600,
        description="How long Lambda keeps an invocation that it cannot start yet, before it "
        "becomes a dead letter.",
    )
    results_queues: int = Field(
        1,
        ge=1,
        le=16,
        description="How many results queues there are: one for each scheduler that runs at the "
        "same time, so that none has to hand back what belongs to another.",
    )
    results_visibility_s: int = Field(
        120,
        ge=10,
        le=43200,
        description="How long a result that a scheduler has received but not acknowledged is "
        "hidden from the others.",
    )
    results_retention_s: int = Field(
        345600,
        ge=60,
        le=1209600,
        description="How long a result waits for a scheduler that is down.",
    )


class StageConfig(Section):
    """Everything a person may say about one stage."""

    account: str | None = Field(
        None,
        pattern=r"^[0-9]{12}$",
        description="The only AWS account that the stage may be deployed to; null: the account "
        "of the credentials in use.",
        examples=["123456789012"],
    )
    removal: Literal["destroy", "retain"] = Field(
        description="What happens to everything that holds data (database, secret, repository, "
        "queues, bucket, log groups) when its stack is deleted."
    )
    network: NetworkConfig = Field(default_factory=NetworkConfig)
    database: DatabaseConfig = Field(default_factory=DatabaseConfig)
    function: FunctionConfig = Field(default_factory=FunctionConfig)
    image: ImageConfig = Field(default_factory=ImageConfig)
    execution: ExecutionConfig

    @model_validator(mode="after")
    def event_age_is_within_the_queued_timeout(self) -> Self:
        """An event that outlives its workload's token could only start a task that fails."""
        age, limit = self.execution.event_age_s, self.execution.task_queued_timeout_s
        if age > limit:
            raise ValueError(
                f"execution.event_age_s is {age}, allowed is at most "
                f"execution.task_queued_timeout_s, {limit}: lower the event age, or raise "
                "both Airflow's [scheduler] task_queued_timeout and task_queued_timeout_s"
            )
        return self

    @model_validator(mode="after")
    def results_outlive_the_function(self) -> Self:
        """A result must not expire sooner than the next try could be over."""
        retention, timeout = self.execution.results_retention_s, self.function.timeout_s
        if retention <= timeout:
            raise ValueError(
                f"execution.results_retention_s is {retention}, allowed is more than "
                f"function.timeout_s, {timeout}: raise the retention or lower the time-out"
            )
        return self

    @model_validator(mode="after")
    def results_outlive_their_visibility_timeout(self) -> Self:
        """A result that expires while it is hidden is lost if its scheduler dies."""
        retention = self.execution.results_retention_s
        visibility = self.execution.results_visibility_s
        if visibility >= retention:
            raise ValueError(
                f"execution.results_visibility_s is {visibility}, allowed is less than "
                f"execution.results_retention_s, {retention}: lower the visibility time-out"
            )
        return self

    @model_validator(mode="after")
    def function_in_vpc_requires_a_way_out(self) -> Self:
        """Inside a VPC without a NAT gateway the function reaches neither SQS nor its logs."""
        if self.network.function_in_vpc and self.network.nat_gateways == 0:
            raise ValueError(
                "network.function_in_vpc is true and network.nat_gateways is 0, allowed is 1 or "
                "more: raise nat_gateways, or set function_in_vpc to false"
            )
        return self

    @model_validator(mode="after")
    def nat_gateways_have_a_zone_each(self) -> Self:
        """A zone takes one NAT gateway."""
        if self.network.nat_gateways > self.network.max_azs:
            raise ValueError(
                f"network.nat_gateways is {self.network.nat_gateways}, allowed is at most "
                f"network.max_azs, {self.network.max_azs}: lower nat_gateways or raise max_azs"
            )
        return self

    @model_validator(mode="after")
    def protected_database_is_retained(self) -> Self:
        """`cdk destroy` would stop half-way at a database that AWS refuses to delete."""
        if self.database.deletion_protection and self.removal == "destroy":
            raise ValueError(
                'database.deletion_protection is true and removal is "destroy", allowed is '
                '"retain": change one of the two'
            )
        return self

    @model_validator(mode="after")
    def retained_database_has_backups(self) -> Self:
        """Data worth keeping is worth a backup."""
        if self.removal == "retain" and self.database.backup_days == 0:
            raise ValueError(
                'database.backup_days is 0 and removal is "retain", allowed is 1 to 35: '
                "raise backup_days"
            )
        return self

    @model_validator(mode="after")
    def tokens_travel_encrypted(self) -> Self:
        """The workload's token goes to this URL: plain HTTP stays on the machine or in the VPC."""
        url = urlsplit(self.execution.execution_api_url)
        on_this_machine = url.hostname in {"localhost", "127.0.0.1", "::1"}
        if url.scheme == "http" and not on_this_machine and not self.network.function_in_vpc:
            raise ValueError(
                f"execution.execution_api_url is {self.execution.execution_api_url!r}, allowed is "
                "https, or http on this machine or inside the VPC: use https, or set "
                "network.function_in_vpc to true"
            )
        return self
