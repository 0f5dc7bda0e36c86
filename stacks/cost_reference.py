"""What a stage costs, resource by resource, worked out from its own templates.

`python -m stacks.cost_reference` prints `docs/reference/costs.md`. It must not know how the stacks
are made: it reads what CloudFormation would. A type of resource that it has no price for is an
error, so that nothing new goes uncounted.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from stacks.config_loading import load
from stacks.environment import build
from stacks.prices import HOURS_A_MONTH, PRICES, READ_ON

STAGES = ("dev", "prod")

#: Seconds that a task runs: nothing but starting it (docs/reference/benchmarks.md), and a minute.
TASKS = {"that do nothing": 0.1, "of a minute": 60.0}

#: What a workload writes to the function's log: Lambda's three lines, the handler's two, and a copy
#: of a task's own log of some ten lines.
_LOG_GB = 4_000 / 1e9
#: Requests of a workload: its result is sent once, and received and deleted in batches; of a queue
#: that is empty, a minute (docs/reference/benchmarks.md).
_SQS_REQUESTS = 1.25
_SQS_IDLE_A_MINUTE = 3.5
#: Of the image, compressed.
_IMAGE_GB = 0.25
#: RDS Proxy counts the processors of the database, two at least.
_PROXY_VCPUS = 2

Template = Mapping[str, Any]
Properties = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one resource costs, in US dollars.

    Attributes:
        idle: A month without a task.
        each: A workload, and for every second that it runs.
    """

    idle: float = 0.0
    each: tuple[float, float] = (0.0, 0.0)

    def thousand(self, seconds: float) -> float:
        """A thousand workloads that run for so long."""
        once, a_second = self.each
        return 1000 * (once + a_second * seconds)


def _usd(name: str) -> float:
    return PRICES[name].usd


def _function(properties: Properties, _: Template) -> Cost:
    arch = properties.get("Architectures", ["x86_64"])[0]
    gb = properties.get("MemorySize", 128) / 1024
    return Cost(each=(_usd("Lambda, requests") / 1e6, gb * _usd(f"Lambda, {arch}")))


def _alias(properties: Properties, template: Template) -> Cost:
    provisioned = properties.get("ProvisionedConcurrencyConfig", {})
    function = template["Resources"][properties["FunctionName"]["Ref"]]["Properties"]
    gb_seconds = (
        provisioned.get("ProvisionedConcurrentExecutions", 0)
        * (function["MemorySize"] / 1024)
        * HOURS_A_MONTH
        * 3600
    )
    return Cost(idle=gb_seconds * _usd("Lambda, provisioned concurrency"))


def _queue(_: Properties, __: Template) -> Cost:
    a_request = _usd("SQS, requests") / 1e6
    return Cost(
        idle=_SQS_IDLE_A_MINUTE * 60 * HOURS_A_MONTH * a_request,
        each=(_SQS_REQUESTS * a_request, 0.0),
    )


def _log_group(properties: Properties, _: Template) -> Cost:
    of_workloads = str(properties.get("LogGroupName", "")).startswith("/aws/lambda/airflow-lambda")
    return Cost(each=(_LOG_GB * _usd("Logs, taken in") if of_workloads else 0.0, 0.0))


def _database(properties: Properties, _: Template) -> Cost:
    copies = 2 if properties.get("MultiAZ") else 1
    instance = HOURS_A_MONTH * _usd(f"RDS, {properties['DBInstanceClass']}")
    storage = int(properties["AllocatedStorage"]) * _usd("RDS, gp3")
    return Cost(idle=copies * (instance + storage))


def _proxy(_: Properties, __: Template) -> Cost:
    return Cost(idle=_PROXY_VCPUS * HOURS_A_MONTH * _usd("RDS Proxy"))


def _endpoint(properties: Properties, _: Template) -> Cost:
    if properties.get("VpcEndpointType") != "Interface":
        return Cost()  # Gateways are free.
    return Cost(idle=len(properties["SubnetIds"]) * HOURS_A_MONTH * _usd("Interface endpoint"))


def _load_balancer(properties: Properties, _: Template) -> Cost:
    addresses = len(properties["Subnets"]) if properties["Scheme"] == "internet-facing" else 0
    an_hour = _usd("Load balancer") + addresses * _usd("Public IPv4 address")
    return Cost(idle=HOURS_A_MONTH * an_hour)


def _service(properties: Properties, template: Template) -> Cost:
    task = template["Resources"][properties["TaskDefinition"]["Ref"]]["Properties"]
    machine = task.get("RuntimePlatform", {}).get("CpuArchitecture", "X86_64").lower()
    an_hour = int(task["Cpu"]) / 1024 * _usd(f"Fargate, {machine}") + int(
        task["Memory"]
    ) / 1024 * _usd(f"Fargate, {machine}, memory")
    return Cost(idle=properties.get("DesiredCount", 1) * HOURS_A_MONTH * an_hour)


