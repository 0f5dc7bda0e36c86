"""A function cannot be created from an image that does not exist.

AWS's CreateFunction and UpdateFunctionCode, and so CloudFormation, answer "Source image ... does
not exist"; ministack accepts any text.
"""

from __future__ import annotations

from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import ecr, lambda_svc

from local_aws.fixes.cloudformation._cloudformation import Created, Properties, handler
from local_aws.images.store import image_name


def apply() -> None:
    """Check the image before every operation that sets it."""
    stock_create, stock_update = lambda_svc._create_function, lambda_svc._update_code
    function = handler("AWS::Lambda::Function")
    stock_provision = function["create"]

    def create(request: dict[str, Any]) -> tuple[Any, ...]:
        uri = (request.get("Code") or {}).get("ImageUri")
        return _refusal(uri) or tuple(stock_create(request))

    def update(name: str, request: dict[str, Any]) -> tuple[Any, ...]:
        return _refusal(request.get("ImageUri")) or tuple(stock_update(name, request))

    def provision(logical_id: str, properties: Properties, stack: str) -> Created:
        uri = (properties.get("Code") or {}).get("ImageUri")
        if problem := _problem(uri):
            raise ValueError(f"{problem} (Service: Lambda, Status Code: 400)")
        physical_id, attributes = stock_provision(logical_id, properties, stack)
        return physical_id, attributes

    lambda_svc._create_function = create
    lambda_svc._update_code = update
    function["create"] = provision


def _refusal(uri: str | None) -> tuple[Any, ...] | None:
    problem = _problem(uri)
    if problem is None:
        return None
    return tuple(error_response_json("InvalidParameterValueException", problem, 400))


def _problem(uri: str | None) -> str | None:
    if uri is None:
        return None
    name = image_name(uri)
    repository, separator, digest = name.partition("@")
    image_id = {"imageDigest": digest}
    if not separator:
        repository, _, tag = name.rpartition(":")
        image_id = {"imageTag": tag}
    if ecr._find_image(repository, image_id) is None:
        return f"Source image {uri} does not exist. Provide a valid source image."
    return None
