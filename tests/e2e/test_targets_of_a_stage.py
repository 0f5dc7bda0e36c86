"""A stage makes targets of Batch, ECS and MicroVMs, its parameter wires them, and they share files.

Without bubblewrap nothing can be mounted: then the stage has no shared files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from demo import paths
from demo.installation import environment
from demo.installation.environment import Environment
from demo.installation.project import Project
from demo.outcome.airflow_api import RUN_ID, Api
from demo.screen import Screen
from local_aws.sandbox import bubblewrap
from tests.e2e.conftest import OwnDag
from tests.e2e.operator import command
from tests.support.airflow_rest import rest, returned
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(900)

HOME = paths.Home(paths.ROOT / "build" / "targets-of-a-stage")
TIMEOUT_S = 200.0
NAME = "targets_of_a_stage"
PREFIX = "airflow-lambda-local"
RUN = f"/dags/{NAME}/dagRuns/{RUN_ID}"
#: All have the architecture of MicroVMs, so that one image is built.
ARM64 = {"architecture": "arm64"}
TARGETS = [
    {"kind": "batch", "name": "long", "queues": ["long"], "timeout_s": 300, **ARM64},
    {
        "kind": "ecs",
        "name": "huge",
        "queues": ["huge", "huge-too"],
        "capacity": "fargate_spot",
        **ARM64,
    },
    {"kind": "microvm", "name": "hours", "queues": ["hours"]},
]
#: The log group of each queue's target.
LOG_GROUPS = {
    "long": f"/aws/batch/{PREFIX}-long",
    "huge": f"/aws/ecs/{PREFIX}-huge",
    "hours": f"/aws/lambda-microvms/{PREFIX}-hours",
}


@dataclass(frozen=True)
class Seen:
    """What people see.

    Attributes:
        logs: The text of the log of each queue's running task.
        status: The answer of `airflow lambda-executor status` meanwhile.
        tasks: The task instances by task, when the DAG run has ended.
    """

    logs: Mapping[str, str]
    status: Mapping[str, Any]
    tasks: Mapping[str, dict[str, Any]]


PROGRAM = bubblewrap.find()
CAN_MOUNT = bool(PROGRAM and bubblewrap.failure_reason(PROGRAM) is None)
FILES: Mapping[str, Any] = {
    "network": {"function_in_vpc": True, "nat_gateways": 1},
    "shared_files": {"mount": "/mnt/shared"},
}


@pytest.fixture(scope="module")
def here() -> Iterator[Environment]:
    """The environment of `make local` with targets; nothing is set for Airflow itself."""
    override = {
        "functions": [{"name": "default", **ARM64}],
        "targets": TARGETS,
        "workloads": {"environment": {"OF_THE_STAGE": "yes"}},
        **(FILES if CAN_MOUNT else {}),
    }
    project = Project([OwnDag(NAME, (NAME,))], override=override)
    with environment.running(HOME, project, Screen()) as made:
        yield made


@pytest.fixture(scope="module")
def seen(here: Environment) -> Seen:
    """Run the DAG to its end; its tasks wait until their logs have been read."""
    with Api(here.airflow.url) as api:
        api.wait_for_dags([NAME], TIMEOUT_S)
        api.trigger(NAME)
        api.unpause(NAME)
    logs = {queue: until(partial(_live, here, queue), queue, TIMEOUT_S) for queue in LOG_GROUPS}
    _, status = command(here, "status")
    with rest(here) as api:
        body = {"key": f"{NAME}_read", "value": "yes"}
        api.post("/variables", json=body).raise_for_status()
    until(lambda: _get(here, RUN)["end_date"], "the run ends", TIMEOUT_S)
    found = _get(here, f"{RUN}/taskInstances")["task_instances"]
    return Seen(logs, status, {instance["task_id"]: instance for instance in found})


def _get(here: Environment, path: str, **query: str) -> dict[str, Any]:
    with rest(here) as api:
        answer: dict[str, Any] = api.get(path, params=query).json()
    return answer


def _live(here: Environment, queue: str) -> str | None:
    """The text of the log of a running task, once CloudWatch has its line."""
    with rest(here) as api:
        text = api.get(f"{RUN}/taskInstances/is_read_{queue}/logs/1").text
    # Airflow itself has the same lines in a file, but for this one.
    is_there = "invocation started" in text and "waits for a reader" in text
    return text if is_there else None


@pytest.mark.parametrize(
    ("task_id", "target"),
    [
        ("function", "function"),
        ("batch", f"batch {PREFIX}-long"),
        ("ecs", "ecs"),
        ("ecs_too", "ecs"),
        ("micro_vm", "microvm"),
    ],
)
def test_a_task_runs_on_the_target_of_its_queue(
    here: Environment, seen: Seen, task_id: str, target: str
) -> None:
    """With the stage's variables, the scheduler's role and the workloads' roles as deployed."""
    assert seen.tasks[task_id]["state"] == "success"
    assert returned(here, NAME, task_id) == [[target, "yes"]]