def _alarm(properties: Properties, _: Template) -> Cost:
    metrics = [m for m in properties.get("Metrics", []) if "MetricStat" in m]
    return Cost(idle=max(1, len(metrics)) * _usd("Alarm"))


def _always(name: str, amount: float = 1.0) -> Callable[[Properties, Template], Cost]:
    """So much a month whatever happens."""
    return lambda _properties, _template: Cost(idle=amount * _usd(name))


#: Type of a resource to how its cost is found, and what to know about it.
RATES: Mapping[str, tuple[Callable[[Properties, Template], Cost], str]] = {
    "AWS::CloudWatch::Alarm": (_alarm, "each metric that it looks at"),
    "AWS::CloudWatch::Dashboard": (_always("Dashboard"), "three are free in an account"),
    "AWS::EC2::EIP": (_always("Public IPv4 address", HOURS_A_MONTH), "of the NAT gateway"),
    "AWS::EC2::NatGateway": (_always("NAT gateway", HOURS_A_MONTH), "and as much for each GB"),
    "AWS::EC2::VPCEndpoint": (_endpoint, "interfaces in each zone, and $0.01 for each GB"),
    "AWS::ECR::Repository": (
        _always("Image storage", _IMAGE_GB),
        f"one image of {_IMAGE_GB} GB; versions share most layers",
    ),
    "AWS::ECS::Service": (_service, "processor and memory of its tasks, all day"),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": (
        _load_balancer,
        "with its addresses; and $0.008 for each unit of load and hour",
    ),
    "AWS::KMS::Key": (_always("KMS key"), "and $0.03 for 10,000 requests"),
    "AWS::Lambda::Alias": (_alias, "provisioned concurrency, where there is any"),
    "AWS::Lambda::Function": (_function, "memory and time of the workloads"),
    "AWS::Logs::LogGroup": (_log_group, f"{_LOG_GB * 1e6:.0f} kB a workload; storage $0.03 a GB"),
    "AWS::Logs::MetricFilter": (
        lambda _properties, _template: Cost(),
        "$0.30 a month for each metric in use, by the hour; a dozen for each function",
    ),
    "AWS::RDS::DBInstance": (_database, "with its storage; backups up to its size are free"),
    "AWS::RDS::DBProxy": (_proxy, "two vCPUs at least"),
    "AWS::Route53::HostedZone": (_always("Private DNS zone"), ""),
    "AWS::S3::Bucket": (lambda _properties, _template: Cost(), "what is in it, $0.023 a GB"),
    "AWS::SQS::Queue": (_queue, f"{_SQS_IDLE_A_MINUTE} receives a minute and queue"),
    "AWS::SecretsManager::Secret": (_always("Secret"), "and $0.05 for 10,000 calls"),
    "AWS::ServiceDiscovery::PrivateDnsNamespace": (_always("Private DNS zone"), "its zone"),
}

#: Types that nothing is charged for.
FREE = frozenset(
    {
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        "AWS::Budgets::Budget",
        "AWS::EC2::FlowLog",
        "AWS::EC2::InternetGateway",
        "AWS::EC2::Route",
        "AWS::EC2::RouteTable",
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::SecurityGroupEgress",
        "AWS::EC2::SecurityGroupIngress",
        "AWS::EC2::Subnet",
        "AWS::EC2::SubnetRouteTableAssociation",
        "AWS::EC2::VPC",
        "AWS::EC2::VPCGatewayAttachment",
        "AWS::ECS::Cluster",
        "AWS::ECS::TaskDefinition",
        "AWS::ElasticLoadBalancingV2::Listener",
        "AWS::ElasticLoadBalancingV2::ListenerRule",
        "AWS::ElasticLoadBalancingV2::TargetGroup",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::KMS::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Permission",
        "AWS::Lambda::Version",
        "AWS::RDS::DBParameterGroup",
        "AWS::RDS::DBProxyTargetGroup",
        "AWS::RDS::DBSubnetGroup",
        "AWS::Route53::RecordSet",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::Subscription",
        "AWS::SNS::Topic",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
        "AWS::SSM::Parameter",
        "AWS::SecretsManager::ResourcePolicy",
        "AWS::SecretsManager::RotationSchedule",
        "AWS::SecretsManager::SecretTargetAttachment",
        "AWS::ServiceDiscovery::Service",
    }
)


