"""The configuration of a stage: accepted values, refused values and the texts of errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.options import KILL_MARGIN_S, STOP_MARGIN_S
from lambda_image.deadline import Margins
from stacks.config import StageConfig
from stacks.config.loading import StageConfigError, load
from stacks.config.reference import describe_fields, render
from tests.synth.variants import CONTEXT, ROOT

STAGES: dict[str, Any] = {
    "dev": {
        "removal": "destroy",
        "execution": {"execution_api_url": "https://airflow.test/execution/"},
    }
}


def default(**values: object) -> dict[str, object]:
    """An override with these values of the default function."""
    return {"name": "default", **values}


def merged(*overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The stage with its sections' values replaced."""
    values = dict(STAGES["dev"])
    for override in overrides:
        for key, value in override.items():
            is_section = isinstance(value, Mapping)
            values[key] = {**values.get(key, {}), **value} if is_section else value
    return values


def refusal(override: object, stages: object = STAGES, stage: object = "dev") -> str:
    """The message with which a configuration is refused."""
    with pytest.raises(StageConfigError) as refused:
        load(stages, stage, override)
    return str(refused.value)


@pytest.mark.parametrize("stage", CONTEXT["stages"])
def test_every_stage_of_cdk_json_is_valid(stage: str) -> None:
    """The stages in cdk.json are valid."""
    assert load(CONTEXT["stages"], stage).removal in {"destroy", "retain"}


def test_production_survives_the_loss_of_a_zone() -> None:
    """The stage prod has two of each of Airflow's programs that can be doubled, and NAT gateways.

    A deploy starts the new schedulers beside the old ones: each of them has a results queue.
    """
    prod = load(CONTEXT["stages"], "prod")
    airflow = prod.control_plane
    assert airflow.kind == "fargate"
    assert min(airflow.api_servers, airflow.schedulers, airflow.triggerers) == 2
    assert prod.execution.results_queues == 2 * airflow.schedulers
    assert prod.network.nat_gateways == prod.network.max_azs


def test_production_keeps_its_data() -> None:
    """The stage prod retains its data and protects, backs up and doubles its database."""
    prod = load(CONTEXT["stages"], "prod")
    assert prod.removal == "retain"
    assert prod.database.deletion_protection
    assert prod.database.multi_az
    assert prod.database.backup_days >= 7


def test_the_local_stage_cannot_reach_a_real_account() -> None:
    """The stage local is pinned to the embedded AWS's account, which no real account has."""
    assert load(CONTEXT["stages"], "local").account == "000000000000"


def test_override_is_merged_key_by_key() -> None:
    """An override changes only the keys that it names, at any depth."""
    stages = {"dev": {**STAGES["dev"], "database": {"storage_gb": 30, "name": "af"}}}
    config = load(stages, "dev", '{"database": {"storage_gb": 50}, "removal": "retain"}')
    assert (config.database.storage_gb, config.database.name) == (50, "af")
    assert config.removal == "retain"
    assert config.execution.execution_api_url == "https://airflow.test/execution/"


def test_override_of_named_objects_is_merged_by_name() -> None:
    """A function of an override changes the function of its name, or adds one."""
    stages = {"dev": {**STAGES["dev"], "functions": [default(memory_mb=512, timeout_s=60)]}}
    large = {"name": "large", "queues": ["large"]}
    config = load(stages, "dev", {"functions": [large, default(memory_mb=3008)]})
    assert [function.name for function in config.functions] == ["default", "large"]
    assert (config.default_function.memory_mb, config.default_function.timeout_s) == (3008, 60)


def test_override_of_any_other_list_replaces_it() -> None:
    """A list of texts is replaced as a whole; so is a list with a name twice, which is refused."""
    stages = {"dev": {**STAGES["dev"], "functions": [default(queues=["a", "b"])]}}
    config = load(stages, "dev", {"functions": [default(queues=["c"])]})
    assert config.default_function.queues == ["c"]
    assert "2 times" in refusal({"functions": [default(), default()]})


def test_override_is_checked_like_the_stage() -> None:
    """An override is checked like the stage's own values."""
    assert "unknown key database.storage" in refusal({"database": {"storage": 50}})


