"""Our executor asks AWS for the same jobs as `AwsBatchExecutor` and `AwsEcsExecutor`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from airflow.configuration import conf
from airflow.providers.amazon.aws.executors.batch.batch_executor_config import build_submit_kwargs
from airflow.providers.amazon.aws.executors.ecs.ecs_executor_config import build_task_kwargs

from lambda_executor import LambdaExecutor
from lambda_executor.contract.errors import ConfigError
from lambda_executor.core.targets import JobTarget
from lambda_executor.setup import config
from tests.support.account import Account
from tests.support.command_line import run, run_json
from tests.support.job_account import make_batch, make_ecs

BATCH = {"job_name": "airflow", "job_queue": "jobs", "job_definition": "task"}
ECS = {
    "cluster": "tasks",
    "task_definition": "task",
    "container_name": "workload",
    "launch_type": "FARGATE",
    "subnets": "subnet-1,subnet-2",
}
SPOT = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]


def _set(monkeypatch: pytest.MonkeyPatch, section: str, options: Mapping[str, str]) -> None:
    for name, value in options.items():
        monkeypatch.setenv(f"AIRFLOW__{section.upper()}__{name.upper()}", value)


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the reference's sections do not have."""
    queue = {"queue_url": "https://sqs/results", "payload_bucket": "payloads"}
    _set(monkeypatch, "lambda_executor", queue)


def _target() -> JobTarget:
    found = config.load(conf, lambda _: {}).routes.default
    assert isinstance(found, JobTarget)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"submit_job_kwargs": '{"retryStrategy": {"attempts": 2}, "timeout": {}}'},
        {"submit_job_kwargs": '{"containerOverrides": {"environment": [{"name": "A"}]}}'},
        {"submit_job_kwargs": '{"Tags": {"cost_center": "1"}, "share_identifier": "a"}'},
        {"submit_job_kwargs": '{"jobQueue": "other", "parameters": {"an_input": "x"}}'},
    ],
)
def test_a_job_of_batch_is_asked_for_with_the_same_parameters(
    options: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for its name and its command, which each executor makes itself."""
    _set(monkeypatch, "aws_batch_executor", {**BATCH, **options})
    theirs = build_submit_kwargs(conf)
    theirs.pop("jobName")
    theirs["containerOverrides"].pop("command")
    found = json.loads(_target().request)
    found.setdefault("containerOverrides", {})
    assert found == theirs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"security_groups": "sg-1", "assign_public_ip": "True", "platform_version": "1.4.0"},
        {"launch_type": "EC2", "platform_version": "1.4.0"},
        {"subnets": ""},
        {"run_task_kwargs": '{"propagate_tags": "TASK_DEFINITION", "enableECSManagedTags": true}'},
        {"run_task_kwargs": '{"overrides": {"cpu": "512", "containerOverrides": [{"cpu": 1}]}}'},
        {
            "launch_type": "",
            "run_task_kwargs": json.dumps({"capacity_provider_strategy": SPOT}),
        },
    ],
)
def test_a_task_of_ecs_is_asked_for_with_the_same_parameters(
    options: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for its command, and for what is AWS's default."""
    _set(monkeypatch, "aws_ecs_executor", {**ECS, **options})
    if not {**ECS, **options}["launch_type"]:
        monkeypatch.delenv("AIRFLOW__AWS_ECS_EXECUTOR__LAUNCH_TYPE")
    theirs = build_task_kwargs(conf)
    assert theirs.pop("count") == 1
    if theirs.get("platformVersion") == "LATEST":
        theirs.pop("platformVersion")
    (container,) = theirs["overrides"]["containerOverrides"]
    assert container.pop("command") == []
    assert container["name"] == _target().container
    network = theirs.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    if network.get("assignPublicIp", "") is None:  # For EC2; boto3 would refuse it.
        network.pop("assignPublicIp")
    found: dict[str, Any] = json.loads(_target().request)
    found.setdefault("overrides", {}).setdefault("containerOverrides", [{"name": "workload"}])
    assert found == theirs


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, account: Account) -> Account:
    """An account with an environment of the Batch executor, beside what ours needs."""
    monkeypatch.delenv("AIRFLOW__LAMBDA_EXECUTOR__CONFIG_PARAMETER")
    _set(monkeypatch, "aws_batch_executor", {**BATCH, "region_name": "eu-west-1"})
    _set(monkeypatch, "lambda_executor", {"queue_url": account.options["queue_url"]})
    boto3.client("s3").create_bucket(
        Bucket="payloads", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    make_batch()
    make_ecs()
    return account


@pytest.mark.usefixtures("jobs")
def test_an_executor_without_any_function_starts() -> None:
    """It polls no dead-letter queue, and reads no limit of Lambda's."""
    executor = LambdaExecutor(parallelism=1)
    executor.start()
    assert executor.engine
    assert [poller._queue.name for poller in executor.engine.listeners.own] == [
        config.load(conf, lambda _: {}).queue_urls[0].rpartition("/")[2]
    ]
    assert executor.slots_available == 1
    executor.terminate()


@pytest.mark.usefixtures("jobs")
def test_a_job_queue_that_is_not_there_is_blamed_on_the_section(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that nobody looks for it in our options."""
    monkeypatch.setenv("AIRFLOW__AWS_BATCH_EXECUTOR__JOB_QUEUE", "missing")
    with pytest.raises(ConfigError, match=r"the target of \[aws_batch_executor\] cannot be used"):
        LambdaExecutor(parallelism=1).start()


@pytest.mark.usefixtures("database", "jobs")
def test_the_commands_know_an_environment_without_functions(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The doctor looks at the job queue; nobody looks for dead letters."""
    _, findings = run_json(capfd, "check")
    subjects = [f["subject"] for f in findings]
    assert "job queue" in subjects
    assert not {"function", "concurrency", "dead-letter queue"} & set(subjects)
    assert not [f for f in findings if f["verdict"] == "problem" and f["of"]]
    _, told = run_json(capfd, "status")
    assert [each["subject"] for each in told["queues"]] == ["results queue"]
    assert run(capfd, "dead-letters", "list")[0] == 1
