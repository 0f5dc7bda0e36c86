"""Metrics of a function, read from the handler's and Lambda's lines in its log.

Owns the metric filters and the names of their metrics. An idle function costs nothing here: a
metric without data is free (https://aws.amazon.com/cloudwatch/pricing/).
"""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_logs as logs
from constructs import Construct

from lambda_executor.contract.log_lines import SETTLED
from lambda_executor.contract.names import INIT_TIME, RESTORE_DURATION
from lambda_executor.contract.wire import Outcome

#: The lines that Lambda writes when it ends an invocation from outside. They are matched word by
#: word, so that the JSON lines of a task's log do not match. The keys are reasons of the executor's
#: metric `dead_letters`.
#: https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html
_ENDS = {
    "timeout": "[time, request, a=Task, b=timed, c=out, d=after, ...]",
    "killed": "[a=RequestId*, request, b=Error*, c=Runtime, d=exited, e=with, f=error*, "
    "g=signal*, h=killed*, ...]",
    "crash": "[a=RequestId*, request, b=Error*, c=Runtime, d=exited, e=with, f=error*, "
    "g=exit, h=status, ...]",
}

#: Lambda's report about an invocation for which it restored an execution environment. The fields
#: before are those of every report.
#: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-monitoring.html
_RESTORED = (
    "[a=REPORT, b=RequestId*, request, c=Duration*, duration, d=ms, e=Billed, f=Duration*, billed, "
    "g=ms, h=Memory, i=Size*, size, j=MB, k=Max, l=Memory, m=Used*, used, n=MB, o=Restore, "
    "p=Duration*, restore, q=ms, ...]"
)
#: The report about a restore that failed or took too long. In the log of real functions, one that
#: succeeds has such a report too, which ends before the status.
_NOT_RESTORED = "[a=RESTORE_REPORT, b=Restore, c=Duration*, duration, d=ms, e=Status*, ...]"


@dataclass(frozen=True, slots=True)
class RestoreMetrics:
    """Metrics of a function whose execution environments start from a snapshot.

    Attributes:
        duration: A restore with what the handler does after it, ms; its sample count counts
            restored starts.
        failures: Number of restores that failed.
    """

    duration: cloudwatch.Metric
    failures: cloudwatch.Metric


class InvocationMetrics(Construct):
    """Metrics of one function from its log group.

    Args:
        namespace: Each function needs its own: a metric filter cannot add a constant dimension.
        snapshots: Whether its execution environments start from a snapshot.

    Attributes:
        run_time: From the handler's entry to the result, ms.
        queue_to_start: From the executor's hand-over to the handler's entry, ms.
        init_time: Start of an execution environment, ms; its sample count counts cold starts.
        peak_memory: Memory of the execution environment, MB.
        unreported: Number of results that no queue accepted.
        ends: How often Lambda ended an invocation from outside, by reason.
        restores: None: its execution environments do not start from a snapshot.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        log_group: logs.ILogGroup,
        namespace: str,
        snapshots: bool = False,
    ) -> None:
        super().__init__(scope, id)
        self._log_group = log_group
        self._namespace = namespace
        self._count("Settled", _settled(), {"outcome": "$.outcome"})
        self.run_time = self._median("RunTime", "$.run_ms")
        self.queue_to_start = self._median("QueueToStart", "$.queue_to_start_ms")
        self.init_time = self._median(INIT_TIME, "$.init_ms")
        self.peak_memory = self._median("PeakMemory", "$.max_memory_mb", cloudwatch.Unit.MEGABYTES)
        self.unreported = self._count(
            "Unreported",
            _settled(
                logs.FilterPattern.boolean_value("$.reported", value=False),
                # Duplicates are not reported to the reference executor, on purpose.
                logs.FilterPattern.string_value("$.outcome", "!=", Outcome.DUPLICATE.value),
            ),
        )
        self.ends = {
            reason: self._count(f"Ended{reason.capitalize()}", logs.FilterPattern.literal(pattern))
            for reason, pattern in _ENDS.items()
        }
        self.restores = self._restores() if snapshots else None

    def settled(self, outcome: Outcome) -> cloudwatch.Metric:
        """The number of invocations with this outcome."""
        return cloudwatch.Metric(
            namespace=self._namespace,
            metric_name="Settled",
            dimensions_map={"outcome": outcome.value},
            statistic=cloudwatch.Stats.SUM,
            label=outcome.value,
        )

    def _restores(self) -> RestoreMetrics:
        report = logs.FilterPattern.literal(_RESTORED)
        reported = self._filter(RESTORE_DURATION, report, "$restore", cloudwatch.Unit.MILLISECONDS)
        return RestoreMetrics(
            duration=reported.metric(statistic=cloudwatch.Stats.percentile(50)),
            failures=self._count("RestoresFailed", logs.FilterPattern.literal(_NOT_RESTORED)),
        )

    def _count(
        self, name: str, pattern: logs.IFilterPattern, dimensions: dict[str, str] | None = None
    ) -> cloudwatch.Metric:
        counted = self._filter(name, pattern, "1", cloudwatch.Unit.COUNT, dimensions)
        return counted.metric(statistic=cloudwatch.Stats.SUM)

    def _median(
        self, name: str, field: str, unit: cloudwatch.Unit = cloudwatch.Unit.MILLISECONDS
    ) -> cloudwatch.Metric:
        pattern = _settled(logs.FilterPattern.number_value(field, ">=", 0))
        measured = self._filter(name, pattern, field, unit)
        return measured.metric(statistic=cloudwatch.Stats.percentile(50))

    def _filter(
        self,
        name: str,
        pattern: logs.IFilterPattern,
        value: str,
        unit: cloudwatch.Unit,
        dimensions: dict[str, str] | None = None,
    ) -> logs.MetricFilter:
        return logs.MetricFilter(
            self,
            name,
            log_group=self._log_group,
            filter_pattern=pattern,
            metric_namespace=self._namespace,
            metric_name=name,
            metric_value=value,
            unit=unit,
            dimensions=dimensions,
        )


def _settled(*more: logs.JsonPattern) -> logs.IFilterPattern:
    """Match the line that the handler writes at the end of each invocation."""
    return logs.FilterPattern.all(logs.FilterPattern.string_value("$.event", "=", SETTLED), *more)