def test_override_may_be_in_a_file(tmp_path: Path) -> None:
    """After an @ stands the path of a file; the error names one that cannot be read."""
    file = tmp_path / "override.json"
    file.write_text('{"database": {"storage_gb": 50}}')
    assert load(STAGES, "dev", f"@{file}").database.storage_gb == 50
    assert "@missing.json cannot be read (" in refusal("@missing.json")


def test_unknown_stage_names_the_stages_there_are() -> None:
    """The error for a misspelt stage lists the stages and suggests the closest."""
    message = refusal(None, stage="dve")
    assert "unknown stage 'dve', allowed are dev (did you mean dev?)" in message
    assert "-c stage=" in message


def test_missing_stages_point_to_the_cdk_cli() -> None:
    """Without a context, as when app.py is run by hand, the message says how to run it."""
    assert "through the cdk CLI" in refusal(None, stages=None)


@pytest.mark.parametrize("name", ["My_Stage", "1st", "a-b", 17 * "a"])
def test_stage_name_that_cannot_be_part_of_a_name_is_refused(name: str) -> None:
    """A stage's name must fit into repository, function and parameter names."""
    assert f"{name!r} cannot be part" in refusal(None, {name: {}}, name)


def test_longest_names_fit_a_function() -> None:
    """The longest names of a stage and a function make a physical name that Lambda accepts."""
    # https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
    assert len(f"airflow-lambda-{16 * 'a'}-{32 * 'b'}") <= 64
    stages = {16 * "a": STAGES["dev"]}
    load(stages, 16 * "a", {"functions": [{"name": 32 * "b", "queues": ["b"]}, default()]})


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("{", "-c override='{' is not JSON"),
        ("[1]", "-c override is [1], allowed is a JSON object"),
    ],
)
def test_override_that_is_no_json_object_is_refused(override: str, expected: str) -> None:
    """The error for a malformed override shows the override and a valid example."""
    message = refusal(override)
    assert expected in message
    assert '{"database": {"storage_gb": 50}}' in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            {"functions": [default(memroy_mb=512)]},
            r"unknown key functions\[0\]\.memroy_mb, allowed .* \(did you mean memory_mb\?\)",
        ),
        (
            {"funktions": []},
            r"unknown key funktions, allowed here are .*\(did you mean functions\?\)",
        ),
        (
            {"functions": [default(memory_mb="512")]},
            r'functions\[0\]\.memory_mb is "512", allowed is a whole number from 512 to 10240',
        ),
        (
            {"functions": [default(timeout_s=1801)]},
            r"functions\[0\]\.timeout_s is 1801, allowed is a whole number from 4 to 1800",
        ),
        (
            {"logs": {"retention_days": 8}},
            r"logs\.retention_days is 8, allowed is one of 1, 3, 7",
        ),
        (
            {"database": 5},
            r"database is 5, allowed is a JSON object with enabled, .*: nest its values in it",
        ),
        ({"functions": {}}, r"functions is \{\}, allowed is a list of JSON objects: change it"),
        (
            {"functions": [5]},
            r"functions\[0\] is 5, allowed is a JSON object with name, .*: nest its values in it",
        ),
        (
            {"functions": [{"memory_mb": 512}]},
            r"functions\[0\]\.name is missing, allowed is lower-case .*, at most 32 characters \(",
        ),
        (
            {"functions": [{"name": 33 * "a"}]},
            r'functions\[0\]\.name is "a{33}", allowed is lower-case .* at most 32 characters',
        ),
        (
            {"network": {"private_subnet_ids": ["subnet-12345678", "sn-1"]}},
            r'network\.private_subnet_ids\[1\] is "sn-1", allowed is the id of a subnet \(such as',
        ),
        ({"removal": "delete"}, r'removal is "delete", allowed is one of "destroy", "retain"'),
        ({"network": {"function_in_vpc": "yes"}}, r'function_in_vpc is "yes", allowed is true or'),
        (
            {"network": {"cidr": "8.8.0.0/16"}},
            r'network\.cidr is "8\.8\.0\.0/16", .*it must be a range from',
        ),
        ({"network": {"cidr": "10.0.0.0/8"}}, r"must be a range from /16 to /24 in 10\.0\.0\.0/8,"),
        ({"network": {"cidr": "127.0.0.0/16"}}, r"must be a range from /16 to /24 in"),
        ({"network": {"cidr": "169.254.0.0/16"}}, r"must be a range from /16 to /24 in"),
        (
            {"observability": {"runbook_url": "wiki/runbook"}},
            r"runbook_url is .*allowed is a web address",
        ),
        (
            {"account": "12"},
            r'account is "12", allowed is 12 digits \(such as "123456789012"\) or null',
        ),
        (
            {"targets": [{"kind": "batch", "name": "long", "queues": ["long"], "gpu": -1}]},
            r"targets\[0\]\.gpu is -1, allowed is a whole number from 0 to 16",
        ),
        (
            {"targets": [{"kind": "ecs", "name": "huge", "queues": ["huge"], "capasity": "ec2"}]},
            r"unknown key targets\[0\]\.capasity, .* \(did you mean capacity\?\)",
        ),
        (
            {"targets": [{"kind": "bach", "name": "long", "queues": ["long"]}]},
            r"targets\[0\] is .*, allowed is a JSON object with a kind of batch, ecs, microvm: add",
        ),
        (
            {"targets": ["long"]},
            r'targets\[0\] is "long", allowed is a JSON object with a kind of batch, ecs, microvm',
        ),
        (
            {"region": "eu-west"},
            r'region is "eu-west", allowed is the name of a Region \(such as "eu-west-1"\)',
        ),
        (
            {"network": {"vpc_id": "vpc"}},
            r'vpc_id is "vpc", allowed is the id of a VPC \(such as "vpc-0a1b2c3d"\)',
        ),
        ({"image": {"uri": "airflow:latest"}}, r'image\.uri is "airflow:latest", .*@sha256:0{64}"'),
        ({"encryption": {"key_arn": "alias/mine"}}, r'key_arn is "alias/mine", .*"arn:aws:kms:'),
        ({"control_plane": {"certificate_arn": "mine"}}, r'certificate_arn is "mine", .*:acm:'),
        ({"control_plane": {"allowed_cidrs": ["10.0.0.1/8"]}}, r"has host bits set"),
        ({"observability": {"alarm_email": "me"}}, r'alarm_email is "me", .*oncall@example\.com'),
        (
            {"dags": {"s3_key": "/dags"}},
            r'dags\.s3_key is "/dags", allowed is a relative path that ends in /',
        ),
        (
            {"dags": {"s3_key": "dags.zip"}},
            r'dags\.s3_key is "dags.zip", allowed is a relative path that ends in /',
        ),
        (
            {"database": {"rotation_days": 0}},
            r"rotation_days is 0, allowed is a whole number from 1",
        ),
        (
            {"database": {"instance_class": "t4g.micro"}},
            r'allowed is an instance class of RDS \(such as "db\.t4g',
        ),
        ({"database": {"postgres_version": "15"}}, r'"15", allowed is one of "16", "17", "18"'),
        ({"image": {"dags": ""}}, r'image\.dags is "", allowed is the path of a folder \(such as'),
        (
            {"image": {"airflow_version": "2.11.2"}},
            r'is "2\.11\.2", allowed is a version of Airflow from 3\.0 to 3\.4 \(such as',
        ),
        (
            {"image": {"python_version": "3.11"}},
            r'python_version is "3\.11", allowed is one of "3\.12", "3\.13"',
        ),
        (
            {"image": {"base_image": "public.ecr.aws/lambda/python:3.12"}},
            r'base_image is "public.*:3\.12", allowed is an image with its digest \(such as "pub',
        ),
        (
            {"execution": {"execution_api_url": "https://airflow.test/api/"}},
            r"execution_api_url is .*it must end in /execution/",
        ),
        ({"execution": {"execution_api_url": "airflow"}}, r"must be a whole URL"),
    ],
)
def test_wrong_value_is_named_with_what_is_allowed(override: object, expected: str) -> None:
    """The error for a value has its path, the allowed values and a fix."""
    assert re.search(expected, refusal(override))


