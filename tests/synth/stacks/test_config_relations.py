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
BATCH = {"kind": "batch", "name": "long", "queues": ["long"]}
ECS = {"kind": "ecs", "name": "huge", "queues": ["huge"]}
EC2 = {**BATCH, "capacity": "ec2"}


def targets(*targets: Mapping[str, Any], **more: object) -> Mapping[str, Any]:
    """An override with targets, and more."""
    return {"targets": list(targets), **more}


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


def micro_vms(**values: object) -> Mapping[str, Any]:
    """An override with a target of MicroVMs, in an account and a Region that has them."""
    target = {"kind": "microvm", "name": "long", "queues": ["long"]}
    return {"targets": [target], "account": "123456789012", "region": "eu-west-1", **values}


#: Relation, override that breaks it, part of what the person is told.
BROKEN: tuple[tuple[str, Mapping[str, Any], str], ...] = (
    (
        "queue_is_served_by_one_target",
        {**targets({**BATCH, "queues": ["large"]}), "functions": [LARGE]},
        'the queue "large" is in the queues of large and long, allowed is one function or target',
    ),
    (
        "queue_is_served_by_one_target",
        targets(BATCH, {**ECS, "queues": ["long"]}),
        'the queue "long" is in the queues of long and huge, allowed is one function or target',
    ),
    (
        "target_names_are_unique",
        targets(BATCH, {**ECS, "name": "lo-ng"}),
        "the target long and the target lo-ng have the same name without hyphens, allowed is",
    ),
    (
        "target_names_are_unique",
        {**targets({**BATCH, "name": "large"}), "functions": [LARGE]},
        "the function large and the target large have the same name without hyphens, allowed is",
    ),
    (
        "target_serves_a_queue",
        targets({**BATCH, "queues": []}),
        "targets[long].queues is [], allowed is at least one queue: add one or remove the target",
    ),
    (
        "targets_on_fargate_have_a_fargate_size",
        targets({**BATCH, "cpu": 3}),
        "targets[long].cpu is 3, allowed on Fargate is one of 0.25, 0.5, 1, 2, 4, 8, 16: change",
    ),
    (
        "targets_on_fargate_have_a_fargate_size",
        targets({**ECS, "cpu": 0.25}),
        "targets[huge].memory_mb is 4096, allowed with cpu 0.25 on Fargate is 512, 1024, 2048",
    ),
    (
        "targets_on_fargate_have_a_fargate_size",
        targets({**BATCH, "cpu": 8, "memory_mb": 17408}),
        "targets[long].memory_mb is 17408, allowed with cpu 8 on Fargate is 16384 to 61440 in",
    ),
    (
        "targets_on_fargate_have_a_fargate_disk",
        targets({**ECS, "disk_gb": 201}),
        "targets[huge].disk_gb is 201, allowed on Fargate is at most 200",
    ),
    (
        "targets_on_fargate_end_in_time",
        targets({**BATCH, "timeout_s": 1209601}),
        "targets[long].timeout_s is 1209601, allowed on Fargate is at most 1209600, 14 days",
    ),
    (
        "instances_are_on_ec2",
        targets({**BATCH, "gpu": 1}),
        'targets[long].gpu is 1 and its capacity is "fargate", allowed is 0: remove it, or use',
    ),
    (
        "instances_are_on_ec2",
        targets({**BATCH, "capacity": "fargate_spot", "instance_types": ["g5"]}),
        "targets[long].instance_types is ['g5'] and its capacity is \"fargate_spot\", allowed",
    ),
    (
        "instances_have_the_architecture",
        targets({**EC2, "gpu": 1, "architecture": "x86_64", "instance_types": ["g4dn", "m7g"]}),
        "targets[long].instance_types has m7g, which is arm64, and its architecture is x86_64",
    ),
    (
        "instances_have_the_architecture",
        targets({**EC2, "architecture": "arm64", "instance_types": ["m7g", "m7i.large"]}),
        "targets[long].instance_types has m7i.large, which is x86_64, and its architecture is",
    ),
    (
        "gpus_are_on_x86_64",
        targets({**EC2, "gpu": 1, "architecture": "arm64"}),
        "targets[long].gpu is 1 and its architecture is arm64, allowed is x86_64, for which alone",
    ),
    (
        "gpus_are_on_x86_64",
        targets({**EC2, "gpu": 2, "instance_types": ["g5g"]}, **default(architecture="arm64")),
        'use the architecture "x86_64" for this target',
    ),
    (
        "processors_on_ec2_are_whole",
        targets({**EC2, "cpu": 1.5}),
        "targets[long].cpu is 1.5, allowed on EC2 is a whole number",
    ),
    (
        "capacity_has_room_for_a_task",
        targets({**BATCH, "cpu": 8, "memory_mb": 16384, "most_cpu": 7}),
        "targets[long].cpu is 8, allowed is at most its most_cpu, 7: lower it, or raise most_cpu",
    ),
    (
        "jobs_start_while_their_payload_is_there",
        {"targets": [BATCH], "execution": {"task_queued_timeout_s": 86401}},
        "execution.task_queued_timeout_s is 86401, allowed with targets[long] is at most 86400",
    ),
    (
        "variables_of_jobs_are_not_those_of_batch",
        targets({**BATCH, "environment": {"AWS_BATCH_JOB_ID": "1"}}),
        "workloads and targets[long] have the variable AWS_BATCH_JOB_ID, allowed are names without",
    ),
    (
        "containers_reach_the_api_gateway",
        {
            **fargate(
                control_plane={"entrance": "api_gateway"},
                network={"function_in_vpc": False, "nat_gateways": 0, "endpoints": True},
            ),
            **targets(ECS, BATCH),
        },
        "targets[huge] and targets[long] are inside the VPC, control_plane.entrance is api_gateway",
    ),
    (
        "variables_have_free_names",
        targets({**ECS, "environment": {"AIRFLOW__LOGGING__REMOTE_LOGGING": "True"}}),
        "workloads and targets[huge] have the variable AIRFLOW__LOGGING__REMOTE_LOGGING, which",
    ),
    (
        "existing_image_has_one_architecture",
        targets({**BATCH, "architecture": "arm64"}, image={"uri": IMAGE}),
        "functions and targets have the architectures arm64 and x86_64 and image.uri names one",
    ),
    (
        "wiring_fits_into_its_parameter",
        targets({**ECS, "queues": [f"huge-{number}" for number in range(9)]}),
        "functions[].queues, targets[].queues and execution.results_queues make a parameter of",
    ),
    (
        "variables_have_free_names",
        {"workloads": {"environment": {"AWS_REGION": "eu-west-1"}}},
        "workloads and functions[default] have the variable AWS_REGION, which AWS itself sets",
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
        "micro_vms_are_in_a_region_that_has_them",
        micro_vms(region="eu-west-2"),
        "targets[long] runs MicroVMs and region is eu-west-2, allowed are ap-northeast-1, ",
    ),
    (
        "image_of_micro_vms_is_known_at_synth",
        micro_vms(account=None),
        "names the image's account and Region, and account is null, allowed are those",
    ),
    (
        "image_of_micro_vms_is_known_at_synth",
        micro_vms(account=None, region=None),
        "names the image's account and Region, and account and region are null",
    ),
    (
        "image_of_micro_vms_is_in_their_account",
        micro_vms(
            account="210987654321",
            image={"uri": IMAGE},
            **default(architecture="arm64"),
        ),
        "image.uri is in the account 123456789012, allowed is the stage's, 210987654321",
    ),
    (
        "existing_image_has_one_architecture",
        micro_vms(image={"uri": IMAGE}),
        "the architectures arm64 and x86_64 (MicroVMs always arm64) and image.uri names one image",
    ),
    (
        "kept_images_are_those_of_two_deploys",
        micro_vms(image={"keep_images": 3}),
        "image.keep_images is 3 and functions and targets have the architectures arm64 and x86_64 ",
    ),
    (
        "micro_vms_are_in_a_region_that_has_them",
        micro_vms(
            region=None,
            image={"uri": IMAGE.replace("eu-west-1", "eu-west-2")},
            **default(architecture="arm64"),
        ),
        "targets[long] runs MicroVMs and image.uri is in eu-west-2, allowed are ap-northeast-1, ",
    ),
    (
        "function_names_are_unique",
        {"functions": [{"name": "default"}, {"name": "default"}]},
        'functions have the name "default" 2 times, allowed is once',
    ),
    (
        "queue_is_served_by_one_target",
        {"functions": [LARGE, {"name": "huge", "queues": ["large"]}]},
        'the queue "large" is in the queues of large and huge, allowed is one function',
    ),
    (
        "queue_is_served_by_one_target",
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
        {
            **default(snap_start=True),
            "network": IN_VPC,
            "shared_files": {"mount": "/mnt/shared"},
        },
        "functions[default].snap_start is true and shared_files.mount is /mnt/shared, allowed is",
    ),
    (
        "shared_files_are_where_the_functions_are",
        {"shared_files": {"mount": "/mnt/shared"}},
        "shared_files.mount is /mnt/shared and network.function_in_vpc is false, allowed is true",
    ),
    (
        "region_has_what_is_asked_for",
        {"region": "ca-west-1", "network": IN_VPC, "shared_files": {"mount": "/mnt/shared"}},
        "shared_files.mount is asked for and region is ca-west-1, allowed are Regions that have it",
    ),
    (
        "tenants_share_no_files",
        {
            "functions": [{**LARGE, "tenant_isolation": True}],
            "network": IN_VPC,
            "shared_files": {"mount": "/mnt/shared"},
        },
        "shared_files.mount is /mnt/shared and functions[large].tenant_isolation is true, allowed",
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
        "functions and targets have the architectures arm64 and x86_64 and image.uri names one",
    ),
    (
        "kept_images_are_those_of_two_deploys",
        {
            "image": {"keep_images": 3},
            "functions": [{"name": "default"}, {**LARGE, "architecture": "arm64"}],
        },
        "image.keep_images is 3 and functions and targets have the architectures arm64 and x86_64,",
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
        "network.public_subnet_ids is [] and the load balancer, or what has public addresses, is",
    ),
    (
        "existing_vpc_is_left_as_it_is",
        {"network": {**EXISTING, "endpoints": True}},
        "network.endpoints is set and network.vpc_id is vpc-0a1b2c3d, allowed is false",
    ),
    (
        "existing_vpc_is_used",
        {"network": EXISTING, "database": {"enabled": False}},
        "database.enabled, or a target of batch or ecs, or remove it",
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
    targets(BATCH, ECS, {**BATCH, "name": "longest", "queues": ["longest"]}),
    targets({**BATCH, "cpu": 0.25, "memory_mb": 512}, {**ECS, "cpu": 16, "memory_mb": 122880}),
    targets({**ECS, "disk_gb": 200}, {**BATCH, "timeout_s": 1209600, "most_cpu": 1}),
    targets({**EC2, "gpu": 4, "cpu": 48, "memory_mb": 500000, "disk_gb": 900}),
    targets({**EC2, "gpu": 1, "architecture": "x86_64"}, **default(architecture="arm64")),
    targets({**EC2, "instance_types": ["m7g"], "architecture": "arm64", "timeout_s": 9999999}),
    targets({**EC2, "instance_types": ["g4dn", "g5.xlarge", "p6-b200", "i7ie", "optimal"]}),
    targets(
        {**EC2, "instance_types": ["a1", "c7gn.medium", "g5g", "im4gn", "is4gen", "x2gd"]},
        **default(architecture="arm64"),
    ),
    targets({**ECS, "environment": {"AIRFLOW__LAMBDA_EXECUTOR__KILL_MARGIN_S": "12"}}),
    targets(BATCH, image={"uri": IMAGE}, **default(architecture="arm64")),
    targets(ECS, network={"nat_gateways": 1}),
    targets(BATCH, network={"endpoints": True}),
    targets(BATCH, network=EXISTING),
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
