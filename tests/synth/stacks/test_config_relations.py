"""Relations between the values of a stage: each refuses what it says, and no more than that."""

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

SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf"
POLICIES = [f"arn:aws:iam::123456789012:policy/team/{number}" for number in range(11)]
KEY = "arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
SNAPSHOT = "arn:aws:rds:eu-west-1:123456789012:snapshot:before-the-upgrade"
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
IMAGE = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/airflow@sha256:{64 * 'a'}"
BASE = f"public.ecr.aws/lambda/python:3.12@sha256:{64 * 'b'}"
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
API_GATEWAY = {"entrance": "api_gateway", "execute_command": True}
TUNNEL = {"entrance": "none", "execute_command": True}
IN_VPC = {"function_in_vpc": True, "nat_gateways": 1}


def default(**values: object) -> Mapping[str, Any]:
    """An override of the default function."""
    return {"functions": [{"name": "default", **values}]}


def fargate(**overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """An override with a control plane of the stage's own, and more."""
    keys = [*FARGATE, *(key for key in overrides if key not in FARGATE)]
    return {key: {**FARGATE.get(key, {}), **overrides.get(key, {})} for key in keys}


def refusal(override: Mapping[str, Any]) -> list[str]:
    """What a person is told about an override; empty: it is taken."""
    try:
        load(STAGES, "dev", override)
    except StageConfigError as e:
        return str(e).splitlines()
    return []


#: Relation, override that breaks it, part of what the person is told.
BROKEN: tuple[tuple[str, Mapping[str, Any], str], ...] = (
    (
        "variables_have_free_names",
        {"workloads": {"environment": {"AWS_REGION": "eu-west-1"}}},
        "workloads and functions[default] have the variable AWS_REGION, which Lambda itself sets",
    ),
    (
        "variables_have_free_names",
        default(secrets={"1ST": SECRET}),
        "have the variable 1ST, allowed are two or more letters, digits and underscores",
    ),
    (
        "variables_have_free_names",
        default(environment={"AIRFLOW__LOGGING__REMOTE_LOGGING": "True"}),
        "which the stacks set, allowed is another name: remove it and set logs.remote",
    ),
    (
        "variables_have_free_names",
        {"control_plane": {"environment": {"AIRFLOW_LAMBDA_X": "1"}}},
        "control_plane has the variable AIRFLOW_LAMBDA_X, allowed are names without",
    ),
    (
        "variables_are_plain_or_secret",
        {"workloads": {"environment": {"KEY": "plain"}}, **default(secrets={"KEY": SECRET})},
        "functions[default] have the variable KEY both in environment and in secrets",
    ),
    (
        "policies_fit_a_role",
        {"workloads": {"policies": POLICIES[:6]}, **default(policies=POLICIES[5:])},
        "functions[default] have 11 policies, allowed are 10",
    ),
    (
        "policies_fit_a_role",
        {"control_plane": {"policies": POLICIES[:10]}},
        "control_plane has 10 policies, allowed are 9",
    ),
    (
        "function_names_are_unique",
        {"functions": [{"name": "default"}, {"name": "default"}]},
        'functions have the name "default" 2 times, allowed is once',
    ),
    (
        "queue_is_served_by_one_function",
        {"functions": [LARGE, {"name": "huge", "queues": ["large"]}]},
        'the queue "large" is in the queues of large and huge, allowed is one function',
    ),
    (
        "queue_is_served_by_one_function",
        default(queues=["a", "a"]),
        'the queue "a" is in the queues of default and default',
    ),
    (
        "function_serves_a_queue",
        {"functions": [{"name": "large"}]},
        "functions[large].queues is [], allowed is at least one queue",
    ),
    (
        "margins_are_in_order",
        default(stop_margin_s=10, kill_margin_s=10),
        "kill_margin_s is 10, allowed is less than its stop_margin_s, 10",
    ),
    (
        "margins_are_in_order",
        default(timeout_s=60, stop_margin_s=60, kill_margin_s=5),
        "stop_margin_s is 60, allowed is less than its timeout_s, 60",
    ),
    (
        "margins_are_in_order",
        default(stop_margin_s=30),
        "stop_margin_s is 30 and kill_margin_s is null, allowed is both or neither",
    ),
    (
        "provisioned_environments_are_reserved",
        default(reserved_concurrency=4, provisioned_concurrency=5),
        "provisioned_concurrency is 5, allowed is at most its reserved_concurrency, 4",
    ),
    (
        "tenants_have_no_provisioned_environments",
        {"functions": [{**LARGE, "tenant_isolation": True, "provisioned_concurrency": 5}]},
        "tenant_isolation is true and provisioned_concurrency is 5, allowed is null",
    ),
    (
        "snapshots_go_with_the_rest",
        default(snap_start=True, provisioned_concurrency=1),
        "functions[default].snap_start is true and its provisioned_concurrency is 1, allowed is",
    ),
    (
        "snapshots_go_with_the_rest",
        {"functions": [{**LARGE, "snap_start": True, "tenant_isolation": True}]},
        "functions[large].snap_start is true and its tenant_isolation is true, allowed is false",
    ),
    (
        "snapshots_go_with_the_rest",
        default(snap_start=True, ephemeral_storage_mb=513),
        "functions[default].snap_start is true and its ephemeral_storage_mb is 513, allowed is 512",
    ),
    (
        "snapshots_go_with_the_rest",
        {"region": "ap-east-2", **default(snap_start=True)},
        "functions[default].snap_start is true and region is ap-east-2, allowed is a Region that",
    ),
    (
        "tenants_have_queues",
        default(tenant_isolation=True),
        "functions[default].tenant_isolation is true, allowed is false",
    ),
    (
        "event_age_is_within_the_queued_timeout",
        {"execution": {"event_age_s": 601}},
        "execution.event_age_s is 601, allowed is at most execution.task_queued_timeout_s, 600",
    ),
    (
        "results_outlive_the_functions",
        {"execution": {"results_retention_s": 900, "results_visibility_s": 60}},
        "results_retention_s is 900, allowed is more than functions[default].timeout_s, 900",
    ),
    (
        "results_outlive_the_functions",
        {"execution": {"results_retention_s": 1800}, **default(timeout_s=1800)},
        "results_retention_s is 1800, allowed is more than functions[default].timeout_s, 1800",
    ),
    (
        "results_outlive_their_visibility_timeout",
        {"execution": {"results_retention_s": 1000, "results_visibility_s": 1000}},
        "execution.results_visibility_s is 1000, allowed is less than",
    ),
    (
        "reservation_is_within_the_parallelism",
        default(reserved_concurrency=33),
        "reserved_concurrency is 33, allowed is at most execution.parallelism times",
    ),
    (
        "warm_environments_are_within_the_parallelism",
        {
            "functions": [
                {"name": "default", "provisioned_concurrency": 30},
                {**LARGE, "provisioned_concurrency": 3},
            ]
        },
        "provisioned_concurrency of the functions default and large is 33 together, allowed is at",
    ),
    (
        "wiring_fits_into_its_parameter",
        {"functions": [{**LARGE, "queues": [f"{number:0200}" for number in range(29)]}]},
        "make a parameter of about 8335 characters, allowed is 8192",
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
        "characters, allowed is 8192",
    ),
    (
        "function_names_are_told_apart",
        {"functions": [{**LARGE, "name": "large-1"}, {"name": "large1", "queues": ["more"]}]},
        "functions have the names large-1 and large1, which differ in hyphens only",
    ),
    (
        "function_names_are_told_apart",
        {"functions": [{**LARGE, "name": "password-rotation"}]},
        'functions have the name "password-rotation", allowed is any other',
    ),
    (
        "new_vpc_has_room_for_the_control_plane",
        fargate(network={"cidr": "10.0.0.0/23"}),
        'network.cidr is 10.0.0.0/23 and control_plane.kind is "fargate", allowed is /16 to /22',
    ),
    (
        "tokens_travel_encrypted",
        {"execution": {"execution_api_url": "http://airflow.test/execution/"}},
        "allowed is https, or http on this machine or inside the VPC",
    ),
    (
        "existing_image_has_one_architecture",
        {"image": {"uri": IMAGE}, "functions": [{**LARGE, "architecture": "arm64"}]},
        "functions have the architectures arm64 and x86_64 and image.uri names one image",
    ),
    (
        "kept_images_are_those_of_two_deploys",
        {
            "image": {"keep_images": 3},
            "functions": [{"name": "default"}, {**LARGE, "architecture": "arm64"}],
        },
        "image.keep_images is 3 and functions have the architectures arm64 and x86_64, allowed is",
    ),
    (
        "requirements_go_into_an_image_that_is_built",
        {"image": {"uri": IMAGE, "requirements": "more.txt"}},
        'image.requirements is "more.txt" and image.uri names an existing image',
    ),
    (
        "versions_go_into_an_image_that_is_built",
        {"image": {"uri": IMAGE, "airflow_version": "3.2.2"}},
        'image.airflow_version is "3.2.2" and image.uri names an existing image',
    ),
    (
        "versions_go_into_an_image_that_is_built",
        {"image": {"uri": IMAGE, "python_version": "3.13"}},
        'image.python_version is "3.13" and image.uri names an existing image',
    ),
    (
        "versions_go_into_an_image_that_is_built",
        {"image": {"uri": IMAGE, "base_image": BASE}},
        f'image.base_image is "{BASE}" and image.uri names an existing image',
    ),
    (
        "base_image_has_the_python_version",
        {"image": {"base_image": BASE, "python_version": "3.13"}},
        f'image.base_image is "{BASE}" and image.python_version is "3.13", allowed is a base',
    ),
    (
        "airflow_runs_on_the_python_version",
        {"image": {"airflow_version": "3.0.6", "python_version": "3.13"}},
        'image.airflow_version is "3.0.6" and image.python_version is "3.13", allowed is "3.12"',
    ),
    (
        "bundles_go_with_their_source",
        {"dags": {"source": "bundle"}},
        'dags.source is "bundle" and dags.bundles is []',
    ),
    (
        "bundles_go_with_their_source",
        {"dags": {"source": "s3", "bundles": [BUNDLE]}},
        'dags.source is "s3" and dags.bundles has 1, allowed is []',
    ),
    (
        "bundle_names_are_unique",
        {"dags": {"source": "bundle", "bundles": [BUNDLE, BUNDLE]}},
        'dags.bundles have the name "git" 2 times, allowed is once',
    ),
    (
        "existing_subnets_belong_to_an_existing_vpc",
        {"network": {"isolated_subnet_ids": ["subnet-00000003"]}},
        "network.isolated_subnet_ids is set and network.vpc_id is null",
    ),
    (
        "existing_vpc_has_two_zones",
        {"network": {**EXISTING, "availability_zones": ["eu-west-1a"]}},
        "network.availability_zones has 1 of vpc-0a1b2c3d, allowed are two or more",
    ),
    (
        "existing_vpc_has_two_zones",
        {"network": {**EXISTING, "availability_zones": ["eu-west-1a"] * 2 + ["eu-west-1b"]}},
        "network.availability_zones has a zone twice",
    ),
    (
        "existing_subnets_cover_the_zones",
        {"network": {**EXISTING, "isolated_subnet_ids": ["subnet-00000003"]}},
        "network.isolated_subnet_ids has 1 for the 2 of network.availability_zones",
    ),
    (
        "existing_vpc_has_the_subnets_that_are_needed",
        {"network": {**EXISTING, "isolated_subnet_ids": []}},
        "network.isolated_subnet_ids is [] and the database is to be in vpc-0a1b2c3d",
    ),
    (
        "existing_vpc_has_the_subnets_that_are_needed",
        {"network": {**EXISTING, "private_subnet_ids": [], "function_in_vpc": True}},
        "network.private_subnet_ids is [] and what calls AWS from inside it is to be in",
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
        "network.public_subnet_ids is [] and the load balancer, or programs with public addresses",
    ),
    (
        "existing_vpc_is_left_as_it_is",
        {"network": {**EXISTING, "endpoints": True}},
        "network.endpoints is set and network.vpc_id is vpc-0a1b2c3d, allowed is false",
    ),
    (
        "existing_vpc_is_used",
        {"network": EXISTING, "database": {"enabled": False}},
        "network.vpc_id is vpc-0a1b2c3d and nothing of the stage is inside a VPC",
    ),
    (
        "compute_in_the_vpc_has_a_way_out",
        {"network": {"function_in_vpc": True}},
        "network.function_in_vpc is true and network.nat_gateways is 0 and network.endpoints is",
    ),
    (
        "compute_in_the_vpc_has_a_way_out",
        fargate(network={"nat_gateways": 0}),
        'control_plane.kind is "fargate" and network.nat_gateways is 0',
    ),
    (
        "compute_in_the_vpc_has_a_way_out",
        {"database": {"rotation_days": 30}},
        "database.rotation_days is 30 and network.nat_gateways is 0",
    ),
    (
        "nat_gateways_or_endpoints",
        {"network": {**IN_VPC, "endpoints": True}},
        "network.endpoints is true and network.nat_gateways is 1, allowed is one of the two",
    ),
    (
        "nat_gateways_have_a_zone_each",
        {"network": {"nat_gateways": 3}},
        "network.nat_gateways is 3, allowed is at most network.max_azs, 2",
    ),
    (
        "protected_database_is_retained",
        {"database": {"deletion_protection": True}},
        'database.deletion_protection is true and removal is "destroy"',
    ),
    (
        "retained_database_has_backups",
        {"removal": "retain", "database": {"backup_days": 0}},
        'database.backup_days is 0 and removal is "retain", allowed is 1 to 35',
    ),
    (
        "proxy_has_a_database_and_clients",
        {"network": IN_VPC, "database": {"enabled": False, "proxy": True}},
        "database.proxy is true and database.enabled is false",
    ),
    (
        "proxy_has_a_database_and_clients",
        {"database": {"proxy": True}},
        "database.proxy is true and network.function_in_vpc is false",
    ),
    (
        "rotation_has_a_database",
        {"database": {"enabled": False, "rotation_days": 30}},
        "database.rotation_days is 30 and database.enabled is false",
    ),
    (
        "storage_grows_by_a_tenth_or_not_at_all",
        {"database": {"storage_gb": 100, "max_storage_gb": 109}},
        "storage_gb is 100, allowed is 100 (the storage never grows) or at least 110",
    ),
    (
        "storage_grows_by_a_tenth_or_not_at_all",
        {"database": {"storage_gb": 100, "max_storage_gb": 99}},
        "database.max_storage_gb is 99 and database.storage_gb is 100",
    ),
    (
        "snapshot_is_restored_into_a_database",
        {"database": {"enabled": False, "snapshot_identifier": "before"}},
        'database.snapshot_identifier is "before" and database.enabled is false',
    ),
    (
        "snapshot_is_in_the_region",
        {"region": "us-east-1", "database": {"snapshot_identifier": SNAPSHOT}},
        "database.snapshot_identifier is in eu-west-1, allowed is the stage's region, us-east-1",
    ),
    (
        "execution_api_is_somewhere",
        {"execution": {"execution_api_url": None}},
        'execution.execution_api_url is null and control_plane.kind is "none"',
    ),
    (
        "execution_api_is_somewhere",
        fargate(execution={"execution_api_url": "https://airflow.test/execution/"}),
        "which brings its own, allowed is null",
    ),
    (
        "control_plane_has_a_database",
        fargate(database={"enabled": False}),
        'control_plane.kind is "fargate" and database.enabled is false',
    ),
    (
        "functions_reach_the_control_plane",
        fargate(network={"function_in_vpc": False}),
        "control_plane.entrance is load_balancer and network.function_in_vpc is false",
    ),
    (
        "load_balancer_has_what_is_its_own",
        fargate(
            control_plane={
                **API_GATEWAY,
                "certificate_arn": CERTIFICATE,
                "domain_name": "airflow.example.com",
            }
        ),
        "control_plane.certificate_arn is set and control_plane.entrance is api_gateway",
    ),
    (
        "load_balancer_has_what_is_its_own",
        fargate(control_plane={**API_GATEWAY, "allowed_cidrs": ["10.0.0.0/8"]}),
        "control_plane.allowed_cidrs is ['10.0.0.0/8'] and control_plane.entrance is api_gateway",
    ),
    (
        "load_balancer_has_what_is_its_own",
        fargate(control_plane={**TUNNEL, "allowed_cidrs": ["0.0.0.0/0"]}),
        "control_plane.allowed_cidrs is ['0.0.0.0/0'] and control_plane.entrance is none",
    ),
    (
        "functions_reach_the_api_gateway",
        fargate(
            control_plane=API_GATEWAY,
            network={"function_in_vpc": True, "endpoints": True, "nat_gateways": 0},
        ),
        "control_plane.entrance is api_gateway, network.function_in_vpc is true and",
    ),
    (
        "one_task_has_one_of_each",
        fargate(control_plane={"one_task": True, "triggerers": 2}),
        "control_plane.triggerers is 2 and control_plane.one_task is true",
    ),
    (
        "one_task_has_one_of_each",
        fargate(control_plane={"one_task": True, "sizes": {"triggerer": {}}}),
        "control_plane.sizes names triggerer and control_plane.one_task is true",
    ),
    (
        "office_hours_have_a_beginning_and_an_end",
        fargate(control_plane={"office_hours": {"opens": "07:00"}}),
        "control_plane.office_hours.opens is 07:00 and control_plane.office_hours.closes is None",
    ),
    (
        "office_hours_have_a_beginning_and_an_end",
        fargate(control_plane={"office_hours": {"opens": "19:00", "closes": "07:00"}}),
        "control_plane.office_hours.closes is 07:00, allowed is a time after",
    ),
    (
        "somebody_opens_the_tunnel",
        fargate(control_plane={"entrance": "none"}),
        "control_plane.entrance is none and control_plane.execute_command is false",
    ),
    (
        "each_scheduler_has_a_results_queue",
        fargate(control_plane={"schedulers": 2}),
        "control_plane.schedulers is 2 and execution.results_queues is 1",
    ),
    (
        "internet_needs_a_certificate",
        fargate(control_plane={"allowed_cidrs": ["10.0.0.0/8", "0.0.0.0/0"]}),
        "control_plane.allowed_cidrs has a public range and control_plane.certificate_arn is null",
    ),
    (
        "certificate_has_a_domain_name",
        fargate(control_plane={"certificate_arn": CERTIFICATE}),
        "control_plane.domain_name is null and control_plane.certificate_arn is set",
    ),
    (
        "certificate_has_a_domain_name",
        fargate(control_plane={"domain_name": "airflow.example.com"}),
        "control_plane.certificate_arn is null and control_plane.domain_name is airflow.example",
    ),
    (
        "certificate_is_in_the_region",
        {
            "region": "us-east-1",
            **fargate(
                control_plane={"certificate_arn": CERTIFICATE, "domain_name": "airflow.test"}
            ),
        },
        "control_plane.certificate_arn is in eu-west-1, allowed is the stage's region, us-east-1",
    ),
    (
        "somebody_may_open_the_ui",
        fargate(network={**EXISTING, "function_in_vpc": True, "nat_gateways": 0}),
        "control_plane.allowed_cidrs is empty and network.vpc_id is vpc-",
    ),
    (
        "fargate_size_exists",
        fargate(control_plane={"cpu": 4096, "memory_mb": 4096}),
        "control_plane.memory_mb is 4096, allowed with cpu 4096 is 8192 to 30720",
    ),
    (
        "fargate_size_exists",
        fargate(control_plane={"sizes": {"scheduler": {"cpu": 256, "memory_mb": 4096}}}),
        "control_plane.sizes.scheduler.memory_mb is 4096, allowed with cpu 256 is 1024 to 2048",
    ),
    (
        "fargate_size_exists",
        fargate(control_plane={"memory_mb": 2500}),
        "control_plane.memory_mb is 2500, allowed with cpu 1024 is 2048 to 8192 in steps of 1024",
    ),
    (
        "existing_key_is_the_customers",
        {"encryption": {"key_arn": KEY}},
        'encryption.key_arn is set and encryption.key is "aws"',
    ),
    (
        "existing_key_is_in_the_region",
        {"region": "us-east-1", "encryption": {"key": "customer", "key_arn": KEY}},
        "encryption.key_arn is in eu-west-1, allowed is the stage's region, us-east-1",
    ),
    (
        "budget_has_a_reader",
        {"observability": {"budget_usd_month": 50}},
        "observability.budget_usd_month is 50 and observability.alarm_email is null",
    ),
    (
        "region_has_what_is_asked_for",
        {"region": "us-gov-west-1", "functions": [{**LARGE, "tenant_isolation": True}]},
        "functions[].tenant_isolation is asked for and region is us-gov-west-1",
    ),
    (
        "existing_image_is_in_the_region",
        {"region": "us-east-1", "image": {"uri": IMAGE}},
        "image.uri is in eu-west-1, allowed is the stage's region, us-east-1",
    ),
    (
        "region_gives_the_account_as_many_zones",
        {"region": "us-west-1", "network": {"max_azs": 3}},
        "network.max_azs is 3 and region is us-west-1, allowed is 2",
    ),
    (
        "zones_are_in_the_region",
        {"region": "us-east-1", "network": EXISTING},
        'network.availability_zones has "eu-west-1a", allowed are zones of the stage\'s region',
    ),
)

#: Overrides that touch a relation's border from inside.
HOLDING: tuple[Mapping[str, Any], ...] = (
    {"execution": {"event_age_s": 600}},
    {"execution": {"results_retention_s": 901, "results_visibility_s": 60}},
    {"execution": {"results_retention_s": 1001, "results_visibility_s": 1000}},
    {"execution": {"results_retention_s": 1801}, **default(timeout_s=1800)},
    default(timeout_s=1800, stop_margin_s=1799, kill_margin_s=300),
    default(snap_start=True, ephemeral_storage_mb=512, architecture="arm64"),
    default(snap_start=False, provisioned_concurrency=1),
    {"image": {"uri": IMAGE}, **default(snap_start=True)},
    {"region": "eu-west-1", **default(snap_start=True)},
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
    {"region": "us-west-1"},
    {"region": "us-west-2", "network": {"max_azs": 3}},
    {"region": "us-west-1", "network": {"max_azs": 3}, "database": {"enabled": False}},
    {"database": {"storage_gb": 100, "max_storage_gb": 100}},
    {"database": {"storage_gb": 100, "max_storage_gb": 110}},
    {"database": {"storage_gb": 65536}},
    {"database": {"snapshot_identifier": "rds:airflow-2026-11-29-03-12"}},
    {"region": "eu-west-1", "database": {"snapshot_identifier": SNAPSHOT}},
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
    """Values that are fine alone but not together are refused by the relation, with a way out."""
    lines = refusal(override)
    (line,) = (line for line in lines if expected in line)
    assert ", allowed" in line
    assert re.search(r": (add|change|correct|lower|raise|remove|rename|use) ", line), line
    others = tuple(other for other in RELATIONS if other.__name__ != relation)
    monkeypatch.setattr("stacks.config.relations.RELATIONS", others)
    assert line not in refusal(override)


@pytest.mark.parametrize("override", HOLDING, ids=str)
def test_relation_that_just_holds_is_taken(override: Mapping[str, Any]) -> None:
    """Each relation refuses no more than it says."""
    load(STAGES, "dev", override)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({}, True),
        (default(snap_start=False), False),
        (default(provisioned_concurrency=1), False),
        (default(ephemeral_storage_mb=513), False),
        ({"functions": [{**LARGE, "tenant_isolation": True}]}, False),
        ({"region": "eu-west-1"}, True),
        ({"region": "ap-east-2"}, False),
        ({"region": "ap-southeast-6"}, False),
        ({"region": "us-gov-west-1"}, False),
        ({"region": "cn-north-1"}, False),
        ({"image": {"uri": IMAGE}}, False),
        ({"image": {"uri": IMAGE}, **default(snap_start=True)}, True),
        ({"image": {"python_version": "3.13"}}, True),
    ],
    ids=str,
)
def test_a_function_starts_from_a_snapshot_where_it_may(
    override: Mapping[str, Any], expected: bool
) -> None:
    """Nobody has to ask for it, and what Lambda would refuse is not asked of it."""
    stage = load(STAGES, "dev", override)
    assert stage.starts_from_snapshot(stage.functions[-1]) is expected


