"""A task definition of a template has its secrets, its storage and its platform.

ministack's CloudFormation translates some properties of container definitions and leaves others as
they are (`Secrets` without the names that its ECS reads), and forgets `EphemeralStorage`,
`RuntimePlatform` and `Volumes`. Templates write file systems of EFS otherwise than the API.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-ecs-taskdefinition.html
"""

from __future__ import annotations

from typing import Any

from ministack.services import ecs

from local_aws.fixes.cloudformation._cloudformation import (
    Created,
    Properties,
    after_create_and_update,
    in_camel_case,
)

#: Their keys are the author's own.
_FREE = ("DockerLabels", "Options")
_FORGOTTEN = ("EphemeralStorage", "RuntimePlatform", "Volumes")


def apply() -> None:
    """Complete the record that ministack has made."""
    after_create_and_update("AWS::ECS::TaskDefinition", _complete)


def _complete(arn: str, properties: Properties, attributes: dict[str, Any]) -> Created:
    record = ecs._task_defs[arn.rpartition("/")[2]]
    containers = in_camel_case(properties.get("ContainerDefinitions", []), free=_FREE)
    record["containerDefinitions"] = [
        {"cpu": 0, "essential": True, **container} for container in containers
    ]
    kept = {name: properties[name] for name in _FORGOTTEN if name in properties}
    record.update(in_camel_case(kept, free=_FREE))
    for volume in record.get("volumes") or ():
        if "eFSVolumeConfiguration" in volume:
            volume["efsVolumeConfiguration"] = _as_api(volume.pop("eFSVolumeConfiguration"))
    return arn, attributes


def _as_api(file_system: dict[str, Any]) -> dict[str, Any]:
    """A file system of EFS as the API writes it.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_EFSVolumeConfiguration.html
    """
    names = {"filesystemId": "fileSystemId", "iAM": "iam"}
    return {
        names.get(name, name): _as_api(value) if isinstance(value, dict) else value
        for name, value in file_system.items()
    }
