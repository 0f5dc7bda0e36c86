"""The sections of `AwsBatchExecutor` and `AwsEcsExecutor`, read as the default target."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from lambda_executor.contract.errors import ConfigError
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service
from lambda_executor.setup import config
from lambda_executor.setup.config import ExecutorConfig
from tests.unit.executor.test_config import Conf, no_parameter

OURS = {"queue_url": "https://sqs/results", "payload_bucket": "payloads"}
#: What Airflow returns for the options of the Amazon provider that nobody has set.
DEFAULTS = {"conn_id": "aws_default", "check_health_on_startup": "True"}
BATCH_DEFAULTS = {**DEFAULTS, "max_submit_job_attempts": "3"}
ECS_DEFAULTS = {
    **DEFAULTS,
    "max_run_task_attempts": "3",
    "assign_public_ip": "False",
    "platform_version": "LATEST",
}
BATCH = {**BATCH_DEFAULTS, "job_name": "airflow", "job_queue": "jobs", "job_definition": "task"}
ECS = {
    **ECS_DEFAULTS,
    "cluster": "tasks",
    "task_definition": "task",
    "container_name": "main",
    "launch_type": "FARGATE",
    "subnets": "subnet-1,subnet-2",
}


def load(ours: Mapping[str, str] = OURS, **sections: Mapping[str, str]) -> ExecutorConfig:
    """The options of an environment."""
    return config.load(Conf(lambda_executor=ours, **sections), no_parameter)


def job(loaded: ExecutorConfig) -> JobTarget:
    """Its default target, which is a job."""
    assert isinstance(loaded.routes.default, JobTarget)
    return loaded.routes.default


def request(**sections: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of its default target."""
    found: dict[str, Any] = json.loads(job(load(**sections)).request)
    return found


def test_an_environment_of_the_batch_executor_runs_all_queues_there() -> None:
    """No function is needed, and no dead-letter queue."""
    loaded = load(aws_batch_executor=BATCH, aws_ecs_executor=ECS_DEFAULTS)
    target = job(loaded)
    assert (target.service, str(target)) == (Service.BATCH, "batch:aws_batch_executor")
    assert json.loads(target.request) == {"jobQueue": "jobs", "jobDefinition": "task"}
    assert loaded.dead_letter_queue_url is None
    assert loaded.routes.target("any") == loaded.routes.target(None) == target
    assert loaded.routes.targets() == ()
    assert loaded.routes.job_targets() == (target,)


def test_an_environment_of_the_ecs_executor_runs_all_queues_there() -> None:
    """Its network and its container are kept."""
    loaded = load(aws_batch_executor=BATCH_DEFAULTS, aws_ecs_executor=ECS)
    target = job(loaded)
    assert (target.service, target.container) == (Service.ECS, "main")
    assert json.loads(target.request) == {
        "cluster": "tasks",
        "taskDefinition": "task",
        "launchType": "FARGATE",
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["subnet-1", "subnet-2"],
                "assignPublicIp": "DISABLED",
            }
        },
    }


def test_the_parameters_of_the_request_win_over_the_single_options() -> None:
    """Their names may be spelled as the options are; those of tags are a person's."""
    kwargs = {
        "job_queue": "other",
        "Tags": {"cost_center": "1"},
        "container_overrides": {"command": ["x"], "environment": [{"name": "A", "value": "b"}]},
    }
    section = {**BATCH, "submit_job_kwargs": json.dumps(kwargs)}
    assert request(aws_batch_executor=section) == {
        "jobQueue": "other",
        "jobDefinition": "task",
        "tags": {"cost_center": "1"},
        "containerOverrides": {"environment": [{"name": "A", "value": "b"}]},
    }


def test_the_first_container_override_is_the_workloads() -> None:
    """The reference names it so, and replaces its command."""
    kwargs = {"count": 3, "overrides": {"containerOverrides": [{"cpu": 7, "command": ["x"]}]}}
    found = request(aws_ecs_executor={**ECS, "run_task_kwargs": json.dumps(kwargs)})
    assert found["overrides"] == {"containerOverrides": [{"cpu": 7, "name": "main"}]}
    assert "count" not in found


@pytest.mark.parametrize(
    "text",
    [
        "[{'capacityProvider': 'FARGATE_SPOT', 'weight': 5}]",
        '[{"capacityProvider": "FARGATE_SPOT", "weight": 5}]',
    ],
)
def test_capacity_providers_may_be_written_as_in_the_providers_example(text: str) -> None:
    """Which is Python, and no JSON."""
    section = {**ECS, "launch_type": "", "capacity_provider_strategy": text}
    found = request(aws_ecs_executor=section)
    assert found["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT", "weight": 5}]
    assert "launchType" not in found


