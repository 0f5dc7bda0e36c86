"""The stacks to deploy first when an option is turned off, as documented."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.synth.assembly import Assembly, synthesize
from tests.synth.variants import ROOT

PAGE = ROOT / "docs" / "howto" / "upgrade-and-rollback.md"

PUBLIC = {
    "allowed_cidrs": ["0.0.0.0/0"],
    "certificate_arn": "arn:aws:acm:eu-west-1:123456789012:certificate/"
    "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
    "domain_name": "airflow.example.com",
}
#: A stage in which everything is inside the VPC, and each program is a service.
INSIDE: Mapping[str, Any] = {
    "network": {"function_in_vpc": True, "nat_gateways": 1},
    "control_plane": {
        "entrance": "load_balancer",
        "one_task": False,
        "spot": False,
        "public_addresses": False,
    },
}
NO_CONTROL_PLANE: Mapping[str, Any] = {
    "control_plane": {"kind": "none"},
    "execution": {"execution_api_url": "https://airflow.example.com/execution/"},
}
#: Targets are the only code in the VPC, with addresses of their own.
CONTAINERS: Mapping[str, Any] = {
    **NO_CONTROL_PLANE,
    "network": {"function_in_vpc": False, "nat_gateways": 0},
}
TARGETS = [{"kind": kind, "name": kind, "queues": [kind]} for kind in ("batch", "ecs")]

#: By what the page's row begins with: what is changed of `INSIDE` before and after.
CHANGES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "`network.endpoints` off": ({"network": {"endpoints": True, "nat_gateways": 0}}, {}),
    "`network.function_in_vpc` off": (
        NO_CONTROL_PLANE,
        {**NO_CONTROL_PLANE, "network": {"function_in_vpc": False}},
    ),
    "`dags.source` from `s3`": ({"dags": {"source": "s3"}}, {}),
    "`shared_files.mount` null": ({"shared_files": {"mount": "/mnt/shared"}}, {}),
    "`logs.remote` from one": ({}, {"logs": {"remote": "cloudwatch"}}),
    "`control_plane.allowed_cidrs`": ({"control_plane": PUBLIC}, {}),
    "`control_plane.office_hours` off": (
        {"control_plane": {"office_hours": {"opens": "07:30", "closes": "19:00"}}},
        {},
    ),
    "`database.proxy` off": ({"database": {"proxy": True, "rotation_days": 30}}, {}),
    "fewer `network.max_azs`": ({"network": {"max_azs": 3}}, {}),
    "the last of the `targets`": ({**CONTAINERS, "targets": TARGETS}, CONTAINERS),
    "`network.nat_gateways` or": (
        {**CONTAINERS, "targets": TARGETS},
        {**CONTAINERS, "network": {"function_in_vpc": False, "nat_gateways": 1}},
    ),
}


def within_the_vpc(override: Mapping[str, Any]) -> Mapping[str, Any]:
    """The override over that of a stage with everything inside the VPC."""
    changed = {name: {**INSIDE[name], **override.get(name, {})} for name in INSIDE}
    return {**override, **changed}


def exports(assembly: Assembly, part: str) -> set[str]:
    """The names under which a stack's outputs may be imported."""
    outputs = assembly.json(part).get("Outputs", {}).values()
    return {json.dumps(output["Export"]["Name"]) for output in outputs if "Export" in output}


def imports(assembly: Assembly, part: str) -> set[str]:
    """The names that a stack imports."""

    def within(node: object) -> Iterator[str]:
        if isinstance(node, dict) and "Fn::ImportValue" in node:
            yield json.dumps(node["Fn::ImportValue"])
        elif isinstance(node, dict | list):
            for inner in node.values() if isinstance(node, dict) else node:
                yield from within(inner)

    return set(within(assembly.json(part)))


def rows() -> dict[str, list[str]]:
    """The page's table: the change, and the stacks to deploy first."""
    found = re.findall(r"^\| (.+) \| ([a-z, -]+?)(?:; .*)? \|$", PAGE.read_text(), re.MULTILINE)
    return {change: first.split(", ") for change, first in found}


@pytest.mark.parametrize("change", CHANGES)
def test_the_stacks_that_the_page_names_are_needed_and_enough(change: str, tmp_path: Path) -> None:
    """Only the documented stacks import the removed exports, and need no new ones."""
    (first,) = (parts for row, parts in rows().items() if row.startswith(change))
    before, after = (
        synthesize(tmp_path / str(number), "dev", within_the_vpc(override))
        for number, override in enumerate(CHANGES[change])
    )
    is_there = {part: exports(before, part) for part in before.parts}
    gone = set().union(*(is_there[part] - exports(after, part) for part in after.parts))
    assert [part for part in before.parts if gone & imports(before, part)] == first
    assert set().union(*(imports(after, part) for part in first)) <= set().union(*is_there.values())
    assert not gone & set().union(*(imports(after, part) for part in after.parts))
