"""What happens to a running stage when one of its options changes.

CloudFormation makes a replacement before it deletes the original. So AWS refuses a change if the
original has the name, or holds what the replacement needs; and CloudFormation refuses to change or
remove what another stack still imports.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.synth.assembly import Assembly, config_of, synthesize
from tests.synth.changes import ALONE, BASES, GIVEN, LEFT_OUT, alone, changed, options, together
from tests.synth.judge.replacement import Change
from tests.synth.variants import ROOT

PAGE = "docs/howto/upgrade-and-rollback.md"

#: Changes that are refused, in one direction at least, and how the page lists them.
REFUSED: Mapping[str, str] = {
    # For good, or as long as there is a control plane:
    "database.name": "Another `database.name`, `database.snapshot_identifier` or",
    "database.snapshot_identifier": "Another `database.name`, `database.snapshot_identifier` or",
    "encryption.key": "| `encryption.key`, `encryption.key_arn`, unless",
    "encryption.key_arn": "| `encryption.key`, `encryption.key_arn`, unless",
    "functions[large].tenant_isolation": "| `functions[].tenant_isolation` |",
    "network.cidr": "| `network.cidr` |",
    # Until other stacks are deployed, or gone:
    "control_plane.allowed_cidrs": "| `control_plane.allowed_cidrs` without a public range",
    "control_plane.entrance": "**`control_plane.entrance` and `public_addresses`**",
    "control_plane.kind": "destroy it by name while the stage still has it",
    "control_plane.office_hours.opens": "| `control_plane.office_hours` off |",
    "control_plane.public_addresses": "**`control_plane.entrance` and `public_addresses`**",
    "dags.source": "| `dags.source` from `s3` to another",
    "database.enabled": "destroy it by name while the stage still has it",
    "database.proxy": "| `database.proxy` off",
    "database.rotation_days": "`database.rotation_days` null |",
    "logs.remote": "| `logs.remote` from one to another",
    "network.endpoints": "| `network.endpoints` off",
    "network.function_in_vpc": "| `network.function_in_vpc` off |",
    "shared_files.mount": "| `shared_files.mount` null |",
    "network.max_azs": "| fewer `network.max_azs` |",
}


@pytest.fixture(scope="session")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Assembly]:
    """A stage before it changes, synthesized once."""
    made: dict[str, Assembly] = {}

    def get(base: str) -> Assembly:
        if base not in made:
            made[base] = synthesize(tmp_path_factory.mktemp("base"), "dev", BASES[base])
        return made[base]

    return get


def refusals(before: Assembly, after: Assembly) -> list[str]:
    """Why the change is refused, forwards or backwards."""
    return [*Change(before, after).refusals(), *Change(after, before).refusals()]


@pytest.mark.parametrize(
    ("base", "option"), [(base, option) for base in BASES for option in alone(base)]
)
def test_what_is_refused_is_documented(
    base: str, option: str, base_of: Callable[[str], Assembly], tmp_path: Path
) -> None:
    """An option can be changed and changed back, or the page says that it cannot."""
    found = refusals(base_of(base), synthesize(tmp_path, "dev", changed(base, option)))
    if option not in REFUSED:
        assert found == []
    elif base == "all options":
        assert found, f"{option} is refused no more: take it from the page and from here"
        assert REFUSED[option] in " ".join((ROOT / PAGE).read_text().split())


def test_numbers_and_texts_can_be_changed(
    base_of: Callable[[str], Assembly], tmp_path: Path
) -> None:
    """Everything else can be changed at once, and changed back."""
    after = synthesize(tmp_path, "dev", changed("all options", *together()))
    assert refusals(base_of("all options"), after) == []


def test_nothing_is_held_by_what_is_replaced(
    base_of: Callable[[str], Assembly], tmp_path: Path
) -> None:
    """A load balancer that goes on the Internet takes its target group with it."""
    after = synthesize(tmp_path, "dev", changed("all options", "control_plane.allowed_cidrs"))
    change = Change(base_of("all options"), after)
    assert ("control-plane", "EntranceLoadBalancerF84991F0") in change.replaced
    assert [refusal for refusal in change.refusals() if "stays with" in refusal] == []


def test_every_option_is_changed() -> None:
    """Each option of the configuration is changed, or is left out for a reason."""
    names = {option for option, _ in options()}
    assert names >= GIVEN.keys() | set(ALONE) | REFUSED.keys()
    assert not names & LEFT_OUT.keys()
    assert {*alone("all options"), *together()} == names


def stage(folder: Path, **templates: Mapping[str, Any]) -> Assembly:
    """A stage of the given templates."""
    folder.mkdir()
    for part, template in templates.items():
        path = folder / f"airflow-lambda-dev-{part}.template.json"
        path.write_text(json.dumps({"Resources": {}, **template}))
    return Assembly("dev", config_of("dev"), folder)


def queue(name: str) -> Mapping[str, Any]:
    """A queue with a name of its own."""
    return {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": name}}


def test_replacements_go_on_to_what_refers_to_them(tmp_path: Path) -> None:
    """What can only be made for the old one is replaced, too."""
    policy = {"Type": "AWS::S3::BucketPolicy", "Properties": {"Bucket": {"Ref": "Bucket"}}}
    old, new = (
        stage(
            tmp_path / name,
            storage={
                "Resources": {
                    "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": name}},
                    "Policy": policy,
                }
            },
        )
        for name in ("old", "new")
    )
    assert Change(old, new).replaced == {
        ("storage", "Bucket"): "BucketName changes",
        ("storage", "Policy"): "Bucket is Bucket, which is replaced",
    }


def test_a_name_that_is_taken_is_found(tmp_path: Path) -> None:
    """The same parameter under another logical id is one too many."""
    parameter = {"Type": "AWS::SSM::Parameter", "Properties": {"Name": "/name", "Value": "value"}}
    old, new = (
        stage(tmp_path / id, execution={"Resources": {id: parameter}}) for id in ("Old", "New")
    )
    (refusal,) = Change(old, new).refusals()
    assert refusal.startswith("execution/New (AWS::SSM::Parameter) exists already")


def test_what_is_still_imported_is_found(tmp_path: Path) -> None:
    """An export that another stack imports can neither change nor go."""
    user = {"Outputs": {"Out": {"Value": {"Fn::ImportValue": "network:Url"}}}}
    export = {"Out": {"Value": {"Ref": "Queue"}, "Export": {"Name": "network:Url"}}}
    old, other, without = (
        stage(
            tmp_path / folder,
            network={"Resources": {"Queue": queue(name)}, "Outputs": outputs},
            storage=user,
        )
        for folder, name, outputs in (
            ("old", "one", export),
            ("other", "two", export),
            ("without", "one", {}),
        )
    )
    assert [*Change(old, other).refusals()] == [
        "network exports Url to storage, and it changes",
    ]
    assert [*Change(old, without).refusals()] == ["network exports Url to storage, and it goes"]


def test_what_the_old_owner_holds_is_found(tmp_path: Path) -> None:
    """A target group does not go over to another load balancer."""

    def resources(scheme: str) -> Mapping[str, Any]:
        forward = {"Type": "forward", "TargetGroupArn": {"Ref": "Group"}}
        elb = "AWS::ElasticLoadBalancingV2"
        return {
            "Balancer": {"Type": f"{elb}::LoadBalancer", "Properties": {"Scheme": scheme}},
            "Group": {"Type": f"{elb}::TargetGroup", "Properties": {}},
            "Listener": {
                "Type": f"{elb}::Listener",
                "Properties": {"LoadBalancerArn": {"Ref": "Balancer"}, "DefaultActions": [forward]},
            },
        }

    old, new = (
        stage(tmp_path / scheme, network={"Resources": resources(scheme)})
        for scheme in ("internal", "internet-facing")
    )
    (refusal,) = Change(old, new).refusals()
    assert refusal.startswith("network/Group stays with the old Listener")
