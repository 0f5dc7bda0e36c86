"""EFS's file systems: ministack keeps their records, and here each has a folder of the machine.

A function or container mounts the folder of an access point, and needs a role that may do so.
https://docs.aws.amazon.com/efs/latest/ug/iam-access-control-nfs-efs.html
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import efs

from local_aws.lambda_service.model import FunctionVersion
from local_aws.on_ministack.lambda_roles import missing_permission
from local_aws.sandbox.mount import Mount

_Record = Mapping[str, Any]
_ACTIONS = ("elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite")


class FileSystems:
    """The files of all file systems, in a folder; as the records, they end with the process."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder

    def of_function(self, function: FunctionVersion) -> tuple[Mount, ...]:
        """What a function mounts.

        Raises:
            ValueError: An access point does not exist, or its role may not mount it.
        """
        with request_scope(function.account, function.region):
            return tuple(
                Mount(self._open(arn.rpartition("/")[2], function.role), Path(path))
                for arn, path in function.file_systems
            )

    def of_container(
        self, points: Sequence[_Record], volumes: Sequence[_Record], role: str | None
    ) -> tuple[Mount, ...]:
        """What a container mounts, in the scope of its account and Region.

        Args:
            points: Its mount points.
            volumes: Those of its task or job definition.
            role: The ARN of its role; None: it has none.

        Raises:
            ValueError: A volume is missing or of another kind, its access point does not exist, or
                the role may not mount it.
        """
        return tuple(self._mounts(points, volumes, role))

    def _mounts(
        self, points: Sequence[_Record], volumes: Sequence[_Record], role: str | None
    ) -> Iterator[Mount]:
        by_name = {volume["name"]: volume for volume in volumes}
        for point in points:
            name = point.get("sourceVolume")
            volume = by_name.get(name, {}).get("efsVolumeConfiguration") or {}
            authorization = volume.get("authorizationConfig") or {}
            if not authorization.get("accessPointId") or authorization.get("iam") != "ENABLED":
                raise ValueError(
                    f"the volume {name} is not a file system with an access point and IAM, and the "
                    "embedded AWS has no other: add authorizationConfig, or leave it out"
                )
            if volume.get("transitEncryption") != "ENABLED":
                raise ValueError(f"the volume {name} uses IAM: enable its transitEncryption")
            if point.get("readOnly"):
                raise ValueError(
                    f"the embedded AWS has no volumes for reading only: leave out {name}'s readOnly"
                )
            folder = self._open(authorization["accessPointId"], role)
            yield Mount(folder, Path(point["containerPath"]))

    def _open(self, access_point_id: str, role: str | None) -> Path:
        """Return the folder of an access point, which is made when it is first mounted."""
        record = efs._access_points.get(access_point_id)
        if record is None:
            raise ValueError(f"the access point {access_point_id} does not exist")
        file_system = efs._file_systems[record["FileSystemId"]]
        context = {"elasticfilesystem:AccessPointArn": record["AccessPointArn"]}
        if role is None:
            raise ValueError(f"without a role nobody may mount {access_point_id}")
        needed = [(action, file_system["FileSystemArn"]) for action in _ACTIONS]
        if reason := missing_permission(role, needed, context):
            raise ValueError(reason)
        path = (record.get("RootDirectory") or {}).get("Path", "/").strip("/")
        folder: Path = self._folder / record["FileSystemId"] / path
        folder.mkdir(parents=True, exist_ok=True)
        return folder
