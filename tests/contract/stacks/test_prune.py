"""`make prune`: which versions of a stage's functions it deletes, and what it refuses."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

import prune
import stage_images
from tests.support.local_aws import ACCOUNT, REGION, Server, eventually
from tests.support.micro_vms import Image, built_image

STACK = "airflow-lambda-local-execution"
FUNCTION = "airflow-lambda-local"


class Deployed:
    """The function of the stage `local`, with eight versions; live is the sixth."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = server.client("lambda")
        role = {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": {"Statement": []}},
        }
        function = {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "FunctionName": FUNCTION,
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Handler": "index.handle",
                "Runtime": "python3.12",
                "Code": {"ZipFile": "def handle(event, context): pass"},
            },
        }
        template = {"Resources": {"Role": role, "Function": function}}
        formation = server.client("cloudformation")
        formation.create_stack(StackName=STACK, TemplateBody=json.dumps(template))
        eventually(lambda: self._status() == "CREATE_COMPLETE" or None)
        for number in range(1, 9):
            self.client.update_function_configuration(
                FunctionName=FUNCTION, MemorySize=128 + number
            )
            assert self.client.publish_version(FunctionName=FUNCTION)["Version"] == str(number)
        self.client.create_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="6")

    def versions(self) -> list[int]:
        """The numbers of the published versions."""
        listed = self.client.list_versions_by_function(FunctionName=FUNCTION)["Versions"]
        return [int(each["Version"]) for each in listed if each["Version"] != "$LATEST"]

    def delete(self) -> None:
        """Delete the stack."""
        self.server.client("cloudformation").delete_stack(StackName=STACK)
        eventually(lambda: self._status() == "" or None)

    def _status(self) -> str:
        listed = self.server.client("cloudformation").list_stacks()["StackSummaries"]
        found = {each["StackName"]: str(each["StackStatus"]) for each in listed}
        status = found.get(STACK, "")
        return "" if status == "DELETE_COMPLETE" else status


