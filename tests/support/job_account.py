"""A job queue, a cluster and what they need, in AWS's own shapes (moto)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from lambda_executor.core.targets import JobTarget, Service

BATCH = JobTarget("long", Service.BATCH, '{"jobQueue": "jobs", "jobDefinition": "task"}')
ECS = JobTarget(
    "huge",
    Service.ECS,
    json.dumps({"cluster": "tasks", "taskDefinition": "task", "launchType": "FARGATE"}),
)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account where both targets can be used; a job of Batch ends at once, and fails."""
    monkeypatch.setenv("MOTO_SIMPLE_BATCH_FAIL_AFTER", "0")
    with mock_aws(config={"batch": {"use_docker": False}, "lambda": {"use_docker": False}}):
        make_batch()
        make_ecs()
        yield


def make_batch() -> None:
    """Make a job queue with a compute environment, and a job definition."""
    batch = boto3.client("batch")
    iam = boto3.client("iam")
    role = iam.create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    batch.create_compute_environment(
        computeEnvironmentName="environment", type="UNMANAGED", serviceRole=role
    )
    batch.create_job_queue(
        jobQueueName="jobs",
        state="ENABLED",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "environment"}],
    )
    batch.register_job_definition(
        jobDefinitionName="task",
        type="container",
        containerProperties={"image": "image", "vcpus": 1, "memory": 512},
    )


def make_ecs() -> None:
    """Make a cluster and a task definition of one container."""
    ecs = boto3.client("ecs")
    ecs.create_cluster(clusterName="tasks")
    containers: Any = [{"name": "workload", "image": "image", "memory": 512}]
    ecs.register_task_definition(family="task", containerDefinitions=containers)
