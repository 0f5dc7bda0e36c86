"""The AWS calls of the executor: the only room that knows boto3."""

from __future__ import annotations

from lambda_executor.aws.clients import Clients, Patience, Session, SessionFactory
from lambda_executor.aws.dags import S3DagFolder
from lambda_executor.aws.functions import LambdaFunctions
from lambda_executor.aws.inspection import (
    EventFacts,
    FunctionFacts,
    Inspection,
    ProbeReply,
    QueueFacts,
)
from lambda_executor.aws.logs import LogGroup, LogLine
from lambda_executor.aws.parameters import read_parameter
from lambda_executor.aws.payloads import S3Payloads
from lambda_executor.aws.queues import SqsQueue
from lambda_executor.aws.translation import translate

__all__ = [
    "Clients",
    "EventFacts",
    "FunctionFacts",
    "Inspection",
    "LambdaFunctions",
    "LogGroup",
    "LogLine",
    "Patience",
    "ProbeReply",
    "QueueFacts",
    "S3DagFolder",
    "S3Payloads",
    "Session",
    "SessionFactory",
    "SqsQueue",
    "read_parameter",
    "translate",
]
