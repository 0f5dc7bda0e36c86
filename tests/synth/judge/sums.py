"""The limits of AWS on what several resources make together, each with its source."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

from tests.synth.judge.limits import characters
from tests.synth.judge.rendered import Rendering
from tests.synth.policies import listed

Sum = Callable[[Rendering], Iterator[str]]


def _more(what: str, number: int, most: int) -> Iterator[str]:
    if number > most:
        yield f"{what}: {number}, allowed is {most}"


def templates(rendering: Rendering) -> Iterator[str]:
    """What one template may hold.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
    """
    for part in rendering.assembly.parts:
        template = rendering.assembly.json(part)
        text = json.dumps(template)
        for what, number, most in (
            ("bytes", len(text.encode()), 1_000_000),
            ("bytes of its description", len(template.get("Description", "").encode()), 1024),
            ("dynamic references", text.count("{{resolve:"), 60),
            ("outputs", len(template.get("Outputs", {})), 200),
            ("parameters", len(template.get("Parameters", {})), 200),
            ("resources", len(template["Resources"]), 500),
        ):
            yield from _more(f"{part}: {what}", number, most)


def policies_of_a_role(rendering: Rendering) -> Iterator[str]:
    """Inline policies have 10,240 characters together; 10 managed ones can be attached by default.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    inline: Counter[str] = Counter()
    managed: Counter[str] = Counter()
    for role in rendering.resources("AWS::IAM::Role"):
        name = rendering.name(role.part, role.logical_id)
        managed[name] += len(role.properties.get("ManagedPolicyArns", []))
        for policy in role.properties.get("Policies", []):
            inline[name] += characters(policy["PolicyDocument"])
    for policy in rendering.resources("AWS::IAM::Policy"):
        for name in policy.properties["Roles"]:
            inline[name] += characters(policy.properties["PolicyDocument"])
    for policy in rendering.resources("AWS::IAM::ManagedPolicy"):
        for name in policy.properties.get("Roles", []):
            managed[name] += 1
    for name, number in inline.items():
        yield from _more(f"characters of the inline policies of {name}", number, 10_240)
    for name, number in managed.items():
        yield from _more(f"managed policies of {name}", number, 10)


def rules_of_a_security_group(rendering: Rendering) -> Iterator[str]:
    """A group has 60 rules of each direction by default.

    https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups
    """
    rules: Counter[tuple[str, str]] = Counter()
    for group in rendering.resources("AWS::EC2::SecurityGroup"):
        for direction in ("Ingress", "Egress"):
            inside = group.properties.get(f"SecurityGroup{direction}", [])
            rules[str(group), direction] += len(inside)
    for direction in ("Ingress", "Egress"):
        for rule in rendering.resources(f"AWS::EC2::SecurityGroup{direction}"):
            rules[rule.properties["GroupId"], direction] += 1
    for (name, direction), number in rules.items():
        yield from _more(f"{direction} of {name}", number, 60)


def filters_of_a_log_group(rendering: Rendering) -> Iterator[str]:
    """A log group has 100 metric filters.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
    """
    filters = Counter(
        filter_.properties["LogGroupName"]
        for filter_ in rendering.resources("AWS::Logs::MetricFilter")
    )
    for group, number in filters.items():
        yield from _more(f"metric filters of {group}", number, 100)


def parameters(rendering: Rendering) -> Iterator[str]:
    """A standard parameter has 4 KB, an advanced one 8 KB.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
    """
    for parameter in rendering.resources("AWS::SSM::Parameter"):
        advanced = parameter.properties.get("Tier", "Standard") != "Standard"
        length = len(parameter.properties["Value"].encode())
        yield from _more(f"bytes of {parameter}", length, 8192 if advanced else 4096)


