"""MicroVM images: ministack keeps their records, and every version is really built."""

from __future__ import annotations

import logging
import re
import threading
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import lambda_microvms

from local_aws.images.store import Image, ImageError, ImageStore
from local_aws.images.store import image_name as name_in_store
from local_aws.micro_vm_service.dockerfile import Dockerfile, DockerfileError
from local_aws.micro_vm_service.hooks import Hooks
from local_aws.micro_vm_service.image_build import BuildError, ImageVersion
from local_aws.micro_vm_service.metadata import MetadataService
from local_aws.on_ministack import micro_vm_records as records
from local_aws.on_ministack.lambda_roles import missing_permission
from local_aws.on_ministack.micro_vm_logs import log_writer
from local_aws.on_ministack.micro_vm_records import Answer, Record, RefusedError, Size
from local_aws.on_ministack.role_sessions import session_in
from local_aws.sandbox.sandbox import Confinement, RuntimeCommand

logger = logging.getLogger("local_aws.on_ministack.micro_vm_images")

_BUSY = ("CREATING", "UPDATING")


@dataclass(slots=True)
class Version:
    """A version of an image.

    Attributes:
        record: What the API says of it.
        image: None: it has not been built so far that there is something to end.
    """

    record: Record
    account: str
    region: str
    image: ImageVersion | None = None


