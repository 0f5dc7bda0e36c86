"""AWS's own images, which MicroVM images are made of: there is one, with one version."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ministack.core import router
from ministack.core.responses import get_region, json_response

from local_aws.on_ministack.micro_vm_records import Answer, RefusedError

PATH = "/2025-09-09/managed-microvm-images"
_NAME, _VERSION = "al2023-1", "1"
_CREATED_AT = datetime(2026, 6, 1, tzinfo=UTC).timestamp()


def add_path() -> None:
    """Have ministack lead requests about these images to the service of MicroVMs."""
    router._LAMBDA_MICROVM_PATH_RE = re.compile(
        rf"{router._LAMBDA_MICROVM_PATH_RE.pattern}|^{PATH}(?:/|$)"
    )


def images() -> Answer:
    """Answer ListManagedMicrovmImages."""
    answer: Answer = json_response({"items": [{"imageArn": _arn(), "createdAt": _CREATED_AT}]})
    return answer


def versions(arn: str) -> Answer:
    """Answer ListManagedMicrovmImageVersions.

    Raises:
        RefusedError: There is no such image.
    """
    if arn != _arn():
        raise RefusedError("ResourceNotFoundException", f"managed MicroVM image {arn} not found")
    version = {"imageArn": arn, "imageVersion": _VERSION, "status": "AVAILABLE"}
    answer: Answer = json_response({"items": [version | {"createdAt": _CREATED_AT}]})
    return answer


def _arn() -> str:
    return f"arn:aws:lambda:{get_region()}:aws:microvm-image:{_NAME}"
