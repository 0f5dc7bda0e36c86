"""What a project meets outside of its stage: resources, deliveries, people, an Airflow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.machine.embedded_aws import EmbeddedAws

_WAIT = {"Delay": 1, "MaxAttempts": 60}
_POLICY = "outside-world"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A file that somebody uploads to S3 once a task waits for it.

    Attributes:
        when_deferred: The task, as `<DAG>.<task>`.
        to: The object, as `s3://<bucket>/<key>`.
    """

    when_deferred: str
    file: Path
    to: str


@dataclass(frozen=True, slots=True)
class OutsideWorld:
    """What the demo provides, and does while the DAGs run.

    Attributes:
        resources: CloudFormation templates, deployed after the stage and deleted before it.
        apps: CDK apps, likewise.
        airflow_environment: Variables of Airflow's programs: a stage gives them to its own.
        airflow_statements: What Airflow's programs may do, likewise.
        answers: A person's choice by task, as `<DAG>.<task>`.
        interruptions: Tasks whose first try ends because AWS takes back its Spot capacity, likewise
            named, and the job queue of AWS Batch by its Airflow queue.
    """

    resources: Sequence[Path] = ()
    apps: Sequence[Path] = ()
    airflow_environment: Mapping[str, str] = field(default_factory=dict)
    airflow_statements: Sequence[Mapping[str, Any]] = ()
    deliveries: Sequence[Delivery] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    interruptions: Mapping[str, str] = field(default_factory=dict)

    def create(self, aws: EmbeddedAws) -> None:
        """Deploy the templates."""
        formation = aws.client("cloudformation")
        for template in self.resources:
            name = _stack(template)
            formation.create_stack(StackName=name, TemplateBody=template.read_text())
            formation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig=_WAIT)

    def delete(self, aws: EmbeddedAws) -> None:
        """Delete the templates' stacks, with the objects in their buckets."""
        formation = aws.client("cloudformation")
        for template in self.resources:
            name = _stack(template)
            empty_buckets(aws, name)
            formation.delete_stack(StackName=name)
            formation.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig=_WAIT)

    def permit(self, aws: EmbeddedAws, role_arn: str) -> None:
        """Let the role of Airflow's programs do what they need; `revoke` before its deletion."""
        if self.airflow_statements:
            policy = {"Version": "2012-10-17", "Statement": list(self.airflow_statements)}
            aws.client("iam").put_role_policy(
                RoleName=_name(role_arn), PolicyName=_POLICY, PolicyDocument=json.dumps(policy)
            )

    def revoke(self, aws: EmbeddedAws, role_arn: str) -> None:
        """Take away what `permit` has added."""
        if self.airflow_statements:
            aws.client("iam").delete_role_policy(RoleName=_name(role_arn), PolicyName=_POLICY)


def empty_buckets(aws: EmbeddedAws, stack: str) -> None:
    """Delete the objects in a stack's buckets: CloudFormation deletes only empty ones."""
    resources = aws.client("cloudformation").describe_stack_resources(StackName=stack)
    for resource in resources["StackResources"]:
        if resource["ResourceType"] == "AWS::S3::Bucket":
            _empty(aws, resource["PhysicalResourceId"])


def _name(role_arn: str) -> str:
    return role_arn.rpartition("/")[2]


def _stack(template: Path) -> str:
    return f"{template.parent.name}-{template.stem}".replace("_", "-")


def _empty(aws: EmbeddedAws, bucket: str) -> None:
    s3 = aws.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        keys = [{"Key": each["Key"]} for each in page.get("Contents", [])]
        if keys:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
