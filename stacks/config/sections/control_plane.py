"""Airflow itself, as services on Fargate or elsewhere."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import Field

from stacks.config.sections.section import ARN_HEAD, UUID, Cidr, Section, rule
from stacks.config.sections.workloads import Environment, Policies, Secrets, Statements

#: For each number of CPU units, the smallest, the largest and the step of Fargate's memory.
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size
FARGATE_MEMORY_MB = {
    256: (1024, 2048, 1024),
    512: (1024, 4096, 1024),
    1024: (2048, 8192, 1024),
    2048: (4096, 16384, 1024),
    4096: (8192, 30720, 1024),
}


CpuUnits = Literal[256, 512, 1024, 2048, 4096]
Program = Literal["api-server", "scheduler", "dag-processor", "triggerer"]


class SizeConfig(Section):
    """The size of one Fargate task."""

    cpu: CpuUnits = Field(1024, description="CPU units; 1024 are one vCPU.")
    memory_mb: int = Field(2048, ge=1024, le=30720, description="Memory.")


#: A time of the day; what follows a quarter of an hour later is on the same day.
TimeOfDay = Annotated[
    str,
    Field(
        pattern=r"^([01][0-9]|2[0-2]):[0-5][0-9]$",
        examples=["07:00"],
        json_schema_extra=rule("a time from 00:00 to 22:59"),
    ),
]
_DAY = "(MON|TUE|WED|THU|FRI|SAT|SUN)"


class OfficeHoursConfig(Section):
    """When the control plane and its database run; outside of these hours they cost no instance."""

    opens: TimeOfDay | None = Field(
        None,
        description="When the database starts, and a quarter of an hour later Airflow; null: both "
        "run always.",
    )
    closes: TimeOfDay | None = Field(
        None,
        description="When Airflow ends, and a quarter of an hour later the database. A task that "
        "still runs then fails.",
    )
    days: str = Field(
        "MON-FRI",
        pattern=f"^{_DAY}([-,]{_DAY})*$",
        description="On which days.",
        examples=["MON-FRI"],
        json_schema_extra=rule("days such as MON-FRI or MON,WED"),
    )
    time_zone: str = Field(
        "UTC",
        pattern=r"^[A-Za-z_]+(/[A-Za-z_+-]+)*$",
        description="The time zone of these times.",
        examples=["Europe/Berlin"],
        json_schema_extra=rule("the name of a time zone"),
    )


class ControlPlaneConfig(Section):
    """Airflow's api-server, schedulers, dag-processor and triggerer."""

    kind: Literal["fargate", "none"] = Field(
        "none",
        description='"fargate": services of this stage; "none": an existing Airflow uses the '
        "stage.",
    )
    entrance: Literal["load_balancer", "api_gateway", "none"] = Field(
        "load_balancer",
        description='"load_balancer": people open the UI through it, and functions in the VPC '
        'reach the Execution API by a private name; "api_gateway": functions outside the VPC reach '
        "the Execution API through an API Gateway, which costs nothing while nobody calls it, and "
        'people open the UI through a tunnel; "none": functions in the VPC, and a tunnel.',
    )
    certificate_arn: str | None = Field(
        None,
        pattern=f"^{ARN_HEAD.format(service='acm')}certificate/{UUID}$",
        description="ACM certificate of the load balancer, for HTTPS; null: plain HTTP. An API "
        "Gateway brings its own.",
        examples=[
            "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
        ],
        json_schema_extra=rule("the ARN of an ACM certificate"),
    )
    domain_name: str | None = Field(
        None,
        pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$",
        max_length=253,
        description="Domain name of the certificate, which must resolve to the load balancer.",
        examples=["airflow.example.com"],
        json_schema_extra=rule("a domain name in lower case"),
    )
    allowed_cidrs: list[Cidr] = Field(
        [],
        description="IPv4 ranges that may open the UI, besides the VPC itself. A public range puts "
        "the load balancer on the Internet. An API Gateway lets everybody in (`0.0.0.0/0`) or, "
        "without a range, nobody.",
    )
    execute_command: bool = Field(
        False,
        description="Whether people with the permission `ssm:StartSession` may open a shell, and a "
        "tunnel to the UI, which needs neither VPN nor certificate.",
    )
    api_servers: int = Field(1, ge=1, le=16, description="How many api-servers run.")
    schedulers: int = Field(1, ge=1, le=16, description="How many schedulers run.")
    triggerers: int = Field(
        1, ge=0, le=16, description="How many triggerers run; 0: no task may be deferred."
    )
    one_task: bool = Field(
        False,
        description="Whether all programs share one Fargate task, which costs a fraction and is "
        "replaced as a whole; otherwise each program is a service.",
    )
    cpu: CpuUnits = Field(
        1024,
        description="CPU units of each service, or of the one task; 1024 are one vCPU.",
    )
    memory_mb: int = Field(
        2048, ge=1024, le=30720, description="Memory of each service, or of the one task."
    )
    sizes: dict[Program, SizeConfig] = Field(
        {},
        description="Other sizes of the services of single programs: `api-server`, `scheduler`, "
        "`dag-processor`, `triggerer`.",
        examples=[{"scheduler": {"cpu": 1024, "memory_mb": 2048}}],
    )
    spot: bool = Field(
        False,
        description="Whether the programs run on Fargate Spot, spare capacity for about a third of "
        "the price: AWS may stop them with a warning of two minutes, and starts them again when "
        "there is capacity. Running tasks go on meanwhile.",
    )
    public_addresses: bool = Field(
        False,
        description="Whether the programs are in public subnets with public addresses, through "
        "which they reach AWS and the Internet without a NAT gateway. Nobody can connect to them.",
    )
    office_hours: OfficeHoursConfig = Field(default_factory=OfficeHoursConfig)
    environment: Environment = Field({})
    secrets: Secrets = Field({})
    policies: Policies = Field([])
    statements: Statements = Field([])

    @property
    def on_the_internet(self) -> bool:
        """Whether a public range may open the UI."""
        return any(not IPv4Network(cidr).is_private for cidr in self.allowed_cidrs)

    def size_of(self, program: str | None) -> SizeConfig:
        """The size of the service of a program; None: of the one task with all programs."""
        for name, size in self.sizes.items():
            if name == program:
                return size
        return SizeConfig(cpu=self.cpu, memory_mb=self.memory_mb)
