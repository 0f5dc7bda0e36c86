"""The rules for alarms: what is measured, where the limit is and why there.

Names and meaning of the services' own metrics:
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-metrics.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_sqs as sqs

from airflow_lambda_constructs.observability.watched import (
    WatchedControlPlane,
    WatchedDatabase,
    WatchedEnvironment,
    WatchedFunction,
)
from lambda_executor.contract.wire import Outcome

_MINUTE = cdk.Duration.minutes(1)
_FIVE_MINUTES = cdk.Duration.minutes(5)

_AT_LEAST = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
_AT_MOST = cloudwatch.ComparisonOperator.LESS_THAN_OR_EQUAL_TO_THRESHOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alarm.

    Attributes:
        name: The kind of alarm, and its section in docs/howto/runbook.md.
        subject: Its function, queue or service; empty if there is only one.
        limit: The alarm goes off at or beyond this value, after `periods` periods in a row.
        missing: The meaning of missing data; most metrics have none while nothing happens.
    """

    name: str
    subject: str = ""
    text: str
    metric: cloudwatch.IMetric
    limit: float
    periods: int = 1
    operator: cloudwatch.ComparisonOperator = _AT_LEAST
    missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING


def rules(environment: WatchedEnvironment) -> Iterator[Rule]:
    """Yield the rules that apply to an environment."""
    for function in environment.functions:
        yield from _function_rules(function)
    for number, queue in enumerate(environment.results, start=1):
        yield _results_rule(f"results-{number}", queue)
    yield _dead_letters_rule(environment.dead_letters)
    if environment.database:
        yield from _database_rules(environment.database)
    if environment.control_plane:
        yield from _control_plane_rules(environment.control_plane)


def _function_rules(watched: WatchedFunction) -> Iterator[Rule]:
    function, subject = watched.function, watched.name
    yield Rule(
        name="invocations-dropped",
        subject=subject,
        text="Lambda gave up on an invocation: it crashed, timed out, waited for too long, or its "
        "execution environment could not be restored.",
        metric=function.metric("AsyncEventsDropped", statistic="Sum", period=_FIVE_MINUTES),
        limit=1,  # The handler did not report the end, so something is wrong with the environment.
    )
    yield Rule(
        name="dead-letters-lost",
        subject=subject,
        text="Lambda gave up on an invocation and could not say so: its task stays running.",
        metric=function.metric("DeadLetterErrors", statistic="Sum", period=_FIVE_MINUTES),
        limit=1,  # Only Airflow's own time-outs end the task.
    )
    yield Rule(
        name="invocations-wait",
        subject=subject,
        text="Invocations wait for a free execution environment, and are dropped when they have "
        "waited for twice as long.",
        metric=function.metric("AsyncEventAge", statistic="Maximum", period=_MINUTE),
        limit=watched.event_age.to_milliseconds() / 2,  # The other half is left to act.
        periods=3,  # A short burst needs no action.
    )
    yield Rule(
        name="invocations-rejected",
        subject=subject,
        text="The function refuses to start workloads: its image, its settings or its network "
        "are unfit.",
        metric=watched.invocations.settled(Outcome.REJECTED).with_(period=_FIVE_MINUTES),
        limit=3,  # One may be a deleted DAG; several are a fault of the function.
    )
    yield Rule(
        name="workloads-stopped",
        subject=subject,
        text=f"A task did not end within the {watched.timeout.to_seconds():.0f} s of the function "
        "and was stopped.",
        metric=watched.invocations.settled(Outcome.DEADLINE).with_(period=cdk.Duration.hours(1)),
        limit=1,  # The next try will not end in time either. One mail an hour is enough.
    )


def _results_rule(subject: str, queue: sqs.IQueue) -> Rule:
    return Rule(
        name="results-unread",
        subject=subject,
        text="No scheduler takes results off the queue: tasks that are over count as running.",
        metric=queue.metric_approximate_age_of_oldest_message(statistic="Maximum", period=_MINUTE),
        limit=300,  # A result is read within a second; a scheduler restarts within minutes.
        periods=3,
    )


def _dead_letters_rule(queue: sqs.IQueue) -> Rule:
    # Not the oldest message's age: it leaves out messages that were handed back three times.
    return Rule(
        name="dead-letters-unclaimed",
        text="Dead letters lie in their queue and no scheduler that runs takes them.",
        metric=cloudwatch.MathExpression(
            expression="visible + held",
            using_metrics={
                "visible": queue.metric("ApproximateNumberOfMessagesVisible", statistic="Maximum"),
                "held": queue.metric("ApproximateNumberOfMessagesNotVisible", statistic="Maximum"),
            },
            label="dead letters",
            period=_FIVE_MINUTES,
        ),
        limit=1,
        periods=6,  # The scheduler of the invocation reads its dead letter within seconds.
    )


def _database_rules(watched: WatchedDatabase) -> Iterator[Rule]:
    instance = watched.instance
    yield Rule(
        name="database-busy",
        text="The database's processors have been busy for a quarter of an hour.",
        metric=instance.metric_cpu_utilization(statistic="Average", period=_FIVE_MINUTES),
        limit=90,  # The schedulers wait for the database, and every task for them.
        periods=3,
    )
    yield Rule(
        name="database-full",
        text="Less than a tenth of the database's storage is free.",
        metric=instance.metric_free_storage_space(statistic="Minimum", period=_FIVE_MINUTES),
        limit=watched.storage_gb * 1024**3 / 10,  # RDS stops an instance that has none left.
        operator=_AT_MOST,
        periods=3,
    )
    yield Rule(
        name="database-slow",
        text="The database's storage takes far longer than it should.",
        metric=cloudwatch.MathExpression(
            expression="MAX([reads, writes])",
            using_metrics={
                "reads": instance.metric("ReadLatency", statistic="Average"),
                "writes": instance.metric("WriteLatency", statistic="Average"),
            },
            label="seconds for one operation",
            period=_FIVE_MINUTES,
        ),
        limit=0.05,  # Several times the single-digit milliseconds of gp3.
        periods=3,
    )


def _control_plane_rules(watched: WatchedControlPlane) -> Iterator[Rule]:
    for name, service in watched.services.items():
        yield _service_rule(name, service)
    if watched.api_servers is None:
        return
    unhealthy = watched.api_servers.metric("UnHealthyHostCount")
    yield Rule(
        name="api-server-unhealthy",
        text="The API server fails its health checks: tasks cannot start.",
        metric=unhealthy.with_(statistic="Maximum", period=_MINUTE),
        limit=1,
        periods=5,  # A deployment replaces a task within a few minutes.
    )


def _service_rule(name: str, service: ecs.BaseService) -> Rule:
    # A running task sends one sample a minute, a service without tasks none:
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cw-service-metrics.html
    return Rule(
        name="service-down",
        subject=name,
        text="The service has no running task.",
        metric=service.metric_cpu_utilization(statistic="SampleCount", period=_MINUTE),
        limit=0,
        operator=_AT_MOST,
        periods=5,  # A task that is replaced is back within a few minutes.
        missing=cloudwatch.TreatMissingData.BREACHING,
    )