@pytest.mark.parametrize("queue", LOG_GROUPS)
def test_the_log_of_a_running_task_is_its_targets(seen: Seen, queue: str) -> None:
    """Read under the role that Airflow's programs have; the task itself ends well."""
    assert f"CloudWatch log group {LOG_GROUPS[queue]}, log stream" in seen.logs[queue]
    assert seen.tasks[f"is_read_{queue}"]["state"] == "success"


def test_status_shows_what_each_target_runs(seen: Seen) -> None:
    """In Airflow, and in the service."""
    targets = {target["target"]: target for target in seen.status["targets"]}
    for name in ("batch:long", "ecs:huge", "microvm:hours"):
        assert targets[name]["in_flight"].get("running"), name
        assert targets[name]["in_service"].get("RUNNING"), name


@pytest.mark.parametrize(
    ("task_id", "reason"),
    [
        ("kills_long", "the job ended without a result: the Batch job"),
        ("kills_huge", "the job ended without a result: the ECS task"),
        ("kills_hours", "the job ended without a result: the MicroVM"),
        ("nowhere", "'nowhere'; known targets: default, hours, huge, huge-too, long"),
        ("unknown", "SubmitJob has no parameter 'jobQueues'; allowed are"),
        ("refused", "Amazon ECS refused the task of target 'huge'"),
    ],
)
def test_what_goes_wrong_has_one_reason(
    here: Environment, seen: Seen, task_id: str, reason: str
) -> None:
    """The audit log shows it at the task, as the task's own log has no line of a lost job's end."""
    assert (seen.tasks[task_id]["state"], seen.tasks[task_id]["try_number"]) == ("failed", 1)
    found = _get(here, "/eventLogs", event="lambda executor", task_id=task_id)["event_logs"]
    (event,) = found
    assert reason in event["extra"]


@pytest.mark.skipif(not CAN_MOUNT, reason="without bubblewrap nothing can be mounted")
def test_what_one_target_writes_the_others_read(here: Environment, seen: Seen) -> None:
    """A task of the function leaves a file, and a job and a task of ECS find it and add to it."""
    assert seen.tasks["found"]["state"] == "success"
    assert returned(here, NAME, "found") == [["function", "batch", "ecs"]]


def test_the_doctor_finds_nothing_wrong(here: Environment) -> None:
    """Under the scheduler's own role, which may look at all that it uses."""
    code, findings = command(here, "check")
    of_targets = {f["subject"] for f in findings if f["of"].startswith(("batch:", "ecs:"))}
    assert {"job queue", "job definition", "cluster", "task definition"} <= of_targets
    of_micro_vms = {f["subject"] for f in findings if f["of"] == "microvm:hours"}
    assert of_micro_vms == {"MicroVM image", "base image", "jobs"}
    # That a job may wait as long as its token lives is advice.
    assert {f["subject"] for f in findings if f["verdict"] != "ok"} == {"longest wait"}
    assert code == 0


def test_the_parameter_has_each_queue(here: Environment) -> None:
    """The parameter has what the executor reads, the smallest offer first."""
    name = here.outputs["ConfigParameterName"]
    text = here.aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    wired = json.loads(text)
    assert set(json.loads(wired["targets"])) == {"long", "huge", "huge-too", "hours"}
    assert list(json.loads(wired["offers"])) == ["default", "hours", "long", "huge", "huge-too"]


def test_nothing_is_left_when_the_stage_is_destroyed(here: Environment) -> None:
    """The last test of this module.

    A launch that was refused and a MicroVM that died leave an object in the payload bucket for a
    day. `make destroy` empties the buckets, and so does this test.
    """
    s3, bucket = here.aws.client("s3"), here.outputs["PayloadBucketName"]
    left = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    assert {key.rpartition(".")[2] for key in left} == {"json", "microvm"}
    for key in left:
        s3.delete_object(Bucket=bucket, Key=key)
    assert here.take_down() == []