@pytest.fixture
def aws(local_aws: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The embedded AWS, as boto3 finds it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    return local_aws


@pytest.fixture
def deployed(aws: Server) -> Iterator[Deployed]:
    """The stage `local`, deployed eight times."""
    stage = Deployed(aws)
    yield stage
    stage.delete()


def test_the_live_version_stays_with_three_before_it_and_newer_ones(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default three deploys can still be undone, and each deleted version is named."""
    assert prune.main(["local"]) == 0
    assert deployed.versions() == [3, 4, 5, 6, 7, 8]
    assert capsys.readouterr().out == (
        f"{FUNCTION}: live is version 6; 6 of 8 versions stay\n"
        "  deleting version 1\n"
        "  deleting version 2\n"
    )


@pytest.mark.parametrize(("keep", "left"), [(0, [6, 7, 8]), (1, [5, 6, 7, 8]), (9, [*range(1, 9)])])
def test_how_many_versions_stay_can_be_said(deployed: Deployed, keep: int, left: list[int]) -> None:
    """`--keep` counts the versions before the live one."""
    assert prune.main(["local", "--keep", str(keep)]) == 0
    assert deployed.versions() == left


def test_of_micro_vms_the_active_version_stays_with_one_before_it(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also a version that a MicroVM runs. Each snapshot is paid for, and an image may have 50."""
    image = built_image(deployed.server)
    micro_vm = image.run({"wait": True})
    for number in range(2, 6):
        image.update(description=str(number))
        assert image.settled()["latestActiveImageVersion"] == str(number)
    stock = stage_images.resources_of
    micro_vms = "AWS::Lambda::MicrovmImage"
    monkeypatch.setattr(
        stage_images,
        "resources_of",
        lambda session, stack, kind: (
            [image.arn] if kind == micro_vms else stock(session, stack, kind)
        ),
    )
    try:
        assert prune.main(["local", "--keep", "9"]) == 0
        assert versions_of(image) == {"1", "2", "3", "4", "5"}
        assert prune.main(["local"]) == 0
        assert versions_of(image) == {"1", "4", "5"}
    finally:
        image.api.terminate_microvm(microvmIdentifier=micro_vm.id)
    micro_vm.ended()
    assert prune.main(["local", "--keep", "0"]) == 0
    assert versions_of(image) == {"5"}
    name = image.arn.rpartition(":")[2]
    assert capsys.readouterr().out.endswith(
        f"{name}: MicroVMs start from version 5; 1 of 3 versions stay, 1 of them with a snapshot: "
        "about $0.04 a month\n  deleting version 1\n  deleting version 4\n"
    )


def versions_of(image: Image) -> set[str]:
    """The numbers of an image's versions."""
    listed = image.api.list_microvm_image_versions(imageIdentifier=image.arn)["items"]
    return {version["imageVersion"] for version in listed}


def test_an_image_without_an_active_version_is_left_alone() -> None:
    """Nothing says which version is old."""
    failed = {"imageVersion": "1", "createdAt": dt.datetime(2026, 11, 30, tzinfo=dt.UTC)}
    assert prune.old_of_micro_vms([failed], None, set(), 0) == []


def test_a_dry_run_deletes_nothing(deployed: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    """`--dry-run` names what would be deleted."""
    assert prune.main(["local", "--keep", "4", "--dry-run"]) == 0
    assert len(deployed.versions()) == 8
    assert capsys.readouterr().out.endswith("7 of 8 versions stay\n  would delete version 1\n")


def other_alias(client: Any) -> None:
    """Give version 2 a name."""
    client.create_alias(FunctionName=FUNCTION, Name="other", FunctionVersion="2")


def part_of_an_alias(client: Any) -> None:
    """Send a tenth of the invocations of an alias to version 2."""
    client.create_alias(
        FunctionName=FUNCTION,
        Name="canary",
        FunctionVersion="6",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.1}},
    )


def provisioned(client: Any) -> None:
    """Keep an environment of version 2 warm."""
    client.put_provisioned_concurrency_config(
        FunctionName=FUNCTION, Qualifier="2", ProvisionedConcurrentExecutions=1
    )


@pytest.mark.parametrize("use", [other_alias, part_of_an_alias, provisioned])
def test_a_version_in_use_stays(deployed: Deployed, use: Callable[[Any], None]) -> None:
    """What an alias, a part of one, or provisioned concurrency uses is not deleted."""
    use(deployed.client)
    assert prune.main(["local", "--keep", "0"]) == 0
    assert deployed.versions() == [2, 6, 7, 8]


def test_a_function_without_the_alias_is_refused(deployed: Deployed) -> None:
    """Without the alias nothing says which versions are old."""
    deployed.client.delete_alias(FunctionName=FUNCTION, Name="live")
    with pytest.raises(SystemExit, match=f"{FUNCTION} has no version behind an alias live"):
        prune.main(["local"])
    assert len(deployed.versions()) == 8


@pytest.mark.usefixtures("aws")
def test_a_stage_that_is_not_deployed_is_an_error_with_the_place() -> None:
    """The message names the stack and where it was searched."""
    with pytest.raises(SystemExit) as ended:
        prune.main(["local"])
    assert str(ended.value) == (
        f"The stage local has no stack {STACK} in {REGION}, account {ACCOUNT}: deploy it first, or "
        "set AWS_REGION to the Region that it was deployed to.\n"
        "See docs/troubleshooting/deploy.md#old-versions-are-not-pruned"
    )


@pytest.mark.parametrize("keep", ["-1", "some", "1.5"])
def test_a_number_that_is_none_is_refused(keep: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--keep` takes whole numbers from 0."""
    with pytest.raises(SystemExit):
        prune.main(["local", f"--keep={keep}"])
    assert f"N is '{keep}', allowed is a whole number, 0 or more" in capsys.readouterr().err


@pytest.mark.parametrize("status", ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"])
def test_nothing_is_pruned_during_a_deploy(status: str) -> None:
    """The message names the stack and what to do; other stages do not matter."""
    other = {"StackName": "airflow-lambda-dev-execution", "StackStatus": "UPDATE_IN_PROGRESS"}
    prune.refuse_during_a_deploy(
        "local", [other, {"StackName": STACK, "StackStatus": "UPDATE_COMPLETE"}]
    )
    with pytest.raises(prune.PruneError, match=f"The stack {STACK} is {status}, .*: wait until"):
        prune.refuse_during_a_deploy("local", [{"StackName": STACK, "StackStatus": status}])


def test_what_another_stage_runs_is_in_use() -> None:
    """A stage may name an image of another stage's repository, by its digest."""
    registry = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    stages = {
        "dev": {"removal": "destroy"},
        "prod": {"image": {"uri": f"{registry}/airflow-lambda-dev@sha256:aa"}},
        "other": {"image": {"uri": f"{registry}/team/airflow-lambda-dev@sha256:bb"}},
        "third": {"image": {"uri": None}},
    }
    assert prune.named_by_stages(stages, "airflow-lambda-dev") == {"sha256:aa"}


def versions_with_snapshots(live: int, *snapshots: int) -> prune.Versions:
    """Versions 1 to 6 of a function, some with a snapshot, as Lambda lists them."""
    client = boto3.client("lambda", region_name=REGION)
    with Stubber(client) as answers:
        listed: list[dict[str, Any]] = [{"Version": "$LATEST", "MemorySize": 1024}]
        for number in range(1, 7):
            applied = "PublishedVersions" if number in snapshots else "None"
            snap_start = {"ApplyOn": applied, "OptimizationStatus": "On"}
            listed.append({"Version": str(number), "MemorySize": 1024, "SnapStart": snap_start})
        answers.add_response("list_versions_by_function", {"Versions": listed})
        alias = {"Name": "live", "FunctionVersion": str(live)}
        answers.add_response("list_aliases", {"Aliases": [alias]})
        return prune.versions_of(client, FUNCTION)


@pytest.mark.parametrize(
    ("snapshots", "keep", "old"),
    [
        ((1, 2, 3, 4, 5, 6), None, [1, 2, 3, 4]),
        ((5,), None, [1, 2, 3, 4]),
        ((6,), None, [1, 2]),
        ((), None, [1, 2]),
        ((1, 2, 3, 4, 5, 6), 3, [1, 2]),
        ((), 1, [1, 2, 3, 4]),
    ],
)
def test_of_versions_with_snapshots_one_is_the_way_back(
    snapshots: tuple[int, ...], keep: int | None, old: list[int]
) -> None:
    """They are charged for all the time, so fewer stay, unless a person says how many."""
    assert versions_with_snapshots(6, *snapshots).old(keep) == old


def test_a_snapshot_that_stays_is_named_with_its_price() -> None:
    """A GB for 730 hours; versions without a snapshot cost nothing."""
    versions = versions_with_snapshots(6, 4, 5, 6)
    assert prune._snapshots(versions, {3, 5, 6}) == (
        ", 2 of them with a snapshot: about $7.91 a month"
    )
    assert prune._snapshots(versions, {1, 2, 3}) == ""
