"""The constructs that an environment consists of; they take objects, not a stage's configuration.

The distribution `airflow-lambda-constructs` brings them into any CDK app; the names in `__all__`
are its interface. docs/decisions/0024-constructs-as-a-package.md
"""

from airflow_lambda_constructs.airflow.airflow_database import (
    AirflowDatabase,
    AirflowDatabaseProps,
    PasswordRotation,
)
from airflow_lambda_constructs.execution.buckets import PayloadBucket
from airflow_lambda_constructs.execution.lambda_executor_environment import (
    LambdaExecutorEnvironment,
    LambdaExecutorEnvironmentProps,
)
from airflow_lambda_constructs.execution.permissions import WorkloadSecret
from airflow_lambda_constructs.execution.results_queue import ResultsQueue
from airflow_lambda_constructs.execution.workload_function import (
    FunctionProps,
    WorkloadFunction,
    WorkloadFunctionProps,
)
from airflow_lambda_constructs.observability.alarm_topic import AlarmTopic
from airflow_lambda_constructs.observability.alarms import Alarms
from airflow_lambda_constructs.observability.budget import MonthlyBudget
from airflow_lambda_constructs.observability.dashboard import EnvironmentDashboard
from airflow_lambda_constructs.observability.invocation_metrics import InvocationMetrics
from airflow_lambda_constructs.observability.watched import (
    WatchedControlPlane,
    WatchedDatabase,
    WatchedEnvironment,
    WatchedFunction,
)

__all__ = [
    "AirflowDatabase",
    "AirflowDatabaseProps",
    "AlarmTopic",
    "Alarms",
    "EnvironmentDashboard",
    "FunctionProps",
    "InvocationMetrics",
    "LambdaExecutorEnvironment",
    "LambdaExecutorEnvironmentProps",
    "MonthlyBudget",
    "PasswordRotation",
    "PayloadBucket",
    "ResultsQueue",
    "WatchedControlPlane",
    "WatchedDatabase",
    "WatchedEnvironment",
    "WatchedFunction",
    "WorkloadFunction",
    "WorkloadFunctionProps",
    "WorkloadSecret",
]