def spans_of_alarms(rendering: Rendering) -> Iterator[str]:
    """An alarm looks back one day, or seven if its period is an hour or more.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    for alarm in rendering.resources("AWS::CloudWatch::Alarm"):
        queries = alarm.properties.get("Metrics", [])
        periods = [alarm.properties.get("Period"), *(_period(query) for query in queries)]
        for period in filter(None, periods):
            span = period * alarm.properties["EvaluationPeriods"]
            yield from _more(f"seconds of {alarm}", span, 604_800 if period >= 3600 else 86_400)


def _period(query: dict[str, Any]) -> int | None:
    found: int | None = query.get("Period") or query.get("MetricStat", {}).get("Period")
    return found


def metrics_of_a_dashboard(rendering: Rendering) -> Iterator[str]:
    """A widget shows 500 metrics, and a dashboard 2,500.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html
    """
    for dashboard in rendering.resources("AWS::CloudWatch::Dashboard"):
        widgets = json.loads(dashboard.properties["DashboardBody"])["widgets"]
        metrics = [len(widget["properties"].get("metrics", [])) for widget in widgets]
        yield from _more(f"metrics of one widget of {dashboard}", max(metrics), 500)
        yield from _more(f"metrics of {dashboard}", sum(metrics), 2500)


def addresses(rendering: Rendering) -> Iterator[str]:
    """An account has 5 Elastic IP addresses in a Region by default.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/elastic-ip-addresses-eip.html
    """
    yield from _more("Elastic IP addresses", len([*rendering.resources("AWS::EC2::EIP")]), 5)


def gateways(rendering: Rendering) -> Iterator[str]:
    """A zone has 5 NAT gateways, and a VPC 50 interface endpoints, by default.

    https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
    """
    zones: defaultdict[str, int] = defaultdict(int)
    for gateway in rendering.resources("AWS::EC2::NatGateway"):
        zones[gateway.properties["SubnetId"]] += 1
    for subnet, number in zones.items():
        yield from _more(f"NAT gateways of {subnet}", number, 5)
    endpoints = [
        endpoint
        for endpoint in rendering.resources("AWS::EC2::VPCEndpoint")
        if endpoint.properties.get("VpcEndpointType") == "Interface"
    ]
    yield from _more("interface endpoints", len(endpoints), 50)


def reserved_concurrency(rendering: Rendering) -> Iterator[str]:
    """Lambda keeps 100 of an account's 1,000 executions for functions without a reservation.

    New accounts have as few as 10 and can reserve none: `test_limits.py` has the stages that must
    come up there. https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
    """
    yield from _more("reserved executions", reserved(rendering), 900)


def reserved(rendering: Rendering) -> int:
    """The executions that a stage takes away from the other functions of its account."""
    warm: Counter[str] = Counter()
    for alias in rendering.resources("AWS::Lambda::Alias"):
        provisioned = alias.properties.get("ProvisionedConcurrencyConfig", {})
        warm[alias.properties["FunctionName"]] += int(
            provisioned.get("ProvisionedConcurrentExecutions", 0)
        )
    return sum(
        max(
            int(function.properties.get("ReservedConcurrentExecutions", 0)),
            warm[rendering.name(function.part, function.logical_id)],
        )
        for function in rendering.resources("AWS::Lambda::Function")
    )


def fargate(rendering: Rendering) -> Iterator[str]:
    """An account has 6 vCPUs of Fargate in a Region by default, and 6 of Fargate Spot.

    During a deploy, services that do not wait for each other are replaced at the same time, and
    each runs up to `MaximumPercent` of its tasks.
    https://docs.aws.amazon.com/general/latest/gr/ecs-service.html#limits_ecs
    """
    units = {
        rendering.value(task.part, {"Ref": task.logical_id}): int(task.properties["Cpu"])
        for task in rendering.resources("AWS::ECS::TaskDefinition")
    }
    rest: Counter[str] = Counter()
    more: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for service in rendering.resources("AWS::ECS::Service"):
        of_one = units[service.properties["TaskDefinition"]]
        count = int(service.properties["DesiredCount"])
        percent = int(service.properties["DeploymentConfiguration"]["MaximumPercent"])
        (strategy,) = service.properties["CapacityProviderStrategy"]
        rest[strategy["CapacityProvider"]] += of_one * count
        more[strategy["CapacityProvider"]][service.logical_id] = of_one * (
            count * percent // 100 - count
        )
    for provider, running in rest.items():
        yield from _more(f"CPU units of {provider}", running, 6 * 1024)
        peak = running + max(
            sum(more[provider][id] for id in group)
            for size in range(1, len(more[provider]) + 1)
            for group in combinations(more[provider], size)
            if not _wait_for_each_other(rendering, group)
        )
        yield from _more(f"CPU units of {provider} during a deploy", peak, 6 * 1024)


def _wait_for_each_other(rendering: Rendering, ids: Sequence[str]) -> bool:
    """Whether CloudFormation updates one of these after another of them."""
    needs = {
        resource.logical_id: set(listed(resource.body.get("DependsOn", [])))
        for resource in rendering.assembly.resources()
        if resource.part == "control-plane"
    }

    def all_needs(id: str) -> set[str]:
        return needs.get(id, set()).union(*(all_needs(other) for other in needs.get(id, ())))

    return any(all_needs(id) & set(ids) for id in ids)


SUMS: tuple[Sum, ...] = (
    addresses,
    fargate,
    filters_of_a_log_group,
    gateways,
    metrics_of_a_dashboard,
    parameters,
    policies_of_a_role,
    reserved_concurrency,
    rules_of_a_security_group,
    spans_of_alarms,
    templates,
)
