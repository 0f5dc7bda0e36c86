"""How many invocations of functions began cold or restored, or were throttled.

CloudWatch has Lambda's own counts of invocations and throttles. The cold starts and restores come
from the metric filters of the observability stack; without it there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from lambda_executor.aws.clients import Clients
from lambda_executor.contract.names import FUNCTION_METRICS, INIT_TIME, RESTORE_DURATION

#: Seconds of one data point of a short and of a long time; the sums of all are added up here.
_SHORT_PERIOD_S = 300
_LONG_PERIOD_S = 3600
#: The longest time with short data points.
_SHORT_S = 2 * _LONG_PERIOD_S
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


@dataclass(frozen=True, slots=True)
class Starts:
    """The counts of functions.

    Attributes:
        counts: One for each function that was asked about.
        is_cut: Some functions or data points are missing.
    """

    counts: list[FunctionCounts]
    is_cut: bool


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
_MOST_FUNCTIONS = _MOST_METRICS // len(_METRICS)


def count_starts(
    clients: Clients, functions: Sequence[str], since: datetime, until: datetime
) -> Starts:
    """Ask for the counts of functions, in one call.

    Args:
        clients: The clients of AWS.
        functions: Their names; those beyond `_MOST_FUNCTIONS` are left out.
        since: The beginning of the time; it is rounded down to that of a data point, because
            CloudWatch has the point in which it is at an earlier time.
        until: The end of the time.

    Raises:
        AwsError: CloudWatch does not answer.
    """
    asked = functions[:_MOST_FUNCTIONS]
    is_short = (until - since).total_seconds() <= _SHORT_S
    period_s = _SHORT_PERIOD_S if is_short else _LONG_PERIOD_S
    begin = datetime.fromtimestamp(since.timestamp() // period_s * period_s, UTC)
    queries = [
        _query(f"m{number}_{metric.of}", function, metric, period_s)
        for number, function in enumerate(asked)
        for metric in _METRICS
    ]
    with clients.errors():
        answer = clients.metrics.get_metric_data(
            MetricDataQueries=queries, StartTime=begin, EndTime=until
        )
    results = answer["MetricDataResults"]
    found = _sums(results)
    counts = [
        FunctionCounts(
            function,
            **{metric.of: found.get(f"m{number}_{metric.of}") for metric in _METRICS},
        )
        for number, function in enumerate(asked)
    ]
    # The whole answer fits into one page of it, so AWS has cut it short for another reason.
    is_partial = "NextToken" in answer or any(
        each.get("StatusCode", "Complete") != "Complete" for each in results
    )
    return Starts(counts, is_partial or len(asked) < len(functions))


def _query(id: str, function: str, metric: _Metric, period_s: int) -> Mapping[str, Any]:
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
            "Period": period_s,
            "Stat": metric.statistic,
        },
    }


def _sums(results: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Add up the data points of each metric that has any."""
    return {each["Id"]: round(sum(each["Values"])) for each in results if each["Values"]}
