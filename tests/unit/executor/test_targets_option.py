"""The option `targets`, and the errors for its unusable values."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from lambda_executor.aws import RUN_MICROVM, BatchJobs, EcsTasks, MicroVms
from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import TARGETS
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.setup import config, targets
from lambda_executor.setup.connection import connect

BATCH = {"jobQueue": "q", "jobDefinition": "d"}
ECS = {"cluster": "c", "taskDefinition": "d"}
IMAGE = "arn:aws:lambda:eu-west-1:123456789012:microvm-image:task"
ROLE = "arn:aws:iam::123456789012:role/task"
VM = {"imageIdentifier": IMAGE, "executionRoleArn": ROLE, "maximumDurationInSeconds": 3600}


def read(value: object, functions: tuple[str, ...] = ()) -> dict[str, JobTarget]:
    """The targets of a value, beside functions for some queues."""
    text = value if isinstance(value, str) else json.dumps(value)
    return dict(targets.read(text, functions, "bucket"))


def test_each_queue_gets_its_job() -> None:
    """The queue names the target, and the request is kept as it was written."""
    found = read(
        {
            "long": {"batch": BATCH},
            "huge": {"ecs": {**ECS, "containerName": "task"}},
            "vm": {"microvm": VM},
        }
    )
    assert {
        queue: (str(t), t.service, json.loads(t.request), t.container) for queue, t in found.items()
    } == {
        "long": ("batch:long", Service.BATCH, BATCH, None),
        "huge": ("ecs:huge", Service.ECS, ECS, "task"),
        "vm": ("microvm:vm", Service.MICROVM, VM, None),
    }


def test_the_example_is_a_value() -> None:
    """It can be copied."""
    assert set(read(TARGETS.example)) == {"long", "huge"}


@pytest.mark.parametrize("text", [None, "", "{}"])
def test_without_targets_no_bucket_is_needed(text: str | None) -> None:
    """Nobody has to set anything for what they do not use."""
    assert targets.read(text, (), None) == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is no JSON"),
        (["long"], "set it to a JSON object from queue to target"),
        ({"long": "q"}, "has 'q' for the queue 'long': write an object with one of batch, ecs"),
        ({"long": {}}, "has nothing for the queue 'long'"),
        ({"long": {"fargate": ECS}}, "has fargate for the queue 'long'.*one of batch, ecs"),
        ({"long": {"batch": BATCH, "ecs": ECS}}, "has batch, ecs for the queue 'long'.*one of"),
        ({"long": {"batch": "q"}}, "has 'q' for batch of the queue 'long'"),
        ({"long": {"batch": {}}}, "queue 'long': jobQueue and jobDefinition must be set"),
        ({"long": {"batch": {"jobQueue": "q"}}}, "jobDefinition must be set"),
        ({"huge": {"ecs": {"cluster": ""}}}, "cluster and taskDefinition must be set"),
        (
            {"long": {"batch": {**BATCH, "queue": 1}}},
            "no parameter 'queue'; allowed are .*jobQueue",
        ),
        ({"long": {"batch": {**BATCH, "jobName": "x"}}}, "jobName cannot be set"),
        ({"long": {"batch": {**BATCH, "timeout": 5}}}, "Invalid type for parameter timeout"),
        ({"long": {"batch": {**BATCH, "containerName": "x"}}}, "no parameter 'containerName'"),
        ({"huge": {"ecs": {**ECS, "containerName": 5}}}, "containerName is 5, which is no name"),
        (
            {"huge": {"ecs": {**ECS, "launchType": "EC2", "capacityProviderStrategy": []}}},
            "exclude each other",
        ),
        (
            {"vm": {"microvm": {"imageIdentifier": IMAGE}}},
            "executionRoleArn and maximumDurationInSeconds must be set",
        ),
        (
            {"vm": {"microvm": {**VM, "imageIdentifier": "task"}}},
            "'task', which is no ARN of a MicroVM image: write arn:aws:lambda:",
        ),
        (
            {"vm": {"microvm": {**VM, "maximumDurationInSeconds": 28801}}},
            "maximumDurationInSeconds is 28801: set it to 1 to 28800",
        ),
        (
            {"vm": {"microvm": {**VM, "idlePolicy": {"maxIdleDurationSeconds": 60}}}},
            "idlePolicy cannot be set: .*its task would be suspended",
        ),
        ({"vm": {"microvm": {**VM, "runHookPayload": "x"}}}, "it is the workload"),
    ],
)
def test_a_value_that_no_request_can_be_made_of_is_refused(value: object, message: str) -> None:
    """The error names the queue and the mistake; it has an example and a setting to copy."""
    with pytest.raises(ConfigError, match=message) as error:
        read(value)
    assert str(error.value).startswith("[lambda_executor] targets ")
    assert TARGETS.example in str(error.value)
    assert error.value.command == TARGETS.setting


def test_a_queue_is_served_once() -> None:
    """Nobody has to guess which of both wins."""
    with pytest.raises(ConfigError, match="the queue 'long', and functions has it too"):
        read({"long": {"batch": BATCH}}, ("long",))


def test_jobs_need_a_bucket() -> None:
    """Every job gets its workload through it."""
    with pytest.raises(ConfigError, match=r"payload_bucket is not.*a job gets its workload") as e:
        targets.read(json.dumps({"long": {"batch": BATCH}}), (), None)
    assert "PAYLOAD_BUCKET" in e.value.command


class Conf:
    """Airflow's configuration, of our section alone."""

    def __init__(self, **options: str) -> None:
        self._options = options

    def get(self, section: str, key: str, *, fallback: str | None = None) -> str | None:
        """The value of an option, or the fallback."""
        return self._options.get(key, fallback) if section == "lambda_executor" else fallback


