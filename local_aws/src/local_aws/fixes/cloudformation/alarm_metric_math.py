"""CloudFormation creates alarms on metric math expressions.

ministack's refuses them. The alarm is stored with the first metric; nothing evaluates it.
"""

from __future__ import annotations

from typing import Any

from ministack.services.cloudformation import provisioners

from local_aws.fixes.cloudformation._cloudformation import Properties


def apply() -> None:
    """Reduce the alarm to one metric before ministack stores it."""
    stock = provisioners._cw_metric_alarm_record

    def record(name: str, properties: Properties) -> Any:  # noqa: ANN401 - ministack's
        return stock(name, _of_one_metric(properties))

    provisioners._cw_metric_alarm_record = record


def _of_one_metric(properties: Properties) -> Properties:
    for query in properties.get("Metrics") or []:
        if "MetricStat" in query:
            kept = {name: value for name, value in properties.items() if name != "Metrics"}
            first: Properties = query["MetricStat"]
            return {**kept, **first["Metric"], "Period": first["Period"]}
    return properties
