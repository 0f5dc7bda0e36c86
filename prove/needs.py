"""What a stage takes of the account's quotas, read from its templates."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from prove.place import ROOT, NotSeenError
from stacks.config import StageConfig

Template = Mapping[str, Any]

#: How much of a service may run while a deploy replaces it, if the service does not say.
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
_MAXIMUM_PERCENT = 200


@dataclass(frozen=True, slots=True)
class Needs:
    """What a stage takes.

    Attributes:
        vcpus: Of Fargate on demand, when nothing changes.
        vcpus_replacing: The most while a deploy replaces the services.
        spot_vcpus: Of Fargate Spot, when nothing changes.
        spot_vcpus_replacing: The most while a deploy replaces the services.
        reserved: Concurrent executions that functions reserve or keep warm.
        parallelism: Tasks that Airflow runs at once.
    """

    vcpus: float
    vcpus_replacing: float
    spot_vcpus: float
    spot_vcpus_replacing: float
    elastic_ips: int
    vpcs: int
    reserved: int
    parallelism: int


def needs_of(stage: str, config: StageConfig) -> Needs:
    """Synthesize a stage and add up what it takes.

    Raises:
        NotSeenError: It cannot be synthesized; the message is the CDK's.
    """
    with tempfile.TemporaryDirectory() as folder:
        argv = ["node_modules/.bin/cdk", "synth", "--quiet", "--no-notices", "--output", folder]
        done = subprocess.run(
            [*argv, "-c", f"stage={stage}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NotSeenError(f"the stage {stage} cannot be synthesized: {done.stderr.strip()}")
        templates = [json.loads(path.read_text()) for path in Path(folder).glob("*.template.json")]
    return added_up(templates, config.execution.parallelism)


def added_up(templates: Iterable[Template], parallelism: int) -> Needs:
    """Add up what the resources of templates take."""
    steady, extra, count = [0.0, 0.0], [0.0, 0.0], {"EIP": 0, "VPC": 0}
    reserved = 0
    for template in templates:
        more: tuple[dict[str, float], dict[str, float]] = ({}, {})
        for name, service, task in _services(template):
            tasks, vcpus = service.get("DesiredCount", 1), int(task["Cpu"]) / 1024
            rolling = service.get("DeploymentConfiguration", {})
            # ECS rounds the most down: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
            most = tasks * rolling.get("MaximumPercent", _MAXIMUM_PERCENT) // 100
            is_spot = "FARGATE_SPOT" in json.dumps(service.get("CapacityProviderStrategy", ()))
            steady[is_spot] += tasks * vcpus
            more[is_spot][name] = (most - tasks) * vcpus
        for is_spot in (False, True):
            extra[is_spot] = max(extra[is_spot], _at_once(template, more[is_spot]))
        for resource in template["Resources"].values():
            if resource["Type"] in ("AWS::EC2::EIP", "AWS::EC2::VPC"):
                count[resource["Type"].rpartition("::")[2]] += 1
        reserved += _reserved(template)
    return Needs(
        steady[False],
        steady[False] + extra[False],
        steady[True],
        steady[True] + extra[True],
        count["EIP"],
        count["VPC"],
        reserved,
        parallelism,
    )


def _services(template: Template) -> Iterator[tuple[str, Template, Template]]:
    """Yield each service: its logical id, its properties, those of its task definition."""
    resources = template["Resources"]
    for name, resource in resources.items():
        if resource["Type"] == "AWS::ECS::Service":
            service = resource["Properties"]
            yield name, service, resources[service["TaskDefinition"]["Ref"]]["Properties"]


def _at_once(template: Template, more: Mapping[str, float]) -> float:
    """Return the largest sum of services that a deploy replaces at the same time.

    CloudFormation updates what does not depend on each other at the same time.
    """
    needs = {name: _needs(template, name) for name in more}
    groups = (group for size in range(len(more) + 1) for group in combinations(more, size))
    return max(
        sum(more[name] for name in group)
        for group in groups
        if not any(needs[name] & set(group) for name in group)
    )


def _needs(template: Template, name: str) -> set[str]:
    """Return every resource that a resource depends on, directly or through others."""
    named = template["Resources"][name].get("DependsOn", [])
    direct = {named} if isinstance(named, str) else set(named)
    return direct.union(*(_needs(template, other) for other in direct))


def _reserved(template: Template) -> int:
    """Return the executions that the functions take from the others of the account.

    What is kept warm counts within the function's reservation.
    https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
    """
    functions = {}
    warm: Counter[str] = Counter()
    for name, resource in template["Resources"].items():
        values = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::Function":
            functions[name] = int(values.get("ReservedConcurrentExecutions", 0))
        if config := values.get("ProvisionedConcurrencyConfig"):
            warm[values["FunctionName"]["Ref"]] += config["ProvisionedConcurrentExecutions"]
    return sum(max(reserved, warm[name]) for name, reserved in functions.items())
