"""How the cost of a resource is calculated from its properties, for each type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stacks.reference.prices import HOURS_A_MONTH, PRICES
from stacks.stage.names import APP

#: A workload's lines in the function's log: three of Lambda's, two of the handler's, and a copy of
#: the task's own log of about ten lines.
_LOG_GB = 4_000 / 1e9
#: Requests for one result: it is sent once, and received and deleted in batches.
SQS_REQUESTS = 1.25
#: Requests a minute for an empty queue (docs/reference/benchmarks.md).
_SQS_IDLE_A_MINUTE = 3.5
#: Size of the compressed image.
_IMAGE_GB = 0.25

#: Calls of the Execution API, an estimate: for the start, variables, XComs and end of a workload,
#: and a heartbeat every five seconds.
_API_CALLS, _HEARTBEATS_A_SECOND = 8, 0.2

Template = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource and its template; `name` is its logical id."""

    name: str
    properties: Mapping[str, Any]
    template: Template

    def referred(self, reference: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the properties of the resource that a `Ref` points to."""
        properties: Mapping[str, Any] = self.template["Resources"][reference["Ref"]]["Properties"]
        return properties


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one resource, in US dollars."""

    idle: float = 0.0  # For a month without a task.
    each: tuple[float, float] = (0.0, 0.0)  # For a workload, and for every second that it runs.

    def thousand(self, seconds: float) -> float:
        """Cost of a thousand workloads that run for `seconds` each."""
        once, a_second = self.each
        return 1000 * (once + a_second * seconds)


def _usd(name: str) -> float:
    return PRICES[name].usd


def _function(function: Resource) -> Cost:
    properties = function.properties
    arch = properties.get("Architectures", ["x86_64"])[0]
    gb = properties.get("MemorySize", 128) / 1024
    return Cost(each=(_usd("Lambda, requests") / 1e6, gb * _usd(f"Lambda, {arch}")))


def _alias(alias: Resource) -> Cost:
    provisioned = alias.properties.get("ProvisionedConcurrencyConfig", {})
    function = alias.referred(alias.properties["FunctionName"])
    gb_seconds = (
        provisioned.get("ProvisionedConcurrentExecutions", 0)
        * (function["MemorySize"] / 1024)
        * HOURS_A_MONTH
        * 3600
    )
    return Cost(idle=gb_seconds * _usd("Lambda, provisioned concurrency"))


def _version(version: Resource) -> Cost:
    function = version.referred(version.properties["FunctionName"])
    if "SnapStart" not in function:
        return Cost()
    return Cost(idle=snapshot_a_month(function["MemorySize"]))


def snapshot_a_month(memory_mb: int) -> float:
    """Return what the snapshot of one version costs in a month, in US dollars."""
    gb_seconds = memory_mb / 1024 * HOURS_A_MONTH * 3600
    return gb_seconds * _usd("Lambda, snapshot of a version")


def _micro_vm_image(image: Resource) -> Cost:
    (size,) = image.properties["Resources"]
    return Cost(idle=micro_vm_image_a_month(size["MinimumMemoryInMiB"]))


def micro_vm_image_a_month(memory_mb: int) -> float:
    """Return what one version of a MicroVM's image costs in a month, in US dollars.

    Its snapshot is counted with the whole memory. Somebody's of 2 GB was billed as 0.9 GB.
    """
    return memory_mb / 1024 * _usd("MicroVM, snapshot of a version")


def _queue(queue: Resource) -> Cost:
    if "Failures" in queue.name:
        return Cost()  # Nobody polls it.
    a_request = _usd("SQS, requests") / 1e6
    return Cost(
        idle=_SQS_IDLE_A_MINUTE * 60 * HOURS_A_MONTH * a_request,
        each=(SQS_REQUESTS * a_request, 0.0),
    )


def _bucket(bucket: Resource) -> Cost:
    a_log = _usd("S3, writes") / 1000
    return Cost(each=(a_log if "TaskLogs" in bucket.name else 0.0, 0.0))


def _log_group(group: Resource) -> Cost:
    of_workloads = str(group.properties.get("LogGroupName", "")).startswith(f"/aws/lambda/{APP}")
    return Cost(each=(_LOG_GB * _usd("Logs, taken in") if of_workloads else 0.0, 0.0))


def _database(database: Resource) -> Cost:
    properties = database.properties
    copies = 2 if properties.get("MultiAZ") else 1
    instance = HOURS_A_MONTH * _usd(f"RDS, {properties['DBInstanceClass']}")
    storage = int(properties["AllocatedStorage"]) * _usd("RDS, gp3")
    return Cost(idle=copies * (instance + storage))


def _endpoint(endpoint: Resource) -> Cost:
    properties = endpoint.properties
    if properties.get("VpcEndpointType") != "Interface":
        return Cost()  # Gateways are free.
    return Cost(idle=len(properties["SubnetIds"]) * HOURS_A_MONTH * _usd("Interface endpoint"))


def _load_balancer(load_balancer: Resource) -> Cost:
    properties = load_balancer.properties
    addresses = len(properties["Subnets"]) if properties["Scheme"] == "internet-facing" else 0
    an_hour = _usd("Load balancer") + addresses * _usd("Public IPv4 address")
    return Cost(idle=HOURS_A_MONTH * an_hour)


def _service(service: Resource) -> Cost:
    task = service.referred(service.properties["TaskDefinition"])
    arch = task.get("RuntimePlatform", {}).get("CpuArchitecture", "X86_64").lower()
    (strategy,) = service.properties["CapacityProviderStrategy"]
    kind = "Fargate Spot" if strategy["CapacityProvider"] == "FARGATE_SPOT" else "Fargate"
    an_hour = int(task["Cpu"]) / 1024 * _usd(f"{kind}, {arch}")
    an_hour += int(task["Memory"]) / 1024 * _usd(f"{kind}, {arch}, memory")
    network = service.properties["NetworkConfiguration"]["AwsvpcConfiguration"]
    if network["AssignPublicIp"] == "ENABLED":
        an_hour += _usd("Public IPv4 address")
    return Cost(idle=service.properties.get("DesiredCount", 1) * HOURS_A_MONTH * an_hour)


def _http_api(_api: Resource) -> Cost:
    a_call = _usd("HTTP API, requests") / 1e6
    return Cost(each=(_API_CALLS * a_call, _HEARTBEATS_A_SECOND * a_call))


def _alarm(alarm: Resource) -> Cost:
    metrics = [m for m in alarm.properties.get("Metrics", []) if "MetricStat" in m]
    return Cost(idle=max(1, len(metrics)) * _usd("Alarm"))


def _always(name: str, amount: float = 1.0) -> Callable[[Resource], Cost]:
    """Return a function for resources with a fixed monthly cost."""
    return lambda _: Cost(idle=amount * _usd(name))


#: Type of a resource, to the function for its cost and the note in the table.
RATES: Mapping[str, tuple[Callable[[Resource], Cost], str]] = {
    "AWS::ApiGatewayV2::Api": (
        _http_api,
        f"{_API_CALLS} calls a workload, and one every {1 / _HEARTBEATS_A_SECOND:.0f} s",
    ),
    "AWS::CloudWatch::Alarm": (_alarm, "each metric of the alarm"),
    "AWS::CloudWatch::Dashboard": (_always("Dashboard"), "three are free in an account"),
    "AWS::EC2::EIP": (_always("Public IPv4 address", HOURS_A_MONTH), "the NAT gateway's address"),
    "AWS::EC2::NatGateway": (
        _always("NAT gateway", HOURS_A_MONTH),
        "plus the hourly price again for each GB",
    ),
    "AWS::EC2::VPCEndpoint": (_endpoint, "interfaces in each zone, plus $0.01 for each GB"),
    "AWS::ECR::Repository": (
        _always("Image storage", _IMAGE_GB),
        f"one image of {_IMAGE_GB} GB; versions share most layers",
    ),
    "AWS::ECS::Service": (_service, "vCPUs, memory and public addresses of its tasks, all day"),
    "AWS::EFS::FileSystem": (
        lambda _: Cost(),
        "$0.30 a month for each stored GB; $0.03 for each GB read and $0.06 for each written",
    ),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": (
        _load_balancer,
        "includes its addresses; plus $0.008 for each unit of load and hour",
    ),
    "AWS::KMS::Key": (_always("KMS key"), "plus $0.03 for 10,000 requests"),
    "AWS::Lambda::Alias": (_alias, "provisioned concurrency, if there is any"),
    "AWS::Lambda::Function": (_function, "memory and time of the workloads"),
    "AWS::Lambda::MicrovmImage": (
        _micro_vm_image,
        "the snapshot of one version, for a week at least; each older version costs it again",
    ),
    "AWS::Lambda::Version": (_version, "its snapshot; each older version costs it again"),
    "AWS::Logs::LogGroup": (_log_group, f"{_LOG_GB * 1e6:.0f} kB a workload; storage $0.03 a GB"),
    "AWS::Logs::MetricFilter": (
        lambda _: Cost(),
        "$0.30 a month for each metric in use, by the hour; a dozen for each function",
    ),
    "AWS::RDS::DBInstance": (_database, "includes its storage; backups up to its size are free"),
    "AWS::RDS::DBProxy": (_always("RDS Proxy", 2 * HOURS_A_MONTH), "the least, two vCPUs"),
    "AWS::Route53::HostedZone": (_always("Private DNS zone"), ""),
    "AWS::S3::Bucket": (_bucket, "a write for each task log in S3; $0.023 for each stored GB"),
    "AWS::SQS::Queue": (_queue, f"{_SQS_IDLE_A_MINUTE} requests a minute for each polled queue"),
    "AWS::SecretsManager::Secret": (_always("Secret"), "plus $0.05 for 10,000 calls"),
    "AWS::ServiceDiscovery::PrivateDnsNamespace": (_always("Private DNS zone"), "its zone"),
}
