"""Stages and combinations of options that together use every option at least once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONTEXT: Mapping[str, Any] = json.loads((ROOT / "cdk.json").read_text())["context"]
STAGES: tuple[str, ...] = tuple(CONTEXT["stages"])

_KEY = "arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
_IMAGE = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/airflow@sha256:{64 * 'a'}"
_URL = "https://airflow.example.com/execution/"

_SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf"
#: The four keys of what workloads, one function or Airflow's programs may do.
PERMISSIONS: Mapping[str, Any] = {
    "environment": {"ORDERS_BUCKET": "orders"},
    "secrets": {"AIRFLOW_CONN_ORDERS": _SECRET, "ORDERS_PASSWORD": f"{_SECRET}:password::"},
    "policies": ["arn:aws:iam::aws:policy/AmazonAthenaFullAccess"],
    "statements": [
        {
            "Sid": "ReadOrders",
            "Effect": "Allow",
            "Action": ["s3:Get*", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::orders", "arn:aws:s3:::orders/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "true"}},
        }
    ],
}

#: With NAT gateways, a key of the stage's own, several functions, all that a database can have.
_MUCH = {
    "account": "123456789012",
    "region": "eu-west-1",
    "encryption": {"key": "customer"},
    "network": {"function_in_vpc": True, "nat_gateways": 2, "max_azs": 3, "flow_logs": True},
    "database": {"proxy": True, "rotation_days": 30, "multi_az": True, "postgres_version": "16"},
    "image": {
        "keep_images": 5,
        "airflow_version": "3.2.2",
        "python_version": "3.13",
        "base_image": f"public.ecr.aws/lambda/python:3.13@sha256:{64 * 'b'}",
    },
    "functions": [
        {
            "name": "default",
            "architecture": "arm64",
            "timeout_s": 1800,
            "snap_start": True,
            "stop_margin_s": 60,
            "kill_margin_s": 20,
        },
        {
            "name": "large",
            "queues": ["large", "huge"],
            "memory_mb": 10240,
            "ephemeral_storage_mb": 10240,
            "reserved_concurrency": 8,
            "provisioned_concurrency": 2,
        },
        {"name": "per-tenant", "queues": ["tenants"], "tenant_isolation": True, "timeout_s": 60},
    ],
    "targets": [
        {"kind": "microvm", "name": "long", "queues": ["long"], "base_version": "2"},
        {
            "kind": "microvm",
            "name": "long-large",
            "queues": ["long-large"],
            "memory_mb": 8192,
            "timeout_s": 7200,
        },
    ],
    "dags": {"source": "s3", "s3_key": "team/dags/"},
    "logs": {"remote": "s3", "retention_days": 90},
    "control_plane": {"kind": "none"},
    "execution": {"execution_api_url": _URL, "results_queues": 3},
    "observability": {
        "dashboard": True,
        "alarm_email": "oncall@example.com",
        "runbook_url": "https://wiki.example.com/airflow-lambda/runbook",
        "budget_usd_month": 50,
    },
}

#: Nothing reaches the Internet; a key that exists already; DAG bundles.
_ENDPOINTS = {
    "encryption": {"key": "customer", "key_arn": _KEY},
    "network": {"function_in_vpc": True, "endpoints": True, "nat_gateways": 0},
    "database": {"rotation_days": 7},
    "dags": {
        "source": "bundle",
        "bundles": [
            {
                "name": "team",
                "classpath": "airflow.providers.git.bundles.git.GitDagBundle",
                "kwargs": {"git_conn_id": "team", "subdir": "dags"},
            }
        ],
    },
    "logs": {"remote": "cloudwatch"},
    "control_plane": {"kind": "none"},
    "execution": {"execution_api_url": "http://airflow.internal/execution/"},
}

#: Into somebody's VPC, from somebody's image that several functions run from, and their snapshot.
_EXISTING = {
    "network": {
        "vpc_id": "vpc-0a1b2c3d",
        "availability_zones": ["eu-west-1a", "eu-west-1b"],
        "private_subnet_ids": ["subnet-00000001", "subnet-00000002"],
        "isolated_subnet_ids": ["subnet-00000003", "subnet-00000004"],
        "function_in_vpc": True,
        "nat_gateways": 0,
        "flow_logs": False,
    },
    "database": {"snapshot_identifier": "before-the-move", "max_storage_gb": 200},
    "image": {"uri": _IMAGE},
    "functions": [
        {"name": "default"},
        {"name": "large", "queues": ["large"], "memory_mb": 10240, "architecture": "arm64"},
    ],
    "control_plane": {"kind": "none"},
    "execution": {"execution_api_url": _URL},
}

#: The least there can be: an Airflow elsewhere, no VPC, no repository, no database.
_LEAST = {
    "network": {"function_in_vpc": False, "nat_gateways": 0},
    "database": {"enabled": False},
    "image": {"uri": _IMAGE},
    "logs": {"remote": "none"},
    "control_plane": {"kind": "none"},
    "execution": {"execution_api_url": _URL},
    "observability": {"dashboard": False},
}

#: A control plane, and permissions of the owner's wherever there may be some.
_PERMITTED = {
    "workloads": PERMISSIONS,
    "functions": [
        {"name": "default"},
        {
            "name": "large",
            "queues": ["large"],
            "environment": {"ORDERS_BUCKET": "large-orders"},
            "secrets": {"OTHER_PASSWORD": f"{_SECRET[:-7]}-large-123456"},
            "policies": ["arn:aws:iam::123456789012:policy/team/large"],
            "statements": [{"Effect": "Deny", "Action": "*", "Resource": "arn:aws:s3:::secret/*"}],
        },
    ],
    "control_plane": {
        "kind": "fargate",
        "entrance": "none",
        "one_task": False,
        "spot": False,
        "public_addresses": False,
        **PERMISSIONS,
    },
    "network": {"function_in_vpc": True, "endpoints": True, "nat_gateways": 0},
    "execution": {"execution_api_url": None},
}

#: A control plane whose secrets and logs are encrypted with a key of the stage's own, by day only.
_ENCRYPTED = {
    "encryption": {"key": "customer"},
    "control_plane": {
        "office_hours": {
            "opens": "07:30",
            "closes": "19:00",
            "days": "MON-FRI",
            "time_zone": "Europe/Berlin",
        }
    },
}

#: Targets of every kind of capacity beside a control plane; their containers have addresses of
#: their own. Two job queues share a compute environment.
_TARGETS = {
    "encryption": {"key": "customer"},
    "workloads": PERMISSIONS,
    "dags": {"source": "s3"},
    "functions": [{"name": "default"}, {"name": "large", "queues": ["large"], "memory_mb": 10240}],
    "targets": [
        {"kind": "batch", "name": "long", "queues": ["long", "longer"], "timeout_s": 86400},
        {"kind": "batch", "name": "urgent", "queues": ["urgent"], "priority": 10, "disk_gb": 100},
        {"kind": "batch", "name": "cheap", "queues": ["cheap"], "capacity": "fargate_spot"},
        {
            "kind": "batch",
            "name": "train",
            "queues": ["train"],
            "capacity": "ec2",
            "architecture": "x86_64",
            "gpu": 1,
            "cpu": 4,
            "memory_mb": 14000,
            "policies": ["arn:aws:iam::123456789012:policy/team/train"],
        },
        {
            "kind": "ecs",
            "name": "huge",
            "queues": ["huge"],
            "cpu": 16,
            "memory_mb": 122880,
            "disk_gb": 200,
            "architecture": "arm64",
        },
        {"kind": "ecs", "name": "cheap-huge", "queues": ["cheap-huge"], "capacity": "fargate_spot"},
    ],
}

#: Containers reach AWS through endpoints, those of instances too; the functions are not in the VPC.
_TARGETS_INSIDE = {
    **_LEAST,
    "network": {"endpoints": True},
    "image": {"uri": None},
    "targets": [
        {
            "kind": "batch",
            "name": "cheap",
            "queues": ["cheap"],
            "capacity": "ec2_spot",
            "architecture": "arm64",
            "instance_types": ["m7g", "r7g.2xlarge"],
        },
        {"kind": "ecs", "name": "huge", "queues": ["huge"], "secrets": {"PASSWORD": _SECRET}},
    ],
}

#: Functions, jobs and tasks share files; MicroVMs and functions that start from snapshots do not.
_FILES = {
    **_LEAST,
    "account": "123456789012",
    "region": "eu-west-1",
    "removal": "retain",
    "encryption": {"key": "customer"},
    "network": {"function_in_vpc": True, "nat_gateways": 1},
    "image": {"uri": None},
    "functions": [{"name": "default", "snap_start": None}],
    "targets": [
        {"kind": "batch", "name": "long", "queues": ["long"]},
        {"kind": "batch", "name": "cheap", "queues": ["cheap"], "capacity": "ec2_spot"},
        {"kind": "ecs", "name": "huge", "queues": ["huge"]},
        {"kind": "microvm", "name": "hours", "queues": ["hours"]},
    ],
    "shared_files": {"mount": "/mnt/shared"},
}

#: Name to stage and override: every stage of `cdk.json`, and the combinations.
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{stage: (stage, {}) for stage in STAGES},
    "much": ("dev", _MUCH),
    "endpoints": ("dev", _ENDPOINTS),
    "existing": ("prod", _EXISTING),
    "least": ("dev", _LEAST),
    "permitted": ("dev", _PERMITTED),
    "encrypted": ("prod", _ENCRYPTED),
    "targets": ("dev", _TARGETS),
    "targets-inside": ("dev", _TARGETS_INSIDE),
    "shared-files": ("dev", _FILES),
}
