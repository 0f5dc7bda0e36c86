"""AWS Batch, Amazon ECS and MicroVMs for `fake_aws.py`: jobs that end after a while.

Each service takes as many launches a second as AWS's. A launch names its workload by what it
carries: an event of ours, or the workload as JSON as the Amazon provider's executors send
it. A job of ours has sent its result when its process ends; the service shows the end of every
process at once, which AWS's do not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lambda_executor.contract.micro_vm import RunPayload

Answer = tuple[int, dict[str, Any]]

BATCH, ECS, MICROVM = "batch", "ecs", "microvm"
_ACCOUNT = "arn:aws:ecs:eu-west-1:000000000000"


class Allowance:
    """A rate of calls, and a burst after a pause: a token bucket.

    Args:
        per_s: Calls a second; 0: any.
        burst: The most calls at once.
    """

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._most = max(1.0, burst)
        self._left = self._most
        self._at_s = time.monotonic()

    def take(self) -> bool:
        """Whether one more call is allowed now."""
        if not self._per_s:
            return True
        now_s = time.monotonic()
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(frozen=True, slots=True)
class _Work:
    """A workload, and the queue of its result if it sends one."""

    key: str
    reply_to: str | None


class Started(Protocol):
    """What the fake AWS does when a job has started."""

    def __call__(self, service: str, reply_to: str | None, key: str, /) -> None:
        """Run it, and send its result to the queue `reply_to`, if there is one."""


class FakeJobs:
    """The jobs of all services.

    Args:
        started: Called with each job that was started.
        count: Called with the name of each call.
        rates: The launches a second, by service.
    """

    def __init__(
        self, started: Started, count: Callable[[str], None], rates: Mapping[str, float]
    ) -> None:
        self._started = started
        self._count = count
        # A bucket of AWS holds a second's calls or more.
        # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
        self._allowances = {service: Allowance(per_s, per_s) for service, per_s in rates.items()}
        self._ids: dict[str, str] = {}  # By the name that a launch has given.
        self._keys: dict[str, str] = {}  # Of workloads, by id.
        self._ended: set[str] = set()  # The keys.

    def end(self, key: str) -> None:
        """Show that the process of a workload has ended."""
        self._ended.add(key)

    def batch(self, call: str, request: dict[str, Any]) -> Answer:
        """Answer a call of Batch by the last part of its path."""
        self._count(call)
        if call == "submitjob":
            work = _of_command(request["containerOverrides"]["command"])
            if (id := self._launch(BATCH, request["jobName"], work)) is None:
                return 429, {"__type": "TooManyRequestsException", "message": "Too many requests"}
            return 200, {"jobId": id, "jobName": request["jobName"], "jobArn": id}
        if call == "describejobs":
            known = [id for id in request["jobs"] if id in self._keys]
            return 200, {"jobs": [self._job(id) for id in known]}
        if call == "listjobs":
            (name,) = request["filters"][0]["values"]
            found = [{"jobId": self._ids[name], "jobName": name}] if name in self._ids else []
            return 200, {"jobSummaryList": found}
        return 200, {}

    def ecs(self, call: str, request: dict[str, Any]) -> Answer:
        """Answer a call of ECS by its name; only the reference's health check stops a task."""
        self._count(call)
        if call == "RunTask":
            (container,) = request["overrides"]["containerOverrides"]
            name = request.get("startedBy", "")
            if (id := self._launch(ECS, name, _of_command(container["command"]))) is None:
                return 400, {"__type": "ThrottlingException", "message": "Rate exceeded"}
            return 200, {"tasks": [self._task(id)], "failures": []}
        if call == "DescribeTasks":
            known = [id for id in request["tasks"] if id in self._keys]
            return 200, {"tasks": [self._task(id) for id in known], "failures": []}
        if call == "ListTasks":
            found = self._ids.get(request.get("startedBy", ""))
            return 200, {"taskArns": [found] if found else []}
        return 400, {
            "__type": "InvalidParameterException",
            "message": "The referenced task was not found.",
        }

    def micro_vm(self, call: str, request: dict[str, Any]) -> Answer:
        """Answer `RunMicrovm`, `GetMicrovm` by the last part of its path, or `ListMicrovms`."""
        if call.startswith("?"):
            self._count("ListMicrovms")
            return 200, {"items": []}
        if id := call.removeprefix("/"):
            self._count("GetMicrovm")
            return 200, self._micro_vm(id)
        self._count("RunMicrovm")
        event = RunPayload.decode(request["runHookPayload"]).event
        work = _Work(event["task_key"], event["reply_to"])
        if (started := self._launch(MICROVM, request["clientToken"], work)) is None:
            return 429, {"__type": "ThrottlingException", "message": "Rate exceeded"}
        return 200, self._micro_vm(started)

    def _launch(self, service: str, name: str, work: _Work) -> str | None:
        """Start a job; its id, or None if the service has taken enough of them."""
        if not self._allowances[service].take():
            self._count(f"{service} throttled")
            return None
        id = f"{_ACCOUNT}:task/bench/{len(self._keys):032x}" if service == ECS else work.key
        self._ids[name] = id
        self._keys[id] = work.key
        self._started(service, work.reply_to, work.key)
        return id

    def _job(self, id: str) -> dict[str, Any]:
        status = "SUCCEEDED" if self._keys[id] in self._ended else "RUNNING"
        return {
            "jobId": id,
            "jobName": id,
            "jobQueue": "bench",
            "jobDefinition": "bench",
            "status": status,
            "startedAt": 1,
        }

    def _task(self, id: str) -> dict[str, Any]:
        has_ended = self._keys[id] in self._ended
        status = "STOPPED" if has_ended else "RUNNING"
        container = {"name": "task", "lastStatus": status, **({"exitCode": 0} if has_ended else {})}
        return {
            "taskArn": id,
            "lastStatus": status,
            "desiredStatus": status,
            "startedAt": 1,
            "containers": [container],
        }

    def _micro_vm(self, id: str) -> dict[str, Any]:
        has_ended = self._keys[id] in self._ended
        reason = {"stateReason": "Container Stopped with Exit Code: 0"} if has_ended else {}
        return {
            "microvmId": id,
            "state": "TERMINATED" if has_ended else "RUNNING",
            "endpoint": "https://bench",
            "imageArn": "bench",
            "imageVersion": "1",
            "maximumDurationInSeconds": 3600,
            "startedAt": 1,
            **reason,
        }


def _of_command(command: list[str]) -> _Work:
    carried = json.loads(command[-1])
    if command[0] == "job":
        return _Work(carried["task_key"], carried["reply_to"])
    return _Work(carried["ti"]["id"], None)