@pytest.mark.parametrize(
    ("key", "lowest", "highest"),
    [("memory_mb", 512, 10240), ("timeout_s", 4, 1800), ("ephemeral_storage_mb", 512, 10240)],
)
def test_limits_of_a_function_are_taken(key: str, lowest: int, highest: int) -> None:
    """The limits of a number are accepted, values beyond them are not."""
    for value in (lowest, highest):
        config = load(STAGES, "dev", {"functions": [default(**{key: value})]})
        assert getattr(config.default_function, key) == value
    for value in (lowest - 1, highest + 1):
        assert f"].{key} is {value}, " in refusal({"functions": [default(**{key: value})]})


def test_the_limits_of_the_margins_are_those_of_the_handler() -> None:
    """The stage's bounds for margins are the handler's, also for the shortest function."""
    stop, kill = STOP_MARGIN_S.bounds.least, KILL_MARGIN_S.bounds.least
    shortest = default(timeout_s=4, stop_margin_s=stop, kill_margin_s=kill)
    config = load(STAGES, "dev", {"functions": [shortest]})
    assert Margins(stop, kill).deadline(config.default_function.timeout_s - 0.1, 0)
    for option in (STOP_MARGIN_S, KILL_MARGIN_S):
        for value in (option.bounds.least - 1, option.bounds.most + 1):
            said = refusal({"functions": [{**shortest, option.name: value}]})
            assert f"].{option.name} is {value}, allowed is a whole number from " in said


