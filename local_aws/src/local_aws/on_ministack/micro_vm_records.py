"""What the API of MicroVMs says of images and their versions, in ministack's records."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.services import lambda_microvms

from local_aws.micro_vm_service.hooks import Hooks
from local_aws.on_ministack.lambda_roles import not_assumable

Record = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]

#: What a version has of the request that made it.
CONFIGURATION = (
    *("baseImageArn", "baseImageVersion", "buildRoleArn", "codeArtifact", "cpuConfigurations"),
    *("additionalOsCapabilities", "description", "egressNetworkConnectors", "hooks", "logging"),
    *("environmentVariables", "resources"),
)
_REQUIRED = ("baseImageArn", "buildRoleArn", "codeArtifact")
_NAME = re.compile(r"[a-zA-Z0-9-_]{1,64}")
_ARN = re.compile(r"arn:[a-z0-9-]+:lambda:[a-z0-9-]*:[a-z0-9]*:microvm-image:([^:]+)")
_BASE = re.compile(r"arn:[a-z0-9-]+:lambda:[a-z0-9-]+:aws:microvm-image:.+")
#: Gigabytes of the disk by megabytes of memory; an image gets the first that has enough memory.
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_DISK_GB = {512: 8, 1024: 8, 2048: 8, 4096: 16, 8192: 32}
_DEFAULT_MEMORY_MB = 2048

_STATUS = {
    "ValidationException": 400,
    "ServiceQuotaExceededException": 402,
    "ResourceNotFoundException": 404,
    "ConflictException": 409,
    "ThrottlingException": 429,
}


class RefusedError(Exception):
    """A request is refused; `code` is the API's name of the error."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code

    @property
    def answer(self) -> Answer:
        """The answer to the request."""
        answer: Answer = error_response_json(self.code, str(self), _STATUS[self.code])
        return answer


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a MicroVM."""

    memory_mb: int
    disk_gb: int

    @classmethod
    def of(cls, resources: list[Record] | None) -> Size:
        """The smallest size with the memory of the parameter.

        Raises:
            RefusedError: There is none.
        """
        wanted_mb = _DEFAULT_MEMORY_MB
        if resources:
            wanted_mb = int(resources[0]["minimumMemoryInMiB"])
        for memory_mb, disk_gb in _DISK_GB.items():
            if wanted_mb <= memory_mb:
                return cls(memory_mb, disk_gb)
        largest_mb = max(_DISK_GB)
        raise invalid(f"minimumMemoryInMiB is {wanted_mb}; the most is {largest_mb}")


def invalid(reason: str) -> RefusedError:
    """The refusal of a request that is wrong in itself."""
    return RefusedError("ValidationException", reason)


def request_of(body: bytes) -> Record:
    """The parameters of a request.

    Raises:
        RefusedError: It is no JSON object.
    """
    try:
        request = json.loads(body or b"{}")
    except ValueError as e:
        raise invalid("the request is no JSON") from e
    if not isinstance(request, dict):
        raise invalid("the request is no JSON object")
    return request


def text(status: int, content: Mapping[str, Any]) -> Answer:
    """An answer with what is known."""
    known = {name: value for name, value in content.items() if value is not None}
    answer: Answer = json_response(known, status)
    return answer


def image_name(identifier: str) -> str:
    """The name in an image's ARN.

    Raises:
        RefusedError: It is no ARN.
    """
    found = _ARN.fullmatch(identifier)
    if found is None:
        raise invalid(f"imageIdentifier must be the ARN of a MicroVM image, not {identifier!r}")
    return found[1]


def find_image(identifier: str) -> Record:
    """The record of an image.

    Raises:
        RefusedError: There is none.
    """
    record: Record | None = lambda_microvms._images.get(image_name(identifier))
    if record is None:
        raise RefusedError("ResourceNotFoundException", f"MicroVM image {identifier} not found")
    return record


def image_arn(name: str) -> str:
    """The ARN of an image, whose last separator is a colon on AWS."""
    return f"arn:aws:lambda:{get_region()}:{get_account_id()}:microvm-image:{name}"


def check_name(name: object) -> str:
    """The name of a new image.

    Raises:
        RefusedError: It is none, or an image has it.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid(f"name must be 1 to 64 of the characters a-z A-Z 0-9 - _, not {name!r}")
    if name in lambda_microvms._images:
        raise RefusedError("ConflictException", f"MicroVM image {name} already exists")
    return name


def check_configuration(request: Record) -> None:
    """Refuse what cannot be built in any case.

    Raises:
        RefusedError: Something is missing or wrong.
    """
    for name in _REQUIRED:
        if not request.get(name):
            raise invalid(f"{name} is required")
    if not _BASE.fullmatch(str(request["baseImageArn"])):
        raise invalid(f"baseImageArn is no managed MicroVM image: {request['baseImageArn']}")
    try:
        Hooks.read(request.get("hooks"))
    except ValueError as e:
        raise invalid(str(e)) from e
    Size.of(request.get("resources"))
    if reason := not_assumable(request["buildRoleArn"]):
        raise invalid(reason)


def new_image(name: str, request: Record) -> Record:
    """The record of a new image without a version."""
    return {
        "name": name,
        "imageArn": image_arn(name),
        "imageVersion": "0",
        "createdAt": now_s(),
        "tags": request.get("tags"),
    }


def new_version(image: Record, request: Record) -> Record:
    """The record of the image's next version, which is being built."""
    return {
        **{name: request.get(name) for name in CONFIGURATION},
        "imageArn": image["imageArn"],
        "imageVersion": str(int(image["imageVersion"]) + 1),
        "state": "IN_PROGRESS",
        "status": "INACTIVE",
        "createdAt": now_s(),
        "updatedAt": now_s(),
        "tags": image.get("tags"),
    }


def now_s() -> int:
    """The time as the API writes it."""
    return int(time.time())
