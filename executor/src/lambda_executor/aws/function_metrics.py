"""How many invocations of functions began cold or restored, or were throttled.

CloudWatch has Lambda's own counts of invocations and throttles. The cold starts and restores come
from the metric filters of the observability stack; without it there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from lambda_executor.aws.clients import Clients
from lambda_executor.contract.names import FUNCTION_METRICS, INIT_TIME, RESTORE_DURATION

#: Seconds of one data point; the sums of all are added up here.
_PERIOD_S = 3600
#: The most metrics of one call.
#: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
_MOST_METRICS = 500


@dataclass(frozen=True, slots=True)
class FunctionCounts:
    """The counts of one function; None: CloudWatch has no such metric of that time.

    Attributes:
        function: The function's name.
        invocations: All of it, by whomever.
        cold: Those for which an execution environment was made.
        restored: Those for which one was restored from a snapshot.
        throttles: Those that Lambda refused for the moment.
    """

    function: str
    invocations: int | None
    cold: int | None
    restored: int | None
    throttles: int | None


class _Metric(NamedTuple):
    of: str
    name: str
    statistic: str
    is_of_lambda: bool


_METRICS = (
    _Metric("invocations", "Invocations", "Sum", is_of_lambda=True),
    _Metric("cold", INIT_TIME, "SampleCount", is_of_lambda=False),
    _Metric("restored", RESTORE_DURATION, "SampleCount", is_of_lambda=False),
    _Metric("throttles", "Throttles", "Sum", is_of_lambda=True),
)
#: Functions of which one call can ask; the others are left out.
MOST_FUNCTIONS = _MOST_METRICS // len(_METRICS)


def count_starts(
    clients: Clients, functions: Sequence[str], since: datetime, until: datetime
) -> list[FunctionCounts]:
    """Ask for the counts of functions, in one call.

    Args:
        clients: The clients of AWS.
        functions: Their names, at most `MOST_FUNCTIONS`.
        since: The beginning of the time.
        until: The end of the time.

    Raises:
        AwsError: CloudWatch does not answer.
    """
    queries = [
        _query(f"m{number}_{metric.of}", function, metric)
        for number, function in enumerate(functions)
        for metric in _METRICS
    ]
    with clients.errors():
        answer = clients.metrics.get_metric_data(
            MetricDataQueries=queries, StartTime=since, EndTime=until
        )
    found = _sums(answer["MetricDataResults"])
    return [
        FunctionCounts(
            function,
            **{metric.of: found.get(f"m{number}_{metric.of}") for metric in _METRICS},
        )
        for number, function in enumerate(functions)
    ]


def _query(id: str, function: str, metric: _Metric) -> Mapping[str, Any]:
    dimensions = [{"Name": "FunctionName", "Value": function}] if metric.is_of_lambda else []
    namespace = "AWS/Lambda" if metric.is_of_lambda else f"{FUNCTION_METRICS}/{function}"
    return {
        "Id": id,
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": metric.name,
                "Dimensions": dimensions,
            },
            "Period": _PERIOD_S,
            "Stat": metric.statistic,
        },
    }


def _sums(results: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Add up the data points of each metric that has any."""
    return {each["Id"]: round(sum(each["Values"])) for each in results if each["Values"]}
