"""The dashboard of an environment, from the invocations to the database.

Most metrics exist only while something happens, so a graph without data is not a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from airflow_lambda_constructs.observability.invocation_metrics import InvocationMetrics
from airflow_lambda_constructs.observability.rules import rules
from airflow_lambda_constructs.observability.watched import (
    WatchedControlPlane,
    WatchedDatabase,
    WatchedEnvironment,
    WatchedFunction,
)
from lambda_executor.contract.wire import Outcome

#: The width of a graph; the dashboard's is 24.
_THIRD = 8

#: In the order of the legend.
_OUTCOMES = (
    Outcome.COMPLETED,
    Outcome.CRASHED,
    Outcome.DEADLINE,
    Outcome.REJECTED,
    Outcome.DUPLICATE,
)

#: Namespace in which the CloudWatch agent publishes the metrics that Airflow sends to its statsd.
#: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Agent-custom-metrics-statsd.html
_AGENT = "CWAgent"

#: Title of a graph, to the statistic and the executor's metrics in it. A search splits names into
#: words, so it does not matter how the agent joins them.
#: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html
_EXECUTOR: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Executor: invocations": ("Maximum", ("pending", "in_flight")),
    "Executor: milliseconds": ("Average", ("dispatch_ms", "queue_to_start_ms", "result_ms")),
    "Executor: dead letters by reason, throttles, duplicates": (
        "Sum",
        ("dead_letters", "throttles", "duplicates", "reconciled"),
    ),
}


class EnvironmentDashboard(Construct):
    """The dashboard of an environment; it has the environment's name.

    Args:
        runbook: Path or URL of the page with a section for each alarm; empty: there is none.
    """

    def __init__(
        self, scope: Construct, id: str, *, environment: WatchedEnvironment, runbook: str = ""
    ) -> None:
        super().__init__(scope, id)
        self.dashboard = cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=environment.name,
            default_interval=cdk.Duration.hours(3),
            widgets=[list(row) for row in _rows(environment, runbook)],
        )
        self.dashboard.apply_removal_policy(cdk.RemovalPolicy.DESTROY)


def _rows(environment: WatchedEnvironment, runbook: str) -> Iterator[Iterator[cloudwatch.IWidget]]:
    if runbook:
        yield _runbook(environment, runbook)
    for function in environment.functions:
        yield _invocations(function)
        yield _times(function)
    yield _queues(environment)
    yield _executor()
    if environment.database:
        yield _database(environment.database)
    if environment.control_plane:
        yield _control_plane(environment.control_plane)


def _runbook(environment: WatchedEnvironment, runbook: str) -> Iterator[cloudwatch.IWidget]:
    """Yield where the runbook has what to do about each alarm.

    A path is no link: in the console it would lead to another page of the console.
    """
    sections = dict.fromkeys(rule.name for rule in rules(environment))
    form = "[{name}]({runbook}#{name})" if "://" in runbook else "`{runbook}#{name}`"
    listed = ", ".join(form.format(name=name, runbook=runbook) for name in sections)
    yield cloudwatch.TextWidget(
        markdown=f"**What to do about an alarm:** {listed}", width=3 * _THIRD, height=2
    )


def _invocations(watched: WatchedFunction) -> Iterator[cloudwatch.IWidget]:
    function, metrics, name = watched.function, watched.invocations, watched.name
    yield _graph(
        f"{name}: events and invocations",
        *(
            function.metric(metric, statistic="Sum", label=metric)
            for metric in ("AsyncEventsReceived", "Invocations", "Throttles")
        ),
    )
    yield _graph(f"{name}: ends, in the handler's words", *map(metrics.settled, _OUTCOMES))
    errors = function.metric("Errors", statistic="Sum", label="failed invocations")
    dropped = function.metric("AsyncEventsDropped", statistic="Sum", label="dropped")
    yield _graph(
        f"{name}: dead letters by reason",
        *(metric.with_(label=reason) for reason, metric in metrics.ends.items()),
        metrics.unreported.with_(label="result not sent"),
        *((metrics.restores.failures.with_(label="restore"),) if metrics.restores else ()),
        errors,
        # Every failed invocation is also dropped, without retries; the others never started.
        cloudwatch.MathExpression(
            expression="MAX([0, FILL(dropped, 0) - FILL(errors, 0)])",
            using_metrics={"dropped": dropped, "errors": errors},
            label="never started: too old, or paused (about)",
        ),
        function.metric("DeadLetterErrors", statistic="Sum", label="lost on the way"),
    )


def _times(watched: WatchedFunction) -> Iterator[cloudwatch.IWidget]:
    function, metrics, name = watched.function, watched.invocations, watched.name
    restores = (
        (metrics.restores.duration.with_(label="median of a restore"),) if metrics.restores else ()
    )
    yield _graph(
        f"{name}: duration, ms",
        function.metric("Duration", statistic="Maximum", label="longest"),
        metrics.run_time.with_(label="median of the workloads"),
        limits={"time-out": watched.timeout.to_milliseconds()},
    )
    yield _graph(
        f"{name}: waiting, ms",
        function.metric("AsyncEventAge", statistic="Maximum", label="oldest event"),
        metrics.queue_to_start.with_(label="median from hand-over to start"),
        metrics.init_time.with_(label="median of a cold start"),
        *restores,
        limits={"dropped": watched.event_age.to_milliseconds()},
    )
    yield _graph(
        f"{name}: at the same time; memory, MB",
        function.metric("ConcurrentExecutions", statistic="Maximum", label="invocations"),
        *_starts(metrics),
        right=(metrics.peak_memory.with_(statistic="Maximum", label="most memory"),),
        limits={"concurrency": watched.concurrency} if watched.concurrency else {},
    )


def _starts(metrics: InvocationMetrics) -> Iterator[cloudwatch.IMetric]:
    """Yield how many invocations found which kind of execution environment."""
    kinds = {"cold": metrics.init_time}
    if metrics.restores:
        kinds["restored"] = metrics.restores.duration
    counted = {
        kind: metric.with_(statistic="SampleCount", label=f"{kind} starts")
        for kind, metric in kinds.items()
    }
    yield from counted.values()
    yield cloudwatch.MathExpression(
        expression=" - ".join(f"FILL({kind}, 0)" for kind in ("every", *counted)),
        using_metrics={"every": metrics.run_time.with_(statistic="SampleCount"), **counted},
        label="warm starts",
    )


def _queues(environment: WatchedEnvironment) -> Iterator[cloudwatch.IWidget]:
    queues = {
        **{f"results {n}": queue for n, queue in enumerate(environment.results, start=1)},
        "dead letters": environment.dead_letters,
    }
    titles = {
        "messages that wait": "ApproximateNumberOfMessagesVisible",
        "messages that a scheduler holds": "ApproximateNumberOfMessagesNotVisible",
        "age of the oldest message, s": "ApproximateAgeOfOldestMessage",
    }
    for title, metric in titles.items():
        yield _graph(
            f"Queues: {title}",
            *(
                queue.metric(metric, statistic="Maximum", label=name)
                for name, queue in queues.items()
            ),
        )


def _executor() -> Iterator[cloudwatch.IWidget]:
    for title, (statistic, names) in _EXECUTOR.items():
        yield _graph(
            title,
            *(
                cloudwatch.SearchExpression(
                    expression=f"SEARCH('Namespace=\"{_AGENT}\" lambda_executor {name}', "
                    f"'{statistic}')",
                    label="",  # CloudWatch then shows the metric's own name and dimensions.
                )
                for name in names
            ),
        )


def _database(watched: WatchedDatabase) -> Iterator[cloudwatch.IWidget]:
    instance = watched.instance
    yield _graph(
        "Database: processors (%) and connections",
        instance.metric_cpu_utilization(label="processors"),
        right=(instance.metric_database_connections(label="connections"),),
    )
    yield _graph(
        "Database: free storage and memory, bytes",
        instance.metric_free_storage_space(statistic="Minimum", label="storage"),
        right=(instance.metric_freeable_memory(statistic="Minimum", label="memory"),),
    )
    yield _graph(
        "Database: seconds for one operation",
        instance.metric("ReadLatency", label="reads"),
        instance.metric("WriteLatency", label="writes"),
    )


def _control_plane(watched: WatchedControlPlane) -> Iterator[cloudwatch.IWidget]:
    services = watched.services.items()
    yield _graph(
        "Airflow: processors, %",
        *(service.metric_cpu_utilization(label=name) for name, service in services),
    )
    yield _graph(
        "Airflow: memory, %",
        *(service.metric_memory_utilization(label=name) for name, service in services),
    )
    if api_servers := watched.api_servers:
        yield _graph(
            "API server: healthy tasks and response time (s)",
            api_servers.metric("HealthyHostCount").with_(label="healthy"),
            api_servers.metric("UnHealthyHostCount").with_(label="unhealthy"),
            right=(api_servers.metric("TargetResponseTime").with_(label="response time"),),
        )


def _graph(
    title: str,
    *left: cloudwatch.IMetric,
    right: tuple[cloudwatch.IMetric, ...] = (),
    limits: Mapping[str, float] | None = None,
) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title,
        width=_THIRD,
        left=list(left),
        right=list(right),
        left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
        right_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
        left_annotations=[
            cloudwatch.HorizontalAnnotation(value=value, label=label)
            for label, value in (limits or {}).items()
        ],
        period=cdk.Duration.minutes(1),
    )
