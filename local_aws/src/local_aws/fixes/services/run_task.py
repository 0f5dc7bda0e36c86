"""RunTask starts nothing twice for one client token, and refuses what is not there.

ministack ignores the token, makes an unknown cluster, runs an inactive task definition (also if its
family has an active one), ignores overrides of unknown containers, and describes a task without its
overrides of CPU and memory. Before a task stops, its `stopCode` is a text that AWS does not have.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import ecs

_Record = dict[str, Any]
_Answer = Any  # ministack's: status, headers and body.

#: How long AWS remembers a client token.
_TOKEN_S = 24 * 60 * 60


@dataclass(slots=True)
class _Tokens:
    """The answers to requests, by account, region, cluster and client token."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    answers: dict[tuple[str, ...], tuple[float, _Record, _Answer]] = field(default_factory=dict)

    def forget_old(self) -> None:
        """Forget what AWS has forgotten."""
        oldest_s = time.monotonic() - _TOKEN_S
        self.answers = {key: answer for key, answer in self.answers.items() if answer[0] > oldest_s}


def apply() -> None:
    """Check the request before ministack runs tasks, and complete its answer."""
    stock_run, stock_sanitize = ecs._run_task, ecs._sanitize
    tokens = _Tokens()

    def run(request: _Record) -> _Answer:
        return _refusal(request) or _with_overrides(request, stock_run(request))

    def run_once(request: _Record) -> _Answer:
        token = request.get("clientToken")
        if not token:
            return run(request)
        cluster = str(ecs._resolve_cluster_name(request.get("cluster", "default")))
        key = (get_account_id(), get_region(), cluster, token)
        with tokens.lock:
            tokens.forget_old()
            if key in tokens.answers:
                _, former, answer = tokens.answers[key]
                return answer if former == request else _conflict(answer)
            kept = json.loads(json.dumps(request))
            answer = run(request)
            if answer[0] == 200:  # noqa: PLR2004 - HTTP
                tokens.answers[key] = time.monotonic(), kept, answer
            return answer

    def sanitize(record: Any) -> Any:  # noqa: ANN401 - JSON
        clean = stock_sanitize(record)
        if isinstance(clean, dict):
            for name in ("stopCode", "stoppedReason"):
                if clean.get(name) == "":
                    del clean[name]
        return clean

    # Not `_run_task`: services call it, for their own tasks.
    ecs._ACTION_MAP["RunTask"] = run_once
    ecs._sanitize = sanitize
    ecs._resolve_td_key = _active(ecs._resolve_td_key)


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


def _refusal(request: _Record) -> _Answer:
    if ecs._resolve_cluster_name(request.get("cluster", "default")) not in ecs._clusters:
        return error_response_json("ClusterNotFoundException", "Cluster not found.", 400)
    definition = ecs._task_defs.get(ecs._resolve_td_key(request.get("taskDefinition", "")))
    if definition is None:
        return error_response_json("ClientException", "TaskDefinition not found.", 400)
    if definition["status"] != "ACTIVE":
        return error_response_json("ClientException", "TaskDefinition is inactive", 400)
    known = {container["name"] for container in definition["containerDefinitions"]}
    for override in request.get("overrides", {}).get("containerOverrides", []):
        if override.get("name") not in known:
            return error_response_json(
                "InvalidParameterException",
                f"Override for container named {override.get('name')} is not a container in the "
                "TaskDefinition.",
                400,
            )
    return None


def _with_overrides(request: _Record, answer: _Answer) -> _Answer:
    """Describe the tasks with their own CPU and memory."""
    status, headers, body = answer
    overrides = request.get("overrides", {})
    own = {name: overrides[name] for name in ("cpu", "memory") if overrides.get(name)}
    if not own or status != 200:  # noqa: PLR2004 - HTTP
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
