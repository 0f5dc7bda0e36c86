"""One change of each option of a stage, mostly generated from the types of the configuration.

Numbers, texts and lists change together, because they move nothing; what switches parts of a stage
on or off changes alone, and so does everything that a deploy refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stacks.config import FunctionConfig, StageConfig
from stacks.config.loading import _merged
from tests.synth.assembly import config_of
from tests.synth.variants import PERMISSIONS

_ARN = "arn:aws:{service}:eu-west-1:123456789012:{rest}"
_UUID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
_CERTIFICATE = _ARN.format(service="acm", rest=f"certificate/{_UUID}")

Override = Mapping[str, Any]

#: All that a stage with a control plane can have, on the stage `dev`.
ALL_OPTIONS: Override = {
    "account": "123456789012",
    "region": "eu-west-1",
    "encryption": {"key": "customer"},
    "network": {"function_in_vpc": True, "nat_gateways": 1, "flow_logs": True},
    "database": {"proxy": True, "rotation_days": 30},
    "functions": [
        {"name": "default"},
        {"name": "large", "queues": ["large"], "timeout_s": 600},
    ],
    "dags": {"source": "s3"},
    "logs": {"remote": "s3"},
    "control_plane": {
        "kind": "fargate",
        "entrance": "load_balancer",
        "certificate_arn": _CERTIFICATE,
        "domain_name": "airflow.example.com",
        "allowed_cidrs": ["10.0.0.0/8"],
        "one_task": False,
        "spot": False,
        "public_addresses": False,
    },
    "observability": {"dashboard": True, "alarm_email": "oncall@example.com"},
}

#: The stages that are changed.
BASES: Mapping[str, Override] = {"dev": {}, "all options": ALL_OPTIONS}

#: Another value of what has no generated one.
GIVEN: Override = {
    "encryption.key_arn": _ARN.format(service="kms", rest=f"key/{_UUID}"),
    "network.cidr": "10.43.0.0/16",
    "database.instance_class": "db.t4g.small",
    "database.name": "metadata",
    "database.rotation_days": None,
    "database.max_storage_gb": 100,
    "database.snapshot_identifier": "before-the-upgrade",
    "image.uri": f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/airflow@sha256:{64 * 'a'}",
    "image.airflow_version": "3.2.2",
    "image.base_image": f"public.ecr.aws/lambda/python:3.12@sha256:{64 * '0'}",
    "targets": [{"kind": "batch", "name": "long", "queues": ["long"]}],
    "shared_files.mount": "/mnt/shared",
    "workloads.environment": PERMISSIONS["environment"],
    "workloads.secrets": PERMISSIONS["secrets"],
    "workloads.policies": PERMISSIONS["policies"],
    "workloads.statements": PERMISSIONS["statements"],
    "dags.s3_key": "team/dags/",
    "control_plane.certificate_arn": None,
    "control_plane.memory_mb": 4096,
    "control_plane.sizes": {"scheduler": {"cpu": 2048, "memory_mb": 4096}},
    "control_plane.allowed_cidrs": ["8.8.8.0/24"],
    "control_plane.office_hours.opens": "07:30",
    "control_plane.environment": PERMISSIONS["environment"],
    "control_plane.secrets": PERMISSIONS["secrets"],
    "control_plane.policies": PERMISSIONS["policies"],
    "control_plane.statements": PERMISSIONS["statements"],
    "observability.alarm_email": "team@example.com",
    "observability.budget_usd_month": 50,
    "observability.runbook_url": "https://wiki.example.com/runbook",
    "functions[large].queues": ["large", "huge"],
    "functions[large].environment": PERMISSIONS["environment"],
    "functions[large].secrets": PERMISSIONS["secrets"],
    "functions[large].policies": PERMISSIONS["policies"],
    "functions[large].statements": PERMISSIONS["statements"],
    "functions[large].reserved_concurrency": 2,
    "functions[large].provisioned_concurrency": 1,
    "functions[large].snap_start": False,
}

#: Options that are not changed, and why.
LEFT_OUT = {
    "account": "Another account has none of the stage's resources.",
    "region": "Another Region has none of the stage's resources.",
    "network.vpc_id": "A VPC of somebody else's comes with all its subnets, as another stage.",
    "network.availability_zones": "Only with vpc_id.",
    "network.private_subnet_ids": "Only with vpc_id.",
    "network.isolated_subnet_ids": "Only with vpc_id.",
    "network.public_subnet_ids": "Only with vpc_id.",
    "image.dags": "It changes what is in the image.",
    "image.requirements": "It changes what is in the image.",
    "dags.bundles": "With dags.source.",
    "control_plane.domain_name": "With certificate_arn.",
    "control_plane.office_hours.closes": "With opens.",
    "control_plane.office_hours.days": "With opens.",
    "control_plane.office_hours.time_zone": "With opens.",
    "execution.execution_api_url": "With control_plane.kind.",
    "functions[large].name": "Another name is another function.",
    "functions[large].stop_margin_s": "With kill_margin_s.",
    "functions[large].kill_margin_s": "A variable of the function.",
}


_ELSEWHERE: Override = {
    "control_plane": {"kind": "none"},
    "execution": {"execution_api_url": "https://airflow.example.com/execution/"},
}
_CLOSES: Override = {"control_plane": {"office_hours": {"closes": "19:00"}}}
_API_GATEWAY: Override = {
    "control_plane": {
        "entrance": "api_gateway",
        "certificate_arn": None,
        "domain_name": None,
        "allowed_cidrs": ["0.0.0.0/0"],
    }
}

#: What a change needs beside it, so that the configuration is allowed; by stage and option.
COMPANIONS: Mapping[tuple[str, str], Override] = {
    ("dev", "encryption.key_arn"): {"encryption": {"key": "customer"}},
    ("dev", "network.function_in_vpc"): {"network": {"nat_gateways": 1}},
    ("dev", "control_plane.kind"): _ELSEWHERE,
    ("dev", "control_plane.entrance"): {"network": {"function_in_vpc": True, "nat_gateways": 1}},
    ("dev", "control_plane.triggerers"): {"control_plane": {"one_task": False}},
    ("dev", "control_plane.office_hours.opens"): _CLOSES,
    ("dev", "control_plane.public_addresses"): {"network": {"nat_gateways": 1}},
    ("all options", "network.endpoints"): {"network": {"nat_gateways": 0}},
    ("all options", "network.function_in_vpc"): {
        **_API_GATEWAY,
        "database": {"proxy": False},
    },
    ("all options", "database.enabled"): {
        **_ELSEWHERE,
        "database": {"proxy": False, "rotation_days": None},
    },
    ("all options", "database.deletion_protection"): {"removal": "retain"},
    ("all options", "image.uri"): {"functions": [{"name": "large", "architecture": "arm64"}]},
    ("all options", "dags.source"): {
        "dags": {
            "bundles": [
                {
                    "name": "team",
                    "classpath": "airflow.providers.git.bundles.git.GitDagBundle",
                    "kwargs": {"git_conn_id": "team", "subdir": "dags"},
                }
            ]
        }
    },
    ("all options", "control_plane.kind"): _ELSEWHERE,
    ("all options", "control_plane.entrance"): _API_GATEWAY,
    ("all options", "control_plane.office_hours.opens"): _CLOSES,
    ("all options", "control_plane.certificate_arn"): {"control_plane": {"domain_name": None}},
    ("all options", "control_plane.schedulers"): {"execution": {"results_queues": 2}},
}

#: What is neither a switch nor a choice, but adds, removes or replaces resources.
ALONE = (
    "control_plane.allowed_cidrs",
    "control_plane.certificate_arn",
    "control_plane.office_hours.opens",
    "control_plane.triggerers",
    "database.name",
    "database.rotation_days",
    "database.snapshot_identifier",
    "encryption.key_arn",
    "execution.results_queues",
    "image.uri",
    "network.cidr",
    "network.max_azs",
    "network.nat_gateways",
    "shared_files.mount",
)

#: The sections of which `dev` chooses something else than the stage with all options.
_OF_DEV = ("control_plane.", "encryption.", "network.")
_NOT_OF_DEV = (
    "control_plane.allowed_cidrs",
    "control_plane.certificate_arn",
    "control_plane.execute_command",
)


def options() -> Iterator[tuple[str, FieldInfo]]:
    """Yield every option of a stage and of one of its functions that is changed."""
    for option, field in (*_fields(StageConfig), *_fields(FunctionConfig, "functions[large].")):
        if option not in LEFT_OUT:
            yield option, field


def alone(base: str) -> list[str]:
    """The options of a stage that change alone."""
    return [
        option
        for option, field in options()
        if option in ALONE or field.annotation is bool or get_origin(field.annotation) is Literal
        if base != "dev" or (option.startswith(_OF_DEV) and option not in _NOT_OF_DEV)
    ]


def together() -> list[str]:
    """The options that change together."""
    return [option for option, _ in options() if option not in alone("all options")]


def changed(base: str, *names: str) -> Override:
    """A stage with other values of some options."""
    values = config_of("dev", BASES[base]).model_dump(mode="json")
    override = BASES[base]
    for option, field in options():
        if option in names:
            value = GIVEN[option] if option in GIVEN else _other(field, _at(values, option))
            override = _merged(override, _nested(option, value))
            override = _merged(override, COMPANIONS.get((base, option), {}))
    return override


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        type_ = field.annotation
        if isinstance(type_, type) and issubclass(type_, BaseModel):
            yield from _fields(type_, f"{prefix}{name}.")
        elif f"{prefix}{name}" != "functions":
            yield f"{prefix}{name}", field


def _other(field: FieldInfo, value: Any) -> Any:
    """Another allowed value."""
    if isinstance(value, bool):
        return not value
    if get_origin(field.annotation) is Literal:
        choices = get_args(field.annotation)
        return choices[(choices.index(value) + 1) % len(choices)]
    if isinstance(value, int):
        return value - 1 if Le(value) in field.metadata else value + 1
    raise LookupError(f"no other value of {value!r} can be generated: give one in GIVEN")


def _at(values: Mapping[str, Any], option: str) -> Any:
    section, _, name = option.rpartition(".")
    if section == "functions[large]":
        (of_function,) = (f for f in values["functions"] if f["name"] == "large")
        return of_function[name]
    found: Any = values
    for key in option.split("."):
        found = found[key]
    return found


def _nested(option: str, value: Any) -> Override:
    section, _, name = option.rpartition(".")
    if section == "functions[large]":
        return {"functions": [{"name": "large", name: value}]}
    nested: Any = value
    for key in reversed(option.split(".")):
        nested = {key: nested}
    found: Override = nested
    return found
