"""RunTask starts nothing twice for one client token, and refuses what is not there.

ministack ignores the token, makes an unknown cluster, in which it also finds no tasks, runs an
inactive task definition (even if its family has an active one), takes overrides of any length and
of unknown containers, and describes a task without its overrides of CPU and memory. Before a task
stops, its `stopCode` is empty, which AWS's never is.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
"""

from __future__ import annotations

import json
import threading
import time
from http import HTTPStatus
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import ecs

_Record = dict[str, Any]
_Answer = Any  # ministack's: status, headers and body.

#: How long AWS remembers a client token.
_TOKEN_S = 24 * 60 * 60
#: How long the overrides may be, as JSON.
_MAX_OVERRIDES = 8192


class _Tokens:
    """The answers to requests, by account, region, cluster and client token."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, ...], tuple[float, str, _Answer]] = {}

    def once(self, request: _Record) -> _Answer:
        """Run a request, or answer as to the same one before."""
        token = request.get("clientToken")
        if not token:
            return _run(request)
        cluster = str(ecs._resolve_cluster_name(request.get("cluster", "default")))
        key = (get_account_id(), get_region(), cluster, token)
        content = json.dumps(request, sort_keys=True)
        with self._lock:
            self._forget_old()
            if key in self._answers:
                _, former, answer = self._answers[key]
                return answer if former == content else _conflict(answer)
            answer = _run(request)
            if answer[0] == HTTPStatus.OK:
                self._answers[key] = time.monotonic(), content, answer
            return answer

    def _forget_old(self) -> None:
        oldest_s = time.monotonic() - _TOKEN_S
        self._answers = {
            key: answer for key, answer in self._answers.items() if answer[0] > oldest_s
        }


def apply() -> None:
    """Check the request before ministack runs tasks, and complete its answer."""
    # Not `_run_task`: services call it, for their own tasks.
    ecs._ACTION_MAP["RunTask"] = _Tokens().once
    for name in ("ListTasks", "DescribeTasks", "StopTask"):
        ecs._ACTION_MAP[name] = _in_a_cluster(ecs._ACTION_MAP[name])
    ecs._sanitize = _without_empty(ecs._sanitize)
    ecs._resolve_td_key = _active(ecs._resolve_td_key)


def _without_empty(stock: Any) -> Any:  # noqa: ANN401 - ministack's function
    """Leave out why a task stopped before it has."""

    def sanitize(record: Any) -> Any:  # noqa: ANN401 - JSON
        clean = stock(record)
        if isinstance(clean, dict):
            for name in ("stopCode", "stoppedReason"):
                if clean.get(name) == "":
                    del clean[name]
        return clean

    return sanitize


def _active(stock: Any) -> Any:  # noqa: ANN401 - ministack's function
    """Of a family, find the latest revision that is active."""

    def resolve(reference: str) -> str:
        key = str(stock(reference))
        name = (reference or "").rpartition("/")[2]
        if ":" in name or (ecs._task_defs.get(key) or {}).get("status") == "ACTIVE":
            return key
        active = [
            record["revision"]
            for record in ecs._task_defs.values()
            if record["family"] == name and record["status"] == "ACTIVE"
        ]
        return f"{name}:{max(active)}" if active else key

    return resolve


def _in_a_cluster(stock: Any) -> Any:  # noqa: ANN401 - ministack's function
    """Refuse a cluster that is not there."""
    return lambda request: _without_cluster(request) or stock(request)


def _without_cluster(request: _Record) -> _Answer:
    if ecs._resolve_cluster_name(request.get("cluster", "default")) in ecs._clusters:
        return None
    return error_response_json("ClusterNotFoundException", "Cluster not found.", 400)


def _refusal(request: _Record) -> _Answer:
    if refusal := _without_cluster(request):
        return refusal
    definition = ecs._task_defs.get(ecs._resolve_td_key(request.get("taskDefinition", "")))
    if definition is None:
        return error_response_json("ClientException", "TaskDefinition not found.", 400)
    if definition["status"] != "ACTIVE":
        return error_response_json("ClientException", "TaskDefinition is inactive", 400)
    overrides = request.get("overrides", {})
    if len(json.dumps(overrides)) > _MAX_OVERRIDES:
        return error_response_json(
            "InvalidParameterException",
            f"Container Overrides length must be at most {_MAX_OVERRIDES}",
            400,
        )
    known = {container["name"] for container in definition["containerDefinitions"]}
    for override in overrides.get("containerOverrides", []):
        if override.get("name") not in known:
            return error_response_json(
                "InvalidParameterException",
                f"Override for container named {override.get('name')} is not a container in the "
                "TaskDefinition.",
                400,
            )
    return None


def _run(request: _Record) -> _Answer:
    """Run tasks, and describe them with their own CPU and memory."""
    if refusal := _refusal(request):
        return refusal
    status, headers, body = answer = ecs._run_task(request)
    overrides = request.get("overrides", {})
    own = {name: overrides[name] for name in ("cpu", "memory") if overrides.get(name)}
    if not own or status != HTTPStatus.OK:
        return answer
    given = json.loads(body)
    for task in given["tasks"]:
        task.update(own)
        ecs._tasks[task["taskArn"]].update(own)
    return status, headers, json.dumps(given).encode()


def _conflict(answer: _Answer) -> _Answer:
    arns = [task["taskArn"] for task in json.loads(answer[2])["tasks"]]
    return error_response_json(
        "ConflictException",
        "The provided clientToken is already in use with a different RunTask request.",
        400,
        {"resourceIds": arns},
    )