@dataclass(frozen=True, slots=True)
class Line:
    """All resources of one type.

    Attributes:
        type: Their type.
        count: How many there are.
        costs: Of each.
        note: What to know.
    """

    type: str
    count: int
    costs: tuple[Cost, ...]
    note: str

    @property
    def idle(self) -> float:
        """A month without a task."""
        return sum(cost.idle for cost in self.costs)

    def thousand(self, seconds: float) -> float:
        """A thousand workloads: each uses one function, one queue for its result, one log."""
        return max((cost.thousand(seconds) for cost in self.costs), default=0.0)


def lines(templates: Iterable[Template]) -> list[Line]:
    """The cost of a stage by type of resource, the dearest first.

    Raises:
        KeyError: There is no price for a type of resource, or for a size of it.
    """
    costs: dict[str, list[Cost]] = {}
    for template in templates:
        for resource in template["Resources"].values():
            type_ = resource["Type"]
            if type_ in FREE:
                cost = Cost()
            elif type_ in RATES:
                cost = RATES[type_][0](resource.get("Properties", {}), template)
            else:
                raise KeyError(f"{type_} has no price in stacks/cost_reference.py: add it there")
            costs.setdefault(type_, []).append(cost)
    found = [
        Line(type_, len(each), tuple(each), RATES[type_][1] if type_ in RATES else "free")
        for type_, each in costs.items()
    ]
    return sorted(found, key=lambda line: (-line.idle, line.note == "free", line.type))


def templates_of(stage: str, root: Path) -> list[Template]:
    """The templates of a stage of the `cdk.json` in a folder."""
    context = json.loads((root / "cdk.json").read_text())["context"]
    with tempfile.TemporaryDirectory() as folder:
        app = cdk.App(context=context, outdir=folder)
        build(app, stage, load(context["stages"], stage), root=root)
        app.synth()
        return [json.loads(path.read_text()) for path in Path(folder).glob("*.template.json")]


def render(stages: Mapping[str, Iterable[Template]]) -> str:
    """The whole reference page."""
    parts = [_HEAD]
    for stage, templates in stages.items():
        parts.append(_stage(stage, lines(templates)))
    parts.append(_PRICES_HEAD)
    for name, price in PRICES.items():
        source = f"[read]({price.source})" if price.source else "not looked up"
        parts.append(f"| {name} | {price.usd:.10g} | {price.per} | {source} | <{price.page}> |\n")
    return "".join(parts)


def _stage(stage: str, found: list[Line]) -> str:
    priced = [line for line in found if line.note != "free"]
    rows = [
        f"\n## `{stage}`\n\n| resource | count | idle, a month | "
        + " | ".join(f"1,000 tasks {kind}" for kind in TASKS)
        + " | what is counted |\n|---|---|---|---|---|---|\n"
    ]
    for line in priced:
        tasks = [line.thousand(seconds) for seconds in TASKS.values()]
        rows.append(_row(f"`{line.type}`", line.count, line.idle, tasks, line.note))
    idle = sum(line.idle for line in priced)
    together = [sum(line.thousand(seconds) for line in priced) for seconds in TASKS.values()]
    rows.append(_row("**together**", "", idle, together, ""))
    free = ", ".join(f"`{line.type}` ({line.count})" for line in found if line.note == "free")
    return "".join(rows) + f"\nFree: {free}.\n"


def _row(name: str, count: object, idle: float, tasks: list[float], note: str) -> str:
    amounts = [f"${idle:.2f}", *(f"${usd:.4f}" for usd in tasks)]
    return f"| {name} | {count} | {' | '.join(amounts)} | {note} |\n"


_HEAD = f"""\
# What a stage costs

Generated by `python -m stacks.cost_reference` (`make docs`) from the templates of `cdk.json`; a
test fails when a resource is missing. US East (N. Virginia), on demand, without free tiers and
discounts, prices of {READ_ON}: their sources are at the end. Nothing here has been compared with
a bill ([what is unproven](../unproven.md)).

*Idle* is a month of {HOURS_A_MONTH} hours in which no task runs and one scheduler polls all queues.
Tasks run in the default function, whose memory and time are what they cost; one *that does nothing*
is taken to occupy a warm environment for {TASKS["that do nothing"]} s ([measured](benchmarks.md)).
A result takes {_SQS_REQUESTS} requests: it is sent once, and received and deleted in batches.

Not counted: traffic to the Internet and between zones, what tasks themselves use, cold starts (a
few seconds of the function's memory each), and the Airflow that a stage without a control plane
serves.
"""

_PRICES_HEAD = f"""
## Prices

Read on {READ_ON}, mostly on pages that repeat AWS's own, which could not be reached from where this
was written. *Not looked up* is a price that no such page had: check it.

| what | USD | per | source | AWS's own page |
|---|---|---|---|---|
"""


if __name__ == "__main__":
    here = Path(__file__).parents[1]
    sys.stdout.write(render({stage: templates_of(stage, here) for stage in STAGES}))
