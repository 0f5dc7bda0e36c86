"""Ends Airflow's programs and stops the database outside of office hours, on a schedule.

What it costs is what a stage costs by the hour; storage, addresses of a load balancer and the like
go on. Nothing is scheduled meanwhile. A task that still runs at closing time loses the Execution
API and fails; its retry starts when the office opens.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_rds as rds
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from constructs import Construct

#: A database needs so long to start, and programs so long to stop.
_BETWEEN = cdk.Duration.minutes(15)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeHoursProps:
    """The settings of `OfficeHours`.

    Attributes:
        opens: When the database is started; the programs follow a quarter of an hour later.
        closes: When the programs are ended; the database follows a quarter of an hour later.
        days: The days in EventBridge Scheduler's form, such as `MON-FRI`.
        services: Each service, and how many tasks of it run in office hours.
    """

    opens: dt.time
    closes: dt.time
    days: str
    time_zone: cdk.TimeZone
    cluster: ecs.ICluster
    services: Sequence[tuple[ecs.IBaseService, int]]
    database: rds.IDatabaseInstance


class OfficeHours(Construct):
    """Two schedules for the database, and two for each service."""

    def __init__(self, scope: Construct, id: str, props: OfficeHoursProps) -> None:
        super().__init__(scope, id)
        self._props = props
        arn = props.database.instance_arn
        instance = {"DbInstanceIdentifier": props.database.instance_identifier}
        self._schedule("StartDatabase", props.opens, ("rds", "startDBInstance"), instance, arn)
        self._schedule(
            "StopDatabase", _later(props.closes), ("rds", "stopDBInstance"), instance, arn
        )
        for number, (service, count) in enumerate(props.services):
            for verb, when, tasks in (
                ("Start", _later(props.opens), count),
                ("End", props.closes, 0),
            ):
                request = {
                    "Cluster": props.cluster.cluster_name,
                    "Service": service.service_name,
                    "DesiredCount": tasks,
                }
                self._schedule(
                    f"{verb}Service{number}",
                    when,
                    ("ecs", "updateService"),
                    request,
                    service.service_arn,
                )

    def _schedule(
        self,
        id: str,
        when: dt.time,
        call: tuple[str, str],
        request: Mapping[str, object],
        resource: str,
    ) -> None:
        service, action = call
        allowed = iam.PolicyStatement(
            actions=[f"{service}:{action[0].upper()}{action[1:]}"], resources=[resource]
        )
        scheduler.Schedule(
            self,
            id,
            schedule=scheduler.ScheduleExpression.cron(
                minute=str(when.minute),
                hour=str(when.hour),
                week_day=self._props.days,
                time_zone=self._props.time_zone,
            ),
            target=targets.Universal(
                service=service,
                action=action,
                input=scheduler.ScheduleTargetInput.from_object(request),
                policy_statements=[allowed],
                # A call that is late would start in the night what the day has stopped: a start
                # of a database that runs already fails, and is repeated for a day by default.
                max_event_age=_BETWEEN,
            ),
        )


def _later(when: dt.time) -> dt.time:
    between = dt.timedelta(minutes=_BETWEEN.to_minutes())
    return (dt.datetime.combine(dt.date.min, when) + between).time()