def test_functions_without_a_default_one_are_refused() -> None:
    """One function is the default: an override cannot say so, as it adds to what there is."""
    stages = {"dev": {**STAGES["dev"], "functions": [LARGE]}}
    with pytest.raises(StageConfigError, match=r'have the names large, allowed .* one "default"'):
        load(stages, "dev")


def test_every_relation_is_broken_by_a_test() -> None:
    """A relation without a test here would be a relation that nobody has seen work."""
    tested = {relation for relation, _, _ in BROKEN} | {"one_function_is_the_default"}
    assert tested == {relation.__name__ for relation in RELATIONS}


def test_all_broken_relations_are_told_at_once() -> None:
    """A person corrects all of them after one synth, not one per synth."""
    with pytest.raises(StageConfigError) as refused:
        load(STAGES, "dev", {"network": {"nat_gateways": 3}, "execution": {"event_age_s": 601}})
    assert "network.nat_gateways is 3" in str(refused.value)
    assert "execution.event_age_s is 601" in str(refused.value)


def test_checked_configuration_has_nothing_broken() -> None:
    """What was loaded holds every relation, asked again."""
    assert broken(load(STAGES, "dev")) == []


def test_every_relation_is_documented_with_its_reason() -> None:
    """The reference page has a sentence for each relation."""
    page = render()
    for relation in RELATIONS:
        title = relation.__name__.replace("_", " ").capitalize()
        assert re.search(rf"\*\*{title}\.\*\* \S.{{19,}}", page), title


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.setting)
def test_what_a_region_lacks_is_said_by_aws(gap: Any) -> None:
    """Nothing is refused on hearsay: each gap names the page of AWS that says so."""
    assert gap.source.startswith("https://docs.aws.amazon.com/")
