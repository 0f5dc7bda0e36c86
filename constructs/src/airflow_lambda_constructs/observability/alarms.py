"""The alarms of an environment: what is measured, where the limit is and why there.

Every rule's name is its section in the runbook (docs/howto/runbook.md), which says what to do.
Names and meaning of the services' own metrics:
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-metrics.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from airflow_lambda_constructs.observability.watched import (
    WatchedControlPlane,
    WatchedDatabase,
    WatchedEnvironment,
    WatchedFunction,
)
from lambda_executor.contract.wire import Outcome

_MINUTE = cdk.Duration.minutes(1)
_MINUTES = cdk.Duration.minutes(5)
_HOUR = cdk.Duration.hours(1)

_GIB = 1024**3
_AT_LEAST = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
_AT_MOST = cloudwatch.ComparisonOperator.LESS_THAN_OR_EQUAL_TO_THRESHOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alarm.

    Attributes:
        name: Of the kind of alarm: its section in the runbook.
        subject: What of several it is about; empty where there is one.
        says: What has happened, in one sentence.
        metric: What is measured.
        limit: From where on it is an alarm, this value included.
        periods: For how many periods of the metric in a row.
        operator: Which side of the limit is bad.
        missing: What no data means; most metrics have none while nothing happens.
    """

    name: str
    subject: str = ""
    says: str
    metric: cloudwatch.IMetric
    limit: float
    periods: int = 1
    operator: cloudwatch.ComparisonOperator = _AT_LEAST
    missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING


