"""A job queue and a cluster that nobody's stacks have made, on the embedded AWS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demo.machine.embedded_aws import EmbeddedAws


def make_batch(aws: EmbeddedAws, name: str, role: str, container: Mapping[str, Any]) -> None:
    """Make a compute environment on Fargate Spot, a job queue and a job definition of one name."""
    batch = aws.client("batch")
    made = batch.create_compute_environment(
        computeEnvironmentName=name,
        type="MANAGED",
        computeResources={
            "type": "FARGATE_SPOT",
            "maxvCpus": 4,
            "subnets": ["subnet-1"],
            "securityGroupIds": ["sg-1"],
        },
    )
    order = [{"order": 1, "computeEnvironment": made["computeEnvironmentArn"]}]
    batch.create_job_queue(jobQueueName=name, priority=1, computeEnvironmentOrder=order)
    size = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "2048"}]
    batch.register_job_definition(
        jobDefinitionName=name,
        type="container",
        platformCapabilities=["FARGATE"],
        containerProperties={
            **container,
            "resourceRequirements": size,
            "jobRoleArn": role,
            "executionRoleArn": role,
        },
    )


def make_ecs(aws: EmbeddedAws, name: str, role: str, container: Mapping[str, Any]) -> None:
    """Make a cluster and a task definition of one name, with the container `task`."""
    ecs = aws.client("ecs")
    ecs.create_cluster(clusterName=name)
    ecs.register_task_definition(
        family=name,
        cpu="1024",
        memory="2048",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        taskRoleArn=role,
        executionRoleArn=role,
        containerDefinitions=[{"name": "task", "essential": True, **container}],
    )
