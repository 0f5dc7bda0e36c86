"""The API of Lambda MicroVMs: what ministack answers with records alone is answered here.

ministack keeps the records of images and MicroVMs, and describes and lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any
from urllib.parse import unquote

from ministack.services import lambda_microvms

from local_aws.images.store import ImageStore
from local_aws.micro_vm_service.limits import MicroVmLimits
from local_aws.micro_vm_service.metadata import MetadataService
from local_aws.on_ministack import managed_images, micro_vm_records
from local_aws.on_ministack.micro_vm_images import MicroVmImages
from local_aws.on_ministack.micro_vm_records import Answer, RefusedError, invalid
from local_aws.on_ministack.micro_vms import MicroVms
from local_aws.sandbox.sandbox import Confinement

_IMAGES = "/2025-09-09/microvm-images/"


class MicroVmApi:
    """Answers the requests that make, change or end something."""

    def __init__(
        self, images: MicroVmImages, micro_vms: MicroVms, metadata: MetadataService
    ) -> None:
        self._images = images
        self._micro_vms = micro_vms
        self._metadata = metadata

    @classmethod
    def make(
        cls,
        images: ImageStore,
        client_variables: Mapping[str, str],
        confinement: Confinement,
        limits: MicroVmLimits,
    ) -> MicroVmApi:
        """Make it; `client_variables` point the AWS clients in a MicroVM at this AWS."""
        metadata = MetadataService()
        built = MicroVmImages(images, client_variables, confinement, metadata)
        return cls(built, MicroVms(built, metadata, limits), metadata)

    def close(self) -> None:
        """Kill every MicroVM and end every snapshot. May be repeated."""
        self._micro_vms.close()
        self._images.close()
        self._metadata.close()

    def install(self) -> None:
        """Take over these operations of ministack; before the fixes, which check permissions."""
        images, micro_vms = self._images, self._micro_vms
        lambda_microvms._image_arn = micro_vm_records.image_arn
        # It would build and run with Docker.
        lambda_microvms._get_docker = lambda: None
        operations: dict[str, Callable[..., Answer]] = {
            "_create_microvm_image": images.create,
            "_update_microvm_image": images.update,
            "_delete_microvm_image": images.delete,
            "_get_microvm_image_version": images.get_version,
            "_list_microvm_image_versions": images.list_versions,
            "_delete_microvm_image_version": images.delete_version,
            "_run_microvm": micro_vms.run,
            "_terminate_microvm": micro_vms.terminate,
            "_suspend_microvm": _cannot_be_suspended,
            "_resume_microvm": _cannot_be_suspended,
        }
        for name, operation in operations.items():
            setattr(lambda_microvms, name, _answering(operation))
        _add_routes()


def _answering(operation: Callable[..., Answer]) -> Callable[..., Answer]:
    @wraps(operation)
    def answer(*arguments: str | bytes) -> Answer:
        try:
            return operation(*(unquote(a) if isinstance(a, str) else a for a in arguments))
        except RefusedError as e:
            return e.answer

    return answer


def _add_routes() -> None:
    """Lead requests to the operations that ministack does not know."""
    managed_images.add_path()
    managed_versions = _answering(managed_images.versions)
    stock = lambda_microvms.handle_request

    async def handle_request(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Any:  # noqa: ANN401 - ministack's answer
        _, of_images, rest = path.rstrip("/").partition(_IMAGES)
        identifier, of_versions, number = rest.partition("/versions")
        _, of_managed, managed = path.rstrip("/").partition(managed_images.PATH)
        match method:
            case "GET" if of_managed and managed:
                return managed_versions(managed[1:].removesuffix("/versions"))
            case "GET" if of_managed:
                return managed_images.images()
            case "DELETE" if of_images and number:
                return lambda_microvms._delete_microvm_image_version(identifier, number[1:])
            case "DELETE" if of_images:
                return lambda_microvms._delete_microvm_image(identifier)
            case "GET" if of_images and of_versions and not number:
                return lambda_microvms._list_microvm_image_versions(identifier)
        return await stock(method, path, headers, body, query)

    lambda_microvms.handle_request = handle_request


def _cannot_be_suspended(_micro_vm_id: str) -> Answer:
    raise invalid("the embedded AWS does not suspend MicroVMs")
