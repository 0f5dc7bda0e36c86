"""Relations between the values of a stage: each refuses violations, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from stacks.config.loading import StageConfigError, load
from stacks.config.reference import render
from stacks.config.relations import RELATIONS, broken
from stacks.config.relations.regions import GAPS

STAGES: Mapping[str, Any] = {
    "dev": {
        "removal": "destroy",
        "functions": [{"name": "default"}],
        "execution": {"execution_api_url": "https://airflow.test/execution/"},
    }
}

KEY = "arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
IMAGE = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/airflow@sha256:{64 * 'a'}"
BUNDLE = {"name": "git", "classpath": "airflow.providers.git.bundles.git.GitDagBundle"}
LARGE = {"name": "large", "queues": ["large"]}
EXISTING = {
    "vpc_id": "vpc-0a1b2c3d",
    "availability_zones": ["eu-west-1a", "eu-west-1b"],
    "private_subnet_ids": ["subnet-00000001", "subnet-00000002"],
    "isolated_subnet_ids": ["subnet-00000003", "subnet-00000004"],
}
FARGATE: Mapping[str, Any] = {
    "control_plane": {"kind": "fargate"},
    "network": {"function_in_vpc": True, "nat_gateways": 1},
    "execution": {"execution_api_url": None},
}
IN_VPC = {"function_in_vpc": True, "nat_gateways": 1}


def default(**values: object) -> Mapping[str, Any]:
    """An override of the default function."""
    return {"functions": [{"name": "default", **values}]}


def fargate(**overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """An override with the stage's own control plane, and more."""
    keys = [*FARGATE, *(key for key in overrides if key not in FARGATE)]
    return {key: {**FARGATE.get(key, {}), **overrides.get(key, {})} for key in keys}


def refusal(override: Mapping[str, Any]) -> list[str]:
    """Return the lines of the error for an override; empty: it is accepted."""
    try:
        load(STAGES, "dev", override)
    except StageConfigError as e:
        return str(e).splitlines()
    return []