class Alarms(Construct):
    """An alarm for every rule that applies to an environment.

    Args:
        environment: What is watched.
        runbook: Path or URL of the page with a section for each rule.
        actions: What happens when an alarm goes off, and when it is over.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: WatchedEnvironment,
        runbook: str,
        actions: Sequence[cloudwatch.IAlarmAction],
    ) -> None:
        super().__init__(scope, id)
        self.alarms = tuple(
            self._alarm(environment.name, rule, runbook) for rule in rules(environment)
        )
        for alarm in self.alarms:
            alarm.add_alarm_action(*actions)
            alarm.add_ok_action(*actions)

    def _alarm(self, prefix: str, rule: Rule, runbook: str) -> cloudwatch.Alarm:
        name = f"{rule.subject}-{rule.name}".lstrip("-")
        return cloudwatch.Alarm(
            self,
            "".join(word.capitalize() for word in name.split("-")),
            alarm_name=f"{prefix}-{name}",
            alarm_description=f"{rule.says} What to do: {runbook}#{rule.name}",
            metric=rule.metric,
            threshold=rule.limit,
            evaluation_periods=rule.periods,
            comparison_operator=rule.operator,
            treat_missing_data=rule.missing,
        )


def rules(environment: WatchedEnvironment) -> Iterator[Rule]:
    """The rules that apply to an environment."""
    for function in environment.functions:
        yield from _of_function(function)
    for number, queue in enumerate(environment.results, start=1):
        yield _of_results(f"results-{number}", queue)
    yield _of_dead_letters(environment.dead_letters)
    if environment.database:
        yield from _of_database(environment.database)
    if environment.control_plane:
        yield from _of_control_plane(environment.control_plane)


def _of_function(watched: WatchedFunction) -> Iterator[Rule]:
    function, subject = watched.function, watched.name
    yield Rule(
        name="invocations-dropped",
        subject=subject,
        says="Lambda gave up on an invocation: it crashed, timed out, or waited for too long.",
        metric=function.metric("AsyncEventsDropped", statistic="Sum", period=_MINUTES),
        # The handler reports every end that it lives to see, and nothing is retried: each of
        # these is a fault of the environment.
        limit=1,
    )
    yield Rule(
        name="dead-letters-lost",
        subject=subject,
        says="Lambda gave up on an invocation and could not say so: its task stays running.",
        metric=function.metric("DeadLetterErrors", statistic="Sum", period=_MINUTES),
        limit=1,  # Each is a task that nothing but Airflow's own time-outs ends.
    )
    yield Rule(
        name="invocations-wait",
        subject=subject,
        says="Invocations wait for a free execution environment, and are dropped when they have "
        "waited for twice as long.",
        metric=function.metric("AsyncEventAge", statistic="Maximum", period=_MINUTE),
        limit=watched.event_age.to_milliseconds() / 2,  # As much time is left to act.
        periods=3,  # A burst that is worked off meanwhile needs nobody.
    )
    yield Rule(
        name="invocations-rejected",
        subject=subject,
        says="The function refuses to start workloads: its image, its settings or its network "
        "are unfit.",
        metric=watched.invocations.settled(Outcome.REJECTED).with_(period=_MINUTES),
        limit=3,  # One is a DAG that was deleted meanwhile; several are not about one workload.
    )
    yield Rule(
        name="workloads-stopped",
        subject=subject,
        says=f"A task did not end within the {watched.timeout.to_seconds():.0f} s of the function "
        "and was stopped.",
        metric=watched.invocations.settled(Outcome.DEADLINE).with_(period=_HOUR),
        limit=1,  # It will not end within them next time either. One mail an hour is enough.
    )


def _of_results(subject: str, queue: sqs.IQueue) -> Rule:
    return Rule(
        name="results-unread",
        subject=subject,
        says="No scheduler takes results off the queue: tasks that are over count as running.",
        metric=queue.metric_approximate_age_of_oldest_message(statistic="Maximum", period=_MINUTE),
        # A result is taken within a second; a scheduler that restarts is back within minutes.
        limit=300,
        periods=3,
    )


def _of_dead_letters(queue: sqs.IQueue) -> Rule:
    # Its age would not do: SQS leaves out messages that were received three times, and a scheduler
    # that hands back what is not its own receives them again and again.
    counted = {
        "visible": queue.metric_approximate_number_of_messages_visible(),
        "held": queue.metric_approximate_number_of_messages_not_visible(),
    }
    return Rule(
        name="dead-letters-unclaimed",
        says="Dead letters lie in their queue and no scheduler that runs takes them.",
        metric=cloudwatch.MathExpression(
            expression="visible + held",
            using_metrics={
                id_: metric.with_(statistic="Maximum") for id_, metric in counted.items()
            },
            label="dead letters",
            period=_MINUTES,
        ),
        limit=1,
        periods=6,  # Whoever sent the invocation takes its dead letter within seconds.
    )


def _of_database(watched: WatchedDatabase) -> Iterator[Rule]:
    instance = watched.instance
    yield Rule(
        name="database-busy",
        says="The database's processors have been busy for a quarter of an hour.",
        metric=instance.metric_cpu_utilization(statistic="Average", period=_MINUTES),
        limit=90,  # The schedulers' loop, and with it every task, waits for the database.
        periods=3,
    )
    yield Rule(
        name="database-full",
        says="Less than a tenth of the database's storage is free.",
        metric=instance.metric_free_storage_space(statistic="Minimum", period=_MINUTES),
        limit=watched.storage_gb * _GIB / 10,  # RDS stops an instance that has none left.
        operator=_AT_MOST,
        periods=3,
    )
    yield Rule(
        name="database-slow",
        says="The database's storage takes far longer than it should.",
        metric=cloudwatch.MathExpression(
            expression="MAX([reads, writes])",
            using_metrics={
                "reads": instance.metric("ReadLatency", statistic="Average"),
                "writes": instance.metric("WriteLatency", statistic="Average"),
            },
            label="seconds for one operation",
            period=_MINUTES,
        ),
        limit=0.05,  # gp3 answers within single-digit milliseconds; this is several times that.
        periods=3,
    )


def _of_control_plane(watched: WatchedControlPlane) -> Iterator[Rule]:
    for name, service in watched.services.items():
        yield _of_service(name, service)
    yield Rule(
        name="api-server-unhealthy",
        says="The API server fails its health checks: tasks cannot start.",
        metric=watched.of_api_servers("UnHealthyHostCount").with_(
            statistic="Maximum", period=_MINUTE
        ),
        limit=1,
        periods=5,  # A deployment replaces a task within a few minutes.
    )


def _of_service(name: str, service: ecs.BaseService) -> Rule:
    # Each running task sends one sample a minute; a service without tasks sends nothing.
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cw-service-metrics.html
    return Rule(
        name="service-down",
        subject=name,
        says="The service has no running task.",
        metric=service.metric_cpu_utilization(statistic="SampleCount", period=_MINUTE),
        limit=0,
        operator=_AT_MOST,
        periods=5,  # A task that is replaced is back within a few minutes.
        missing=cloudwatch.TreatMissingData.BREACHING,
    )
