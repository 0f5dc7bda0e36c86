"""The file system that tasks share: who mounts it, who gets in, and what is left of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.synth.judge.rendered import Rendering
from tests.synth.policies import listed, statements
from tests.synth.variants import VARIANTS

pytestmark = pytest.mark.filterwarnings("error")

_CLIENT = "elasticfilesystem:"


@pytest.fixture
def shared(renderings: dict[str, Rendering]) -> Rendering:
    """The variant with shared files and targets of every kind."""
    return renderings["shared-files"]


def only(stage: Rendering, type_: str) -> dict[str, Any]:
    """The properties of the only resource of a type."""
    (found,) = stage.resources(type_)
    return dict(found.properties)


def test_functions_jobs_and_tasks_mount_the_same_folder(shared: Rendering) -> None:
    """Whoever writes there, the others find it under the same path."""
    function = only(shared, "AWS::Lambda::Function")
    (mounted,) = function["FileSystemConfigs"]
    access_point = mounted["Arn"].rpartition("/")[2]
    assert mounted["LocalMountPath"] == "/mnt/shared"
    definitions = [
        (definition.properties["ContainerProperties"], "Efs", definition)
        for definition in shared.resources("AWS::Batch::JobDefinition")
    ]
    assert len(definitions) == 2
    for container, _, definition in definitions:
        (volume,) = container["Volumes"]
        (point,) = container["MountPoints"]
        found = volume["EfsVolumeConfiguration"]
        assert (point["SourceVolume"], point["ContainerPath"]) == (volume["Name"], "/mnt/shared")
        assert not point.get("ReadOnly")
        assert found["TransitEncryption"] == "ENABLED", definition
        assert found["AuthorizationConfig"] == {"AccessPointId": access_point, "Iam": "ENABLED"}
    task = only(shared, "AWS::ECS::TaskDefinition")
    (volume,) = task["Volumes"]
    ((container,),) = (task["ContainerDefinitions"],)
    (point,) = container["MountPoints"]
    found = volume["EFSVolumeConfiguration"]
    assert (point["SourceVolume"], point["ContainerPath"]) == (volume["Name"], "/mnt/shared")
    assert point["ReadOnly"] is False
    assert found["TransitEncryption"] == "ENABLED"
    assert found["AuthorizationConfig"] == {"AccessPointId": access_point, "IAM": "ENABLED"}


def test_nothing_starts_from_a_snapshot_beside_it(shared: Rendering) -> None:
    """Lambda refuses both together; `snap_start: null` is off."""
    assert "SnapStart" not in only(shared, "AWS::Lambda::Function")


def test_each_role_gets_in_by_the_access_point(shared: Rendering) -> None:
    """Functions, jobs and tasks may mount and write, only there; MicroVMs may not."""
    access_point = only(shared, "AWS::Lambda::Function")["FileSystemConfigs"][0]["Arn"]
    may = []
    for policy in shared.resources("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        for statement in statements(policy):
            actions = listed(statement["Action"])
            if any(action.startswith(_CLIENT) for action in actions):
                assert statement["Condition"] == {
                    "StringEquals": {"elasticfilesystem:AccessPointArn": access_point}
                }
                assert actions == [
                    "elasticfilesystem:ClientMount",
                    "elasticfilesystem:ClientWrite",
                ]
                may.append(policy.logical_id)
    assert len(may) == len(set(may)) == 4  # the function, two of Batch, one of ECS


def test_all_files_have_one_owner(shared: Rendering) -> None:
    """The user of a function is another one than that of a container, and both write."""
    point = only(shared, "AWS::EFS::AccessPoint")
    user = point["PosixUser"]
    acl = point["RootDirectory"]["CreationInfo"]
    assert (user["Uid"], user["Gid"]) == (acl["OwnerUid"], acl["OwnerGid"])
    assert user["Uid"] != "0"
    assert acl["Permissions"] == "750"


def test_nobody_gets_in_without_tls_and_a_role(shared: Rendering) -> None:
    """The policy allows nothing, so only roles do."""
    file_system = only(shared, "AWS::EFS::FileSystem")
    (statement,) = file_system["FileSystemPolicy"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert file_system["Encrypted"] is True
    assert ":key/" in file_system["KmsKeyId"]


def test_only_workloads_reach_it(shared: Rendering) -> None:
    """NFS from the security group of functions and containers, in each zone of theirs."""
    targets = list(shared.resources("AWS::EFS::MountTarget"))
    subnets = {target.properties["SubnetId"] for target in targets}
    function = only(shared, "AWS::Lambda::Function")["VpcConfig"]
    assert subnets == set(function["SubnetIds"])
    ((group,),) = {tuple(target.properties["SecurityGroups"]) for target in targets}
    (rule,) = (
        r.properties
        for r in shared.resources("AWS::EC2::SecurityGroupIngress")
        if r.properties["GroupId"] == group
    )
    assert (rule["FromPort"], rule["ToPort"]) == (2049, 2049)
    assert [rule["SourceSecurityGroupId"]] == function["SecurityGroupIds"]


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "shared-files"])
def test_without_it_there_is_nothing_of_it(variant: str, renderings: dict[str, Rendering]) -> None:
    """A stage that does not ask for it has none of it."""
    assert not [r for r in renderings[variant].resources() if r.type.startswith("AWS::EFS::")]