#: Relation, override that breaks it, part of the error.
BROKEN: tuple[tuple[str, Mapping[str, Any], str], ...] = (
    (
        "function_names_are_unique",
        {"functions": [{"name": "default"}, {"name": "default"}]},
        'the function name "default" (2 times) must be unique',
    ),
    (
        "queue_is_served_by_one_function",
        {"functions": [LARGE, {"name": "huge", "queues": ["large"]}]},
        'the queue "large" (of large and huge) must be in the queues of one function',
    ),
    (
        "queue_is_served_by_one_function",
        default(queues=["a", "a"]),
        'the queue "a" (of default and default) must be in the queues of one',
    ),
    (
        "function_serves_a_queue",
        {"functions": [{"name": "large"}]},
        "functions[large].queues ([]) must have at least one queue",
    ),
    (
        "margins_are_in_order",
        default(stop_margin_s=10, kill_margin_s=10),
        "kill_margin_s (10) must be less than its stop_margin_s (10)",
    ),
    (
        "margins_are_in_order",
        default(timeout_s=60, stop_margin_s=60, kill_margin_s=5),
        "stop_margin_s (60) must be less than its timeout_s (60)",
    ),
    (
        "margins_are_in_order",
        default(stop_margin_s=30),
        "stop_margin_s (30) and kill_margin_s (null) must both be set or both be null",
    ),
    (
        "provisioned_environments_are_reserved",
        default(reserved_concurrency=4, provisioned_concurrency=5),
        "provisioned_concurrency (5) must be at most its reserved_concurrency (4)",
    ),
    (
        "tenants_have_no_provisioned_environments",
        {"functions": [{**LARGE, "tenant_isolation": True, "provisioned_concurrency": 5}]},
        "provisioned_concurrency (5) must be null with tenant_isolation",
    ),
    (
        "tenants_have_queues",
        default(tenant_isolation=True),
        "functions[default].tenant_isolation (true) must be false",
    ),
    (
        "event_age_is_within_the_queued_timeout",
        {"execution": {"event_age_s": 601}},
        "execution.event_age_s (601) must be at most execution.task_queued_timeout_s (600)",
    ),
    (
        "results_outlive_the_functions",
        {"execution": {"results_retention_s": 900, "results_visibility_s": 60}},
        "results_retention_s (900) must be more than functions[default].timeout_s (900)",
    ),
    (
        "results_outlive_their_visibility_timeout",
        {"execution": {"results_retention_s": 1000, "results_visibility_s": 1000}},
        "execution.results_visibility_s (1000) must be less than",
    ),
    (
        "reservation_is_within_the_parallelism",
        default(reserved_concurrency=33),
        "reserved_concurrency (33) must be at most execution.parallelism times",
    ),
    (
        "warm_environments_are_within_the_parallelism",
        {
            "functions": [
                {"name": "default", "provisioned_concurrency": 30},
                {**LARGE, "provisioned_concurrency": 3},
            ]
        },
        "provisioned_concurrency of default and large together (33) must be at most",
    ),
    (
        "wiring_fits_into_its_parameter",
        {"functions": [{**LARGE, "queues": [f"{number:0200}" for number in range(29)]}]},
        "(about 8335 characters) must have at most 8192",
    ),
    (
        "wiring_fits_into_its_parameter",
        {
            "functions": [
                {
                    "name": "tenants",
                    "queues": [f"{number:080}" for number in range(40)],
                    "tenant_isolation": True,
                }
            ]
        },
        "characters) must have at most 8192",
    ),
    (
        "function_names_can_be_told_apart",
        {"functions": [{**LARGE, "name": "large-1"}, {"name": "large1", "queues": ["more"]}]},
        "the function names large-1 and large1 must differ in more than hyphens",
    ),
    (
        "function_names_can_be_told_apart",
        {"functions": [{**LARGE, "name": "password-rotation"}]},
        'the function name "password-rotation" must be another one',
    ),
    (
        "new_vpc_has_room_for_the_control_plane",
        fargate(network={"cidr": "10.0.0.0/23"}),
        'network.cidr (10.0.0.0/23) must be /16 to /22 with control_plane.kind "fargate"',
    ),
    (
        "tokens_travel_encrypted",
        {"execution": {"execution_api_url": "http://airflow.test/execution/"}},
        "must be https, or http on this machine or inside the VPC",
    ),
    (
        "existing_image_has_one_architecture",
        {"image": {"uri": IMAGE}, "functions": [{**LARGE, "architecture": "arm64"}]},
        "functions[].architecture (arm64 and x86_64) must be the same for all functions",
    ),
    (
        "requirements_go_into_an_image_that_is_built",
        {"image": {"uri": IMAGE, "requirements": "more.txt"}},
        "image.requirements (more.txt) must be null with an existing image in image.uri",
    ),
    (
        "bundles_go_with_their_source",
        {"dags": {"source": "bundle"}},
        'dags.bundles ([]) must have at least one bundle with dags.source "bundle"',
    ),
    (
        "bundles_go_with_their_source",
        {"dags": {"source": "s3", "bundles": [BUNDLE]}},
        'dags.bundles (1) must be [] with dags.source "s3"',
    ),
    (
        "bundle_names_are_unique",
        {"dags": {"source": "bundle", "bundles": [BUNDLE, BUNDLE]}},
        'the bundle name "git" (2 times) must be unique',
    ),
    (
        "existing_subnets_belong_to_an_existing_vpc",
        {"network": {"isolated_subnet_ids": ["subnet-00000003"]}},
        "network.isolated_subnet_ids (subnet-00000003) must be [] if network.vpc_id is null",
    ),
    (
        "existing_vpc_has_two_zones",
        {"network": {**EXISTING, "availability_zones": ["eu-west-1a"]}},
        "network.availability_zones (1 of vpc-0a1b2c3d) must have two or more",
    ),
    (
        "existing_vpc_has_two_zones",
        {"network": {**EXISTING, "availability_zones": ["eu-west-1a"] * 2 + ["eu-west-1b"]}},
        "(eu-west-1a, eu-west-1a, eu-west-1b) must have each zone once",
    ),
    (
        "existing_subnets_cover_the_zones",
        {"network": {**EXISTING, "isolated_subnet_ids": ["subnet-00000003"]}},
        "isolated_subnet_ids (1) must have one for each of network.availability_zones (2)",
    ),
    (
        "existing_vpc_has_the_subnets_that_are_needed",
        {"network": {**EXISTING, "isolated_subnet_ids": []}},
        "isolated_subnet_ids ([]) must have a subnet for each zone of vpc-0a1b2c3d, for the data",
    ),
    (
        "existing_vpc_has_the_subnets_that_are_needed",
        {"network": {**EXISTING, "private_subnet_ids": [], "function_in_vpc": True}},
        "private_subnet_ids ([]) must have a subnet for each zone of vpc-0a1b2c3d, for compute",
    ),
    (
        "existing_vpc_has_the_subnets_that_are_needed",
        fargate(
            network={**EXISTING, "nat_gateways": 0},
            control_plane={
                "allowed_cidrs": ["0.0.0.0/0"],
                "certificate_arn": CERTIFICATE,
                "domain_name": "airflow.example.com",
            },
        ),
        "public_subnet_ids ([]) must have a subnet for each zone of vpc-0a1b2c3d, for the load",
    ),
    (
        "existing_vpc_is_left_as_it_is",
        {"network": {**EXISTING, "endpoints": True}},
        "network.endpoints (true) must be false with an existing VPC (vpc-0a1b2c3d)",
    ),
    (
        "existing_vpc_is_used",
        {"network": EXISTING, "database": {"enabled": False}},
        "network.vpc_id (vpc-0a1b2c3d) must be null if nothing of the stage is in a VPC",
    ),
    (
        "compute_in_the_vpc_has_a_way_out",
        {"network": {"function_in_vpc": True}},
        "network.endpoints (false) must be true, with network.function_in_vpc true",
    ),
    (
        "compute_in_the_vpc_has_a_way_out",
        fargate(network={"nat_gateways": 0}),
        'network.endpoints (false) must be true, with control_plane.kind "fargate"',
    ),
    (
        "compute_in_the_vpc_has_a_way_out",
        {"database": {"rotation_days": 30}},
        "network.endpoints (false) must be true, with database.rotation_days 30",
    ),
    (
        "nat_gateways_or_endpoints",
        {"network": {**IN_VPC, "endpoints": True}},
        "network.nat_gateways (1) must be 0 if network.endpoints is true",
    ),
    (
        "nat_gateways_have_a_zone_each",
        {"network": {"nat_gateways": 3}},
        "network.nat_gateways (3) must be at most network.max_azs (2)",
    ),
    (
        "protected_database_is_retained",
        {"database": {"deletion_protection": True}},
        'database.deletion_protection (true) must be false with removal "destroy"',
    ),
    (
        "retained_database_has_backups",
        {"removal": "retain", "database": {"backup_days": 0}},
        'database.backup_days (0) must be 1 to 35 with removal "retain"',
    ),
    (
        "proxy_has_a_database_and_clients",
        {"network": IN_VPC, "database": {"enabled": False, "proxy": True}},
        "database.enabled (false) must be true with database.proxy",
    ),
    (
        "proxy_has_a_database_and_clients",
        {"database": {"proxy": True}},
        "network.function_in_vpc (false) must be true with database.proxy",
    ),
    (
        "rotation_has_a_database",
        {"database": {"enabled": False, "rotation_days": 30}},
        "database.rotation_days (30) must be null if database.enabled is false",
    ),
    (
        "execution_api_has_one_address",
        {"execution": {"execution_api_url": None}},
        'execution.execution_api_url (null) must be a URL with control_plane.kind "none"',
    ),
    (
        "execution_api_has_one_address",
        fargate(execution={"execution_api_url": "https://airflow.test/execution/"}),
        "execution_api_url (https://airflow.test/execution/) must be null with control_plane.kind",
    ),
    (
        "control_plane_has_a_database",
        fargate(database={"enabled": False}),
        'database.enabled (false) must be true with control_plane.kind "fargate"',
    ),
    (
        "functions_reach_the_control_plane",
        fargate(network={"function_in_vpc": False}),
        'network.function_in_vpc (false) must be true with control_plane.kind "fargate"',
    ),
    (
        "each_scheduler_has_a_results_queue",
        fargate(control_plane={"schedulers": 2}),
        "execution.results_queues (1) must be at least control_plane.schedulers (2)",
    ),
    (
        "internet_needs_a_certificate",
        fargate(control_plane={"allowed_cidrs": ["10.0.0.0/8", "0.0.0.0/0"]}),
        "control_plane.certificate_arn (null) must be an ARN if control_plane.allowed_cidrs has",
    ),
    (
        "certificate_has_a_domain_name",
        fargate(control_plane={"certificate_arn": CERTIFICATE}),
        "control_plane.domain_name (null) must be the name in the certificate",
    ),
    (
        "certificate_has_a_domain_name",
        fargate(control_plane={"domain_name": "airflow.example.com"}),
        "(null) must be an ARN if control_plane.domain_name is set (airflow.example.com)",
    ),
    (
        "existing_resources_are_in_the_region",
        {
            "region": "us-east-1",
            **fargate(
                control_plane={"certificate_arn": CERTIFICATE, "domain_name": "airflow.test"}
            ),
        },
        "control_plane.certificate_arn (eu-west-1) must be in the stage's region (us-east-1)",
    ),
    (
        "somebody_may_open_the_ui",
        fargate(network={**EXISTING, "function_in_vpc": True, "nat_gateways": 0}),
        "control_plane.allowed_cidrs ([]) must have a range that may open the UI",
    ),
    (
        "dag_processor_reads_the_dag_files",
        fargate(dags={"source": "s3", "s3_key": "dags.zip"}),
        "dags.s3_key (dags.zip) must be a folder",
    ),
    (
        "fargate_size_exists",
        fargate(control_plane={"cpu": 4096, "memory_mb": 4096}),
        "memory_mb (4096) must be 8192 to 30720 in steps of 1024 with control_plane.cpu 4096",
    ),
    (
        "fargate_size_exists",
        fargate(control_plane={"memory_mb": 2500}),
        "memory_mb (2500) must be 2048 to 8192 in steps of 1024 with control_plane.cpu 1024",
    ),
    (
        "existing_key_is_used",
        {"encryption": {"key_arn": KEY}},
        'encryption.key (aws) must be "customer" if encryption.key_arn is set',
    ),
    (
        "existing_resources_are_in_the_region",
        {"region": "us-east-1", "encryption": {"key": "customer", "key_arn": KEY}},
        "encryption.key_arn (eu-west-1) must be in the stage's region (us-east-1)",
    ),
    (
        "budget_has_a_reader",
        {"observability": {"budget_usd_month": 50}},
        "observability.alarm_email (null) must be an address with budget_usd_month (50)",
    ),
    (
        "region_has_the_features",
        {"region": "us-gov-west-1", "functions": [{**LARGE, "tenant_isolation": True}]},
        "region (us-gov-west-1) must be one with functions[].tenant_isolation",
    ),
    (
        "existing_resources_are_in_the_region",
        {"region": "us-east-1", "image": {"uri": IMAGE}},
        "image.uri (eu-west-1) must be in the stage's region (us-east-1)",
    ),
    (
        "zones_are_in_the_region",
        {"region": "us-east-1", "network": EXISTING},
        "network.availability_zones (eu-west-1a) must be in the stage's region (us-east-1)",
    ),
)