@pytest.mark.parametrize(
    ("key", "lowest", "highest"),
    [("event_age_s", 60, 21600), ("results_retention_s", 60, 1209600)],
)
def test_limits_of_messages_are_lambdas_and_sqs_own(key: str, lowest: int, highest: int) -> None:
    """The bounds of event age and retention are the services' too."""
    roomy = {
        "functions": [default(timeout_s=4)],
        "execution": {"task_queued_timeout_s": 21600, "results_visibility_s": 10},
    }
    for value in (lowest, highest):
        config = load({"dev": merged(roomy, {"execution": {key: value}})}, "dev")
        assert getattr(config.execution, key) == value
    for value in (lowest - 1, highest + 1):
        assert f"execution.{key} is {value}, " in refusal({"execution": {key: value}})


def test_every_wrong_value_is_named_at_once() -> None:
    """One error reports all wrong fields."""
    message = refusal(
        {"functions": [default(memory_mb=1)], "database": {"storage_gb": 1}, "remove": 1}
    )
    assert all(part in message for part in ("[0].memory_mb", "database.storage_gb", "remove"))


def test_configuration_cannot_be_changed_after_loading() -> None:
    """A loaded configuration cannot be changed."""
    config = load(STAGES, "dev")
    with pytest.raises(ValueError, match="frozen"):
        config.default_function.memory_mb = 1  # type: ignore[misc]


def test_every_field_is_described() -> None:
    """Every field has a description and allowed values for the reference page."""
    for field in describe_fields().values():
        assert field.description.endswith("."), field.path
        assert field.allowed, field.path


def texts(schema: Any, rule: object = None) -> Iterator[tuple[str, object]]:
    """The pattern of every text in a schema, with the rule that stands for it in messages."""
    match schema:
        case {"type": "string", "pattern": str(pattern)}:
            yield pattern, schema.get("rule", rule)
        case dict():
            for value in schema.values():
                yield from texts(value, schema.get("rule"))
        case list():
            for value in schema:
                yield from texts(value, rule)


def test_every_pattern_has_a_rule_in_words() -> None:
    """No message calls a text wrong and says that a text is allowed."""
    patterns = list(texts(StageConfig.model_json_schema()))
    assert len(patterns) > 15
    assert [pattern for pattern, rule in patterns if not rule] == []
    assert not [f.path for f in describe_fields().values() if f.allowed.startswith("a text")]


def test_reference_page_is_fresh() -> None:
    """docs/reference/stage-config.md is current."""
    page = (ROOT / "docs/reference/stage-config.md").read_text()
    assert page == render(), (
        "run: python -m stacks.config.reference > docs/reference/stage-config.md"
    )


def test_defaults_of_the_reference_are_json() -> None:
    """A default in the reference page is valid in cdk.json."""
    for field in describe_fields().values():
        if field.default is not None:
            json.loads(field.default)
