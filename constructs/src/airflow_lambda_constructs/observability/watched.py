"""What is watched: the parts of an environment, as alarms and dashboard need to know them.

Objects of any CDK app will do, imported ones included. It must not know how they are watched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_rds as rds
from aws_cdk import aws_sqs as sqs

from airflow_lambda_constructs.observability.invocation_metrics import InvocationMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedFunction:
    """A function that runs workloads.

    Attributes:
        name: What a person calls it.
        invocations: What its log tells.
        event_age: How long Lambda keeps an invocation that it cannot start.
        concurrency: What it may have at the same time; None: what the account has left.
    """

    name: str
    function: lambda_.IFunction
    invocations: InvocationMetrics
    timeout: cdk.Duration
    event_age: cdk.Duration
    concurrency: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedDatabase:
    """Airflow's database.

    Attributes:
        storage_gb: What it was given.
    """

    instance: rds.IDatabaseInstance
    storage_gb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedControlPlane:
    """Airflow's own services on ECS.

    Attributes:
        services: A person's name for each service, to the service.
        load_balancer: Leads to the api-servers.
        api_servers: Behind it.
    """

    services: Mapping[str, ecs.BaseService]
    load_balancer: elb.ApplicationLoadBalancer
    api_servers: elb.ApplicationTargetGroup

    def of_api_servers(self, name: str) -> cloudwatch.Metric:
        """A metric of the load balancer about the api-servers.

        The group's own would name the load balancer by a part of its listener's ARN, which another
        listener changes.
        """
        return cloudwatch.Metric(
            namespace="AWS/ApplicationELB",
            metric_name=name,
            dimensions_map={
                "LoadBalancer": self.load_balancer.load_balancer_full_name,
                "TargetGroup": self.api_servers.target_group_full_name,
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedEnvironment:
    """All of it.

    Attributes:
        name: What the names of alarms and dashboard begin with.
        results: The results queues.
        dead_letters: The dead-letter queue.
        database: None: Airflow's database is somewhere else.
        control_plane: None: Airflow is somewhere else.
    """

    name: str
    functions: tuple[WatchedFunction, ...]
    results: tuple[sqs.IQueue, ...]
    dead_letters: sqs.IQueue
    database: WatchedDatabase | None = None
    control_plane: WatchedControlPlane | None = None