#: Overrides just inside the limit of a relation.
HOLDING: tuple[Mapping[str, Any], ...] = (
    {"execution": {"event_age_s": 600}},
    {"execution": {"results_retention_s": 901, "results_visibility_s": 60}},
    {"execution": {"results_retention_s": 1001, "results_visibility_s": 1000}},
    {"execution": {"execution_api_url": "http://127.0.0.1:8080/execution/"}},
    {"execution": {"execution_api_url": "http://airflow.internal/execution/"}, "network": IN_VPC},
    default(timeout_s=60, stop_margin_s=59, kill_margin_s=58),
    default(reserved_concurrency=4, provisioned_concurrency=4),
    default(reserved_concurrency=32),
    {**default(reserved_concurrency=64), "execution": {"results_queues": 2}},
    {"functions": [{"name": "default", "provisioned_concurrency": 32}]},
    {
        "functions": [
            {"name": "default", "reserved_concurrency": 32},
            {**LARGE, "reserved_concurrency": 32},
        ]
    },
    {"functions": [{**LARGE, "queues": [f"{number:0200}" for number in range(28)]}]},
    {"functions": [LARGE, {"name": "largest", "queues": ["largest"]}]},
    fargate(network={"cidr": "10.0.0.0/22"}),
    {"network": {"cidr": "10.0.0.0/24"}},
    default(reserved_concurrency=0),
    default(queues=["a", "b"]),
    {"region": "eu-west-1", "functions": [{**LARGE, "tenant_isolation": True}]},
    {"functions": [LARGE, {"name": "arm", "queues": ["arm"], "architecture": "arm64"}]},
    {"image": {"uri": IMAGE}, **default(architecture="arm64")},
    {"region": "eu-west-1", "image": {"uri": IMAGE}},
    {"image": {"requirements": "more.txt"}},
    {"dags": {"source": "bundle", "bundles": [BUNDLE]}},
    {"dags": {"source": "s3"}},
    {"network": {"nat_gateways": 2}},
    {"network": {"function_in_vpc": True, "endpoints": True}},
    {"region": "eu-west-1", "network": {**EXISTING, "function_in_vpc": True}},
    {"network": {**EXISTING, "private_subnet_ids": []}},
    {"network": EXISTING, "database": {"rotation_days": 30}},
    {"network": IN_VPC, "database": {"proxy": True, "rotation_days": 30}},
    {"database": {"enabled": False}},
    {"removal": "retain", "database": {"deletion_protection": True}},
    {"removal": "retain", "database": {"backup_days": 1}},
    {"removal": "retain", "database": {"enabled": False, "backup_days": 0}},
    FARGATE,
    fargate(network={"nat_gateways": 0, "endpoints": True}),
    fargate(control_plane={"schedulers": 2}, execution={"results_queues": 2}),
    fargate(control_plane={"allowed_cidrs": ["10.0.0.0/8", "192.168.0.0/16"]}),
    fargate(
        control_plane={
            "allowed_cidrs": ["0.0.0.0/0"],
            "certificate_arn": CERTIFICATE,
            "domain_name": "airflow.example.com",
        }
    ),
    fargate(
        network={**EXISTING, "nat_gateways": 0},
        control_plane={"allowed_cidrs": ["10.0.0.0/16"]},
        dags={"source": "s3", "s3_key": "dags/"},
    ),
    fargate(control_plane={"cpu": 4096, "memory_mb": 8192}),
    fargate(control_plane={"cpu": 512, "memory_mb": 4096}),
    {"encryption": {"key": "customer"}},
    {"region": "eu-west-1", "encryption": {"key": "customer", "key_arn": KEY}},
    {"observability": {"budget_usd_month": 50, "alarm_email": "oncall@example.com"}},
)


