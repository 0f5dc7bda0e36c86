"""The parts of an environment as alarms and dashboard need them.

The resources may belong to any CDK app, imported ones included.
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
        name: Its name on the dashboard and in alarms.
        invocations: Metrics from its log.
        event_age: How long Lambda keeps an invocation that it cannot start.
        concurrency: Its reservation; None: it shares the account's limit.
    """

    name: str
    function: lambda_.IFunction
    invocations: InvocationMetrics
    timeout: cdk.Duration
    event_age: cdk.Duration
    concurrency: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedDatabase:
    """Airflow's database."""

    instance: rds.IDatabaseInstance
    storage_gb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedControlPlane:
    """Airflow's own services on ECS.

    Attributes:
        services: Each service by its name on the dashboard and in alarms.
        api_servers: The api-servers behind the load balancer; None: there is no load balancer.
    """

    services: Mapping[str, ecs.BaseService]
    api_servers: WatchedTargets | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedTargets:
    """A target group of a load balancer."""

    load_balancer: elb.ApplicationLoadBalancer
    targets: elb.ApplicationTargetGroup

    def metric(self, name: str) -> cloudwatch.Metric:
        """Return a metric of the load balancer about the targets.

        The target group's own metrics name the load balancer by a part of its listener's ARN, which
        changes with the listener.
        """
        return cloudwatch.Metric(
            namespace="AWS/ApplicationELB",
            metric_name=name,
            dimensions_map={
                "LoadBalancer": self.load_balancer.load_balancer_full_name,
                "TargetGroup": self.targets.target_group_full_name,
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedEnvironment:
    """All watched parts.

    Attributes:
        name: The names of the alarms begin with it; the dashboard has this name.
        database: None: Airflow's database is elsewhere.
        control_plane: None: Airflow is elsewhere.
    """

    name: str
    functions: tuple[WatchedFunction, ...]
    results: tuple[sqs.IQueue, ...]
    dead_letters: sqs.IQueue
    database: WatchedDatabase | None = None
    control_plane: WatchedControlPlane | None = None