def test_a_task_on_instances_has_no_platform_version_and_no_public_address() -> None:
    """ECS refuses both."""
    section = {**ECS, "launch_type": "EC2", "platform_version": "1.4.0", "assign_public_ip": "True"}
    found = request(aws_ecs_executor=section)
    assert "platformVersion" not in found
    assert found["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": ["subnet-1", "subnet-2"]
    }


def test_without_subnets_the_task_definition_decides_on_the_network() -> None:
    """As for tasks in the network mode `bridge`."""
    assert "networkConfiguration" not in request(aws_ecs_executor={**ECS, "subnets": ""})


@pytest.mark.parametrize("section", ["aws_batch_executor", "aws_ecs_executor"])
def test_the_shared_options_are_read_there_too(section: str) -> None:
    """Under their names there."""
    attempts = {
        "aws_batch_executor": {**BATCH, "max_submit_job_attempts": "7"},
        "aws_ecs_executor": {**ECS, "max_run_task_attempts": "7"},
    }[section]
    options = {**attempts, "region_name": "eu-north-1", "check_health_on_startup": "False"}
    conf = Conf(lambda_executor=OURS, **{section: options})
    loaded = config.load(conf, no_parameter)
    assert (loaded.max_invoke_attempts, loaded.check_health_on_startup) == (7, False)
    assert config.load_aws_config(conf) == config.AwsConfig("aws_default", "eu-north-1")


def test_defaults_of_the_provider_configure_nothing() -> None:
    """They are there in every Airflow with the Amazon provider."""
    with pytest.raises(ConfigError, match="function_name is not set"):
        load(aws_batch_executor=BATCH_DEFAULTS, aws_ecs_executor=ECS_DEFAULTS)
    conf = Conf(aws_batch_executor=BATCH_DEFAULTS, aws_ecs_executor=ECS_DEFAULTS)
    assert config.load_aws_config(conf).conn_id is None


@pytest.mark.parametrize(
    ("class_name", "sections"),
    [
        ("AwsBatchExecutor", {"aws_batch_executor": BATCH}),
        ("AwsEcsExecutor", {"aws_ecs_executor": ECS}),
    ],
)
def test_beside_the_reference_its_section_is_its_own(
    class_name: str, sections: Mapping[str, Mapping[str, str]]
) -> None:
    """Its target is then reached by its own name."""
    core = {"executor": f"lambda_executor.LambdaExecutor,a.b.{class_name}"}
    with pytest.raises(ConfigError, match="function_name is not set"):
        load(core=core, **sections)


@pytest.mark.parametrize(
    ("ours", "missing"),
    [
        ({}, "queue_url and payload_bucket are not set"),
        ({"payload_bucket": "b" * 3}, "queue_url is not set"),
        ({"queue_url": "q"}, "payload_bucket is not set"),
        ({"queue_urls": '["q"]'}, "payload_bucket is not set"),
    ],
)
def test_what_a_job_of_ours_needs_beside_the_section_is_named(
    ours: Mapping[str, str], missing: str
) -> None:
    """With the variables, and the image that is needed too."""
    with pytest.raises(ConfigError, match=rf"\[aws_batch_executor\] names .*{missing}") as caught:
        load(ours, aws_batch_executor=BATCH)
    assert "AIRFLOW__LAMBDA_EXECUTOR__" in str(caught.value)
    assert "run its image" in str(caught.value)


def test_two_sections_with_targets_are_refused() -> None:
    """Only one target can be that of all queues."""
    with pytest.raises(
        ConfigError, match=r"\[aws_batch_executor\] and \[aws_ecs_executor\] both.*targets"
    ):
        load(aws_batch_executor=BATCH, aws_ecs_executor=ECS)


def test_a_function_wins_over_the_section(caplog: pytest.LogCaptureFixture) -> None:
    """Wherever it is set; the log says that the section's target is not used."""
    functions = {"function_name": "fn", "dead_letter_queue_url": "https://sqs/dead"}
    conf = Conf(lambda_executor={"config_parameter": "/p"}, aws_batch_executor=BATCH)
    with caplog.at_level(logging.WARNING):
        loaded = config.load(conf, {"/p": {**OURS, **functions}}.__getitem__)
    assert loaded.routes.default == FunctionTarget("fn")
    assert "The target of [aws_batch_executor] is not used" in caplog.text
    of_lambda = {**OURS, **functions}
    loaded = load({}, aws_lambda_executor=of_lambda, aws_batch_executor=BATCH)
    assert loaded.routes.default == FunctionTarget("fn")


