"""`AwsLambdaExecutor` as a test drives it: SQS by moto, calls of boto3 counted, some failing."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from airflow.executors.workloads import ExecuteTask
from airflow.models.taskinstancekey import TaskInstanceKey
from botocore.client import BaseClient
from botocore.exceptions import ClientError

SECTION = "AIRFLOW__AWS_LAMBDA_EXECUTOR__"


def error(code: str, status: int = 400) -> ClientError:
    """What boto3 raises for an error that AWS answers."""
    answer = {
        "Error": {"Code": code, "Message": code},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "Operation")  # type: ignore[arg-type]  # the rest is optional


@dataclass(frozen=True)
class Invoke:
    """One call of `Invoke`: what it was given, and where it was made."""

    function: str
    payload: dict[str, Any]
    thread: threading.Thread


@dataclass
class Calls:
    """Every call of boto3; Lambda's are answered here.

    Attributes:
        counts: How often each operation was called.
        failures: What the next calls of an operation raise instead; the last one stays.
        invokes: Every call of `Invoke`, refused ones included.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, deque[Exception]] = field(default_factory=lambda: defaultdict(deque))
    invokes: list[Invoke] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._real = BaseClient._make_api_call  # type: ignore[attr-defined]

    def answer(self, client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        """Stand in for `BaseClient._make_api_call`."""
        self.counts[operation] += 1
        if operation == "Invoke":
            payload = json.loads(parameters["Payload"])
            self.invokes.append(
                Invoke(parameters["FunctionName"], payload, threading.current_thread())
            )
        if failures := self.failures[operation]:
            raise failures[0] if len(failures) == 1 else failures.popleft()
        if operation == "Invoke":
            return {"StatusCode": 202}
        if operation == "GetFunction":
            # AWS answers an ARN with the bare name.
            name = parameters["FunctionName"].rpartition(":")[2]
            return {"Configuration": {"FunctionName": name}}
        return self._real(client, operation, parameters)


@dataclass
class Reference:
    """The executor, an `AwsLambdaExecutor`, and its two queues."""

    executor: Any
    calls: Calls
    sqs: Any
    results: str
    dead_letters: str

    def queue(self, *workloads: ExecuteTask) -> list[str]:
        """Queue workloads and loop once; the `task_key` of each that was invoked."""
        before = len(self.calls.invokes)
        for workload in workloads:
            self.executor.queue_workload(workload, session=None)
        self.executor.heartbeat()
        return [invoke.payload["task_key"] for invoke in self.calls.invokes[before:]]

    def say(self, queue_url: str, body: object, **attributes: str) -> None:
        """Put a message into one of its queues."""
        self.sqs.send_message(
            QueueUrl=queue_url,
            MessageBody=body if isinstance(body, str) else json.dumps(body),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
        )

    def reply(self, task_key: str, return_code: int = 0) -> None:
        """Report a result as its handler does."""
        self.say(self.results, {"task_key": task_key, "return_code": return_code})

    def loop(self, times: int = 1) -> dict[TaskInstanceKey, tuple[Any, Any]]:
        """Heartbeat as the scheduler does; the events of workloads that ended."""
        for _ in range(times):
            self.executor.heartbeat()
        events: dict[Any, Any] = self.executor.event_buffer
        return {key: event for key, event in events.items() if event[0] in ("success", "failed")}