class MicroVmImages:
    """Answers the requests about images, and builds their versions on threads.

    Args:
        client_variables: They point the AWS clients in a MicroVM at this AWS.
        metadata: Has the build role's session while an image is built.
    """

    def __init__(
        self,
        images: ImageStore,
        client_variables: Mapping[str, str],
        confinement: Confinement,
        metadata: MetadataService,
    ) -> None:
        self._images = images
        # The SDKs wait one second for the metadata service. Here it shares the CPUs.
        self._variables = {**client_variables, "AWS_METADATA_SERVICE_TIMEOUT": "10"}
        # MicroVMs get their credentials there.
        self._variables.pop("AWS_EC2_METADATA_DISABLED", None)
        self._metadata = metadata
        self._confinement = confinement
        self._lock = threading.RLock()
        self._versions: dict[str, dict[str, Version]] = {}  # By the image's ARN.

    def create(self, body: bytes) -> Answer:
        """CreateMicrovmImage."""
        request = records.request_of(body)
        name = records.check_name(request.get("name"))
        records.check_configuration(request)
        image = lambda_microvms._images[name] = records.new_image(name, request)
        return self._begin(image, request, "CREATING", 201)

    def update(self, identifier: str, body: bytes) -> Answer:
        """UpdateMicrovmImage, which replaces all of the configuration."""
        request, image = records.request_of(body), records.find_image(identifier)
        records.check_configuration(request)
        if image["state"] in _BUSY:
            raise RefusedError(
                "ConflictException", f"MicroVM image {identifier} is {image['state']}"
            )
        return self._begin(image, request, "UPDATING", 200)

    def delete(self, identifier: str) -> Answer:
        """DeleteMicrovmImage; an image that is gone is deleted once more."""
        name = records.image_name(identifier)
        if lambda_microvms._images.get(name) is not None:
            del lambda_microvms._images[name]
            with self._lock:
                versions = self._versions.pop(identifier, {}).values()
            for version in versions:
                if version.image:
                    version.image.retire()
        return records.text(200, {"imageIdentifier": identifier, "state": "DELETED"})

    def get_version(self, identifier: str, number: str) -> Answer:
        """GetMicrovmImageVersion."""
        return records.text(200, self.find(identifier, number).record)

    def list_versions(self, identifier: str) -> Answer:
        """ListMicrovmImageVersions, in one page."""
        records.find_image(identifier)
        with self._lock:
            found = [version.record for version in self._versions.get(identifier, {}).values()]
        items = [{k: v for k, v in record.items() if v is not None} for record in found]
        return records.text(200, {"items": items})

    def delete_version(self, identifier: str, number: str) -> Answer:
        """DeleteMicrovmImageVersion; the active one of an image stays."""
        version = self.find(identifier, number)
        if records.find_image(identifier).get("latestActiveImageVersion") == number:
            raise RefusedError("ConflictException", f"version {number} of {identifier} is active")
        with self._lock:
            del self._versions[identifier][number]
        if version.image:
            version.image.retire()
        state = {"imageIdentifier": identifier, "imageVersion": number, "state": "DELETED"}
        return records.text(200, state)

    def find(self, identifier: str, number: str) -> Version:
        """A version.

        Raises:
            RefusedError: There is none.
        """
        records.find_image(identifier)
        with self._lock:
            version = self._versions.get(identifier, {}).get(number)
        if version is None:
            raise RefusedError(
                "ResourceNotFoundException",
                f"MicroVM image version {identifier}/{number} not found",
            )
        return version

    def close(self) -> None:
        """End all snapshots."""
        with self._lock:
            versions = [v for of_image in self._versions.values() for v in of_image.values()]
        for version in versions:
            if version.image:
                version.image.end()

    def _begin(self, image: Record, request: Record, state: str, status: int) -> Answer:
        version = Version(records.new_version(image, request), get_account_id(), get_region())
        number = version.record["imageVersion"]
        image |= {name: request.get(name) for name in records.CONFIGURATION}
        image |= {"imageVersion": number, "state": state, "updatedAt": records.now_s()}
        with self._lock:
            self._versions.setdefault(image["imageArn"], {})[number] = version
        answer = records.text(status, image)
        threading.Thread(
            target=self._build, args=[image, version], name="image-build", daemon=True
        ).start()
        return answer

    def _build(self, image: Record, version: Version) -> None:
        """Build a version, and write into the records how it went."""
        scope, role = (version.account, version.region), version.record["buildRoleArn"]
        # https://docs.aws.amazon.com/lambda/latest/dg/microvms-security.html: the hooks of the
        # build run under the build role.
        metadata = self._metadata.add(partial(session_in, scope, role, "build"))
        done, number = image["state"].removesuffix("ING"), version.record["imageVersion"]
        changes: Record
        try:
            with request_scope(*scope):
                built = self._prepare(image, version.record)
                with self._lock:
                    version.image = built
                if lambda_microvms._images.get(image["name"]) is not image:
                    built.retire()
                built.build({"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata})
        except BuildError as e:
            reason = str(e)
        except Exception as e:
            logger.exception("cannot build the MicroVM image %s", image["imageArn"])
            reason = f"the embedded AWS cannot build it: {e!r}"
        else:
            reason = ""
        finally:
            self._metadata.remove(metadata)
        with self._lock:
            if reason:
                changes = {"state": "FAILED", "stateReason": reason}
                image |= {
                    "state": "CREATE_FAILED" if done == "CREAT" else "UPDATE_FAILED",
                    "latestFailedImageVersion": number,
                }
            else:
                changes = {"state": "SUCCESSFUL", "status": "ACTIVE"}
                image |= {"state": f"{done}ED", "latestActiveImageVersion": number}
            version.record |= {**changes, "updatedAt": records.now_s()}
            image["updatedAt"] = records.now_s()

    def _prepare(self, image: Record, record: Record) -> ImageVersion:
        """Read the artifact.

        Raises:
            BuildError: It cannot be built here.
        """
        role, uri = record["buildRoleArn"], str(record["codeArtifact"].get("uri"))
        _check_permissions(role, [("s3:GetObject", f"arn:aws:s3:::{uri.removeprefix('s3://')}")])
        try:
            dockerfile = Dockerfile.read(_dockerfile(uri))
            _check_permissions(role, _pulling(name_in_store(dockerfile.image)))
            found = Image.read(self._images.find(name_in_store(dockerfile.image)))
        except DockerfileError as e:
            raise BuildError(str(e)) from e
        except ImageError as e:
            raise BuildError(f"FROM {dockerfile.image}: {e}") from e
        folder = Path(dockerfile.working_directory or found.working_directory)
        if not folder.is_dir():
            raise BuildError(f"the image has no folder {folder} (WORKDIR): leave WORKDIR out")
        log: Callable[[str], None] = log_writer(image, record, record.get("logging"), "build")
        return ImageVersion(
            self._command(record, dockerfile, found, folder),
            Hooks.read(record.get("hooks")),
            self._confinement,
            log,
        )

    def _command(
        self, record: Record, dockerfile: Dockerfile, image: Image, folder: Path
    ) -> RuntimeCommand:
        size = Size.of(record.get("resources"))
        command = dockerfile.command
        if command is None:
            # In a Dockerfile, too, a new entry point leaves out the command of the image.
            command = image.command if dockerfile.entry_point is None else ()
        certificate = self._variables.get("AWS_CA_BUNDLE")
        arn = record["imageArn"]
        return RuntimeCommand(
            [*(dockerfile.entry_point or image.entry_point), *command],
            folder,
            {
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                **image.variables,
                **dockerfile.variables,
                **(record.get("environmentVariables") or {}),
                "AWS_REGION": get_region(),
                "AWS_LAMBDA_MICROVM_IMAGE_NAME": records.image_name(arn),
                "AWS_LAMBDA_MICROVM_IMAGE_ARN": arn,
                "AWS_LAMBDA_MICROVM_IMAGE_VERSION": record["imageVersion"],
                **self._variables,
            },
            memory_mb=size.memory_mb,
            tmp_mb=size.disk_gb * 1024,
            readable=(*image.readable, *([Path(certificate)] if certificate else [])),
            writable=image.writable,
        )


def _check_permissions(role: str, needed: Iterable[tuple[str, str]]) -> None:
    """Raise a `BuildError` if the build role lacks a permission."""
    if reason := missing_permission(role, needed):
        raise BuildError(reason)


def _pulling(name: str) -> list[tuple[str, str]]:
    """What it takes to pull an image from ECR, given its name behind the registry's.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policy-examples.html
    """
    repository = re.split("[@:]", name)[0]
    arn = f"arn:aws:ecr:{get_region()}:{get_account_id()}:repository/{repository}"
    return [
        ("ecr:GetAuthorizationToken", "*"),
        ("ecr:BatchGetImage", arn),
        ("ecr:GetDownloadUrlForLayer", arn),
    ]


def _dockerfile(uri: str) -> str:
    """The Dockerfile of a code artifact.

    Raises:
        BuildError: There is none.
    """
    try:
        data = lambda_microvms._s3_artifact_bytes(uri)
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return archive.read("Dockerfile").decode()
    except KeyError as e:
        raise BuildError(f"{uri} has no Dockerfile at its root") from e
    except (OSError, ValueError, zipfile.BadZipFile) as e:
        raise BuildError(f"the code artifact {uri} cannot be read: {e}") from e