@pytest.mark.parametrize(
    ("ours", "of_lambda"),
    [
        ({"function_name": "fn"}, {}),
        ({"config_parameter": "/p"}, {}),
        ({}, {"function_name": "fn"}),
    ],
)
def test_a_section_whose_target_is_not_used_gives_no_other_option(
    ours: Mapping[str, str], of_lambda: Mapping[str, str]
) -> None:
    """It may be left over from another Region, with another account's credentials."""
    left_over = {
        **BATCH,
        "region_name": "us-east-1",
        "max_submit_job_attempts": "7",
        "check_health_on_startup": "False",
    }
    conf = Conf(lambda_executor=ours, aws_lambda_executor=of_lambda, aws_batch_executor=left_over)
    assert config.load_aws_config(conf) == config.AwsConfig(None, None)
    functions = {"function_name": "fn", "dead_letter_queue_url": "https://sqs/dead", **OURS}
    parameter = {"/p": functions}.__getitem__ if "config_parameter" in ours else no_parameter
    conf = Conf(
        lambda_executor={**OURS, "dead_letter_queue_url": "https://sqs/dead", **ours},
        aws_lambda_executor=of_lambda,
        aws_batch_executor=left_over,
    )
    loaded = config.load(conf, parameter)
    assert (loaded.max_invoke_attempts, loaded.check_health_on_startup) == (3, True)


def test_the_parameter_may_give_the_queue_and_the_bucket() -> None:
    """If it names no function."""
    conf = Conf(lambda_executor={"config_parameter": "/p"}, aws_batch_executor=BATCH)
    loaded = config.load(conf, {"/p": OURS}.__getitem__)
    assert job(loaded).service is Service.BATCH


def test_functions_for_some_queues_need_a_dead_letter_queue() -> None:
    """Beside a job for all others."""
    ours = {**OURS, "functions": '{"small": "fn"}'}
    with pytest.raises(ConfigError, match="dead_letter_queue_url is not set"):
        load(ours, aws_batch_executor=BATCH)
    loaded = load({**ours, "dead_letter_queue_url": "https://sqs/dead"}, aws_batch_executor=BATCH)
    assert loaded.routes.target("small") == FunctionTarget("fn")
    assert loaded.routes.target("default") == job(loaded)
    assert loaded.routes.targets() == (FunctionTarget("fn"),)


@pytest.mark.parametrize(
    ("sections", "fault"),
    [
        ({"aws_batch_executor": {"job_queue": "jobs"}}, "jobDefinition must be set"),
        ({"aws_batch_executor": {**BATCH, "submit_job_kwargs": "x"}}, "kwargs is 'x'.*JSON object"),
        ({"aws_batch_executor": {**BATCH, "submit_job_kwargs": "[]"}}, "kwargs is .*JSON object"),
        (
            {"aws_batch_executor": {**BATCH, "submit_job_kwargs": '{"queue": "q"}'}},
            "SubmitJob has no parameter 'queue'",
        ),
        (
            {"aws_batch_executor": {**BATCH, "submit_job_kwargs": '{"nodeOverrides": {}}'}},
            "nodeOverrides cannot be set",
        ),
        ({"aws_ecs_executor": {"cluster": "c"}}, "taskDefinition must be set"),
        ({"aws_ecs_executor": {**ECS, "run_task_kwargs": "{"}}, "kwargs is '{'.*JSON object"),
        (
            {"aws_ecs_executor": {**ECS, "capacity_provider_strategy": "SPOT"}},
            "capacity_provider_strategy is 'SPOT'.*set it to a list",
        ),
        (
            {"aws_ecs_executor": {**ECS, "capacity_provider_strategy": "[]" + "[" * 9}},
            "set it to a list",
        ),
        (
            {
                "aws_ecs_executor": {
                    **ECS,
                    "capacity_provider_strategy": '[{"capacityProvider":""}]',
                }
            },
            "exclude each other",
        ),
        (
            {"aws_ecs_executor": {**ECS, "subnets": "", "security_groups": "sg-1"}},
            "subnets is not: set it",
        ),
        (
            {"aws_ecs_executor": {**ECS, "run_task_kwargs": '{"startedBy": "me"}'}},
            "startedBy cannot be set",
        ),
    ],
)
def test_an_unusable_section_is_refused_with_the_fault(
    sections: Mapping[str, Mapping[str, str]], fault: str
) -> None:
    """Before anything is started."""
    (section,) = sections
    with pytest.raises(ConfigError, match=rf"(?s)\[{section}\].*{fault}"):
        load(**sections)
