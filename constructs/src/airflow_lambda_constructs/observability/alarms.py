"""The alarms of an environment, one for each rule."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from airflow_lambda_constructs.observability.rules import Rule, rules
from airflow_lambda_constructs.observability.watched import WatchedEnvironment


class Alarms(Construct):
    """An alarm for every rule that applies to an environment.

    `runbook` is the path or URL of the page with a section for each rule. The actions run when an
    alarm goes off, and when it is over.
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
            alarm_description=f"{rule.text} What to do: {runbook}#{rule.name}",
            metric=rule.metric,
            threshold=rule.limit,
            evaluation_periods=rule.periods,
            comparison_operator=rule.operator,
            treat_missing_data=rule.missing,
        )
