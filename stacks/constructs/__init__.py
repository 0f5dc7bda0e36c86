"""Logical units to build an environment from: they take objects, never a stage's configuration.

This folder is a distribution of its own too, `airflow-lambda-constructs`, for somebody else's CDK
app: what is named here is its interface, and nothing here imports the rest of `stacks`.
docs/decisions/0024-constructs-as-a-package.md
"""

from .airflow_database import AirflowDatabase, AirflowDatabaseProps, PasswordRotation
from .alarm_topic import AlarmTopic
from .alarms import Alarms
from .buckets import PayloadBucket
from .budget import MonthlyBudget
from .dashboard import EnvironmentDashboard
from .invocation_metrics import InvocationMetrics
from .lambda_executor_environment import (
    LambdaExecutorEnvironment,
    LambdaExecutorEnvironmentProps,
)
from .results_queue import ResultsQueue
from .watched import WatchedControlPlane, WatchedDatabase, WatchedEnvironment, WatchedFunction
from .workload_function import FunctionProps, WorkloadFunction, WorkloadFunctionProps

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
]
