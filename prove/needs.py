"""What a stage takes of the account's quotas, read from its templates."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
        vcpus_replacing: The most while a deploy replaces one service after the other.
        spot_vcpus: Of Fargate Spot, when nothing changes.
        spot_vcpus_replacing: The most while a deploy replaces one service after the other.
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
        for service, task in _services(template):
            tasks, vcpus = service.get("DesiredCount", 1), int(task["Cpu"]) / 1024
            rolling = service.get("DeploymentConfiguration", {})
            # ECS rounds the most down: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
            most = tasks * rolling.get("MaximumPercent", _MAXIMUM_PERCENT) // 100
            is_spot = "FARGATE_SPOT" in json.dumps(service.get("CapacityProviderStrategy", ()))
            steady[is_spot] += tasks * vcpus
            extra[is_spot] = max(extra[is_spot], (most - tasks) * vcpus)
        for resource in template["Resources"].values():
            values = resource.get("Properties", {})
            kind = resource["Type"].rpartition("::")[2]
            if resource["Type"] in ("AWS::EC2::EIP", "AWS::EC2::VPC"):
                count[kind] += 1
            reserved += values.get("ReservedConcurrentExecutions", 0)
            warm = values.get("ProvisionedConcurrencyConfig", {})
            reserved += warm.get("ProvisionedConcurrentExecutions", 0)
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


def _services(template: Template) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield each service with its task definition, both as their properties."""
    resources = template["Resources"]
    for resource in resources.values():
        if resource["Type"] == "AWS::ECS::Service":
            service = resource["Properties"]
            yield service, resources[service["TaskDefinition"]["Ref"]]["Properties"]