@pytest.mark.parametrize(
    ("relation", "override", "expected"),
    BROKEN,
    ids=[f"{r}-{i}" for i, (r, _, _) in enumerate(BROKEN)],
)
def test_broken_relation_names_values_what_is_allowed_and_the_fix(
    relation: str, override: Mapping[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error for a violation has the values, what is allowed and a fix."""
    lines = refusal(override)
    (line,) = (line for line in lines if expected in line)
    assert " must " in line
    assert re.search(r": (add|change|correct|lower|raise|remove|rename|use) ", line), line
    others = tuple(other for other in RELATIONS if other.__name__ != relation)
    monkeypatch.setattr("stacks.config.relations.RELATIONS", others)
    assert line not in refusal(override)


@pytest.mark.parametrize("override", HOLDING, ids=str)
def test_relation_that_just_holds_is_accepted(override: Mapping[str, Any]) -> None:
    """A relation accepts values just inside its limit."""
    load(STAGES, "dev", override)


def test_functions_without_a_default_one_are_refused() -> None:
    """A stage needs a default function."""
    stages = {"dev": {**STAGES["dev"], "functions": [LARGE]}}
    with pytest.raises(StageConfigError, match=r'functions \(large\) must have the name "default"'):
        load(stages, "dev")


def test_every_relation_is_broken_by_a_test() -> None:
    """Every relation has a test that violates it."""
    tested = {relation for relation, _, _ in BROKEN} | {"one_function_is_the_default"}
    assert tested == {relation.__name__ for relation in RELATIONS}


def test_all_broken_relations_are_reported_at_once() -> None:
    """One error reports all violations."""
    with pytest.raises(StageConfigError) as refused:
        load(STAGES, "dev", {"network": {"nat_gateways": 3}, "execution": {"event_age_s": 601}})
    assert "network.nat_gateways (3)" in str(refused.value)
    assert "execution.event_age_s (601)" in str(refused.value)


def test_checked_configuration_has_nothing_broken() -> None:
    """A loaded configuration violates no relation."""
    assert broken(load(STAGES, "dev")) == []


def test_every_relation_is_documented_with_its_reason() -> None:
    """The reference page has the reason for each relation."""
    page = render()
    for relation in RELATIONS:
        title = relation.__name__.replace("_", " ").capitalize()
        assert re.search(rf"\*\*{title}\.\*\* \S.{{19,}}", page), title


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.setting)
def test_each_gap_of_a_region_has_a_source(gap: Any) -> None:
    """Each gap names the page of AWS's documentation."""
    assert gap.source.startswith("https://docs.aws.amazon.com/")
