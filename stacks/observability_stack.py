"""Dashboard, alarms and budget of a stage.

The stack holds no data and nothing depends on it: it can be deployed and destroyed at any time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import aws_cdk as cdk
import jsii
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from airflow_lambda_constructs.names import in_ids
from airflow_lambda_constructs.observability.alarm_topic import AlarmTopic
from airflow_lambda_constructs.observability.alarms import Alarms
from airflow_lambda_constructs.observability.budget import MonthlyBudget
from airflow_lambda_constructs.observability.dashboard import EnvironmentDashboard
from airflow_lambda_constructs.observability.invocation_metrics import InvocationMetrics
from airflow_lambda_constructs.observability.watched import WatchedEnvironment, WatchedFunction
from lambda_executor.contract.names import FUNCTION_METRICS
from stacks.config import FunctionConfig
from stacks.control_plane_stack import ControlPlaneStack
from stacks.database_stack import DatabaseStack
from stacks.execution_stack import ExecutionStack
from stacks.stage.names import APP, STAGE_TAG
from stacks.stage.stage_stack import Stage, StageStack

#: A path in this repository, because only its owner knows its URL.
RUNBOOK = "docs/howto/runbook.md"

#: A tag of the alarms, with a fingerprint of the templates of what they watch.
WATCHED_TAG = f"{APP}:watches"
#: What each new image changes in a template, and nothing else: hashes of assets and versions.
_HASH = re.compile(r"[0-9a-f]{32,}")


def fingerprint(templates: Iterable[str]) -> str:
    """Return a text that differs if any of these templates does, apart from the image."""
    whole = hashlib.sha256()
    for template in sorted(json.dumps(json.loads(text), sort_keys=True) for text in templates):
        whole.update(_HASH.sub("", template).encode())
    return whole.hexdigest()[:16]


@jsii.implements(cdk.IStringProducer)
class _FingerprintOf:
    """The fingerprint of stacks, which must be synthesized before it is needed."""

    def __init__(self, stacks: Iterable[cdk.Stack]) -> None:
        self._files = [Path(cdk.Stage.of(s).outdir, s.template_file) for s in stacks]  # type: ignore[union-attr]

    def produce(self, _context: cdk.IResolveContext) -> str:
        """Return the fingerprint; while references are only looked for, no file is there yet."""
        return fingerprint(file.read_text() for file in self._files if file.exists())


class ObservabilityStack(StageStack):
    """Those of dashboard, alarms and budget that the stage's configuration asks for."""

    def __init__(
        self,
        scope: Construct,
        stage: Stage,
        *,
        execution: ExecutionStack,
        database: DatabaseStack | None,
        control_plane: ControlPlaneStack | None,
    ) -> None:
        super().__init__(scope, "observability", stage, description="dashboard, alarms and budget")
        # Weak references let the watched resources be replaced or deleted: no export holds them.
        cdk.CrossStackReferences.of(self).consume(cdk.ReferenceStrength.WEAK)
        # They are resolved when this stack is updated, and CloudFormation updates it only if a
        # resource of it changes. The stacks before it in the tree are synthesized before it.
        others = [s for s in scope.node.children if isinstance(s, cdk.Stack) and s is not self]
        watched = cdk.Lazy.uncached_string(_FingerprintOf(others))
        cdk.Tags.of(self).add(WATCHED_TAG, watched)
        settings = stage.config.observability
        if settings.dashboard:
            topic = AlarmTopic(self, "AlarmTopic", email=settings.alarm_email)
            queue = execution.executor_environment.queue
            environment = WatchedEnvironment(
                name=stage.prefix,
                functions=tuple(map(self._function, stage.config.functions)),
                results=queue.results,
                dead_letters=queue.dead_letters,
                database=database.watched if database else None,
                control_plane=control_plane.watched if control_plane else None,
            )
            runbook = settings.runbook_url or RUNBOOK
            Alarms(
                self,
                "Alarms",
                environment=environment,
                runbook=runbook,
                actions=[topic.action],
            )
            EnvironmentDashboard(self, "Dashboard", environment=environment, runbook=runbook)
            self.output(
                "AlarmTopicArn",
                topic.topic.topic_arn,
                "SNS topic of the alarms, to subscribe a pager or a chat to",
            )
            self.output("DashboardName", stage.prefix)
        if settings.budget_usd_month and settings.alarm_email:
            MonthlyBudget(
                self,
                "MonthlyBudget",
                limit_usd=settings.budget_usd_month,
                tag=(STAGE_TAG, stage.name),
                email=settings.alarm_email,
            )

    def _function(self, settings: FunctionConfig) -> WatchedFunction:
        name = self.stage.function_name(settings)
        scope = Construct(self, f"Function{in_ids(settings.name)}")
        return WatchedFunction(
            name=settings.name,
            function=lambda_.Function.from_function_name(scope, "Function", name),
            invocations=InvocationMetrics(
                scope,
                "Metrics",
                log_group=logs.LogGroup.from_log_group_name(scope, "Log", f"/aws/lambda/{name}"),
                namespace=f"{FUNCTION_METRICS}/{name}",
                snapshots=self.config.starts_from_snapshot(settings),
            ),
            timeout=cdk.Duration.seconds(settings.timeout_s),
            event_age=cdk.Duration.seconds(self.config.execution.event_age_s),
            concurrency=settings.reserved_concurrency,
        )