def test_the_parameter_may_hold_them() -> None:
    """Nothing but its name need be set where the scheduler runs; our section still wins."""
    parameter: dict[str, Any] = {
        "function_name": "fn",
        "queue_url": "https://sqs/results",
        "dead_letter_queue_url": "https://sqs/dead",
        "payload_bucket": "bucket",
        "targets": json.dumps({"long": {"batch": BATCH}}),
    }
    loaded = config.load(Conf(config_parameter="/p"), {"/p": parameter}.__getitem__)
    assert list(loaded.routes.jobs) == ["long"]
    own = json.dumps({"own": {"ecs": ECS}})
    loaded = config.load(Conf(config_parameter="/p", targets=own), {"/p": parameter}.__getitem__)
    assert list(loaded.routes.jobs) == ["own"]


@pytest.mark.parametrize(
    ("value", "services"),
    [
        ({}, set()),
        ({"long": {"batch": BATCH}}, {Service.BATCH}),
        ({"a": {"ecs": ECS}, "b": {"ecs": ECS}}, {Service.ECS}),
        (
            {"long": {"batch": BATCH}, "huge": {"ecs": ECS}, "vm": {"microvm": VM}},
            set(Service),
        ),
    ],
)
def test_each_service_that_is_used_has_a_launcher(value: object, services: set[Service]) -> None:
    """The others are not asked for anything."""
    conf = Conf(
        function_name="fn",
        queue_url="https://sqs/results",
        dead_letter_queue_url="https://sqs/dead",
        payload_bucket="bucket",
        targets=json.dumps(value),
    )
    jobs = connect(conf).endpoints.jobs
    assert set(jobs) == services
    kinds = {Service.BATCH: BatchJobs, Service.ECS: EcsTasks, Service.MICROVM: MicroVms}
    assert all(isinstance(launcher, kinds[service]) for service, launcher in jobs.items())


def test_a_boto3_without_the_service_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Airflow may have an older one than MicroVMs."""
    unknown = dataclasses.replace(RUN_MICROVM, model="unknown")
    monkeypatch.setitem(targets.KINDS, Service.MICROVM, unknown)
    with pytest.raises(ConfigError, match="does not know RunMicrovm: install a newer one"):
        read({"vm": {"microvm": VM}})
