"""Image pinning: a function runs the image that its tag named when its code was set.

Lambda resolves the tag to a digest then: the function does not follow a moved tag until its code is
updated (https://docs.aws.amazon.com/lambda/latest/dg/images-create.html). The digest is kept in the
function's configuration, so every published version has its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from ministack.services import ecr, lambda_svc

from local_aws.images.store import ImageError, ImageStore, image_name


def install(images: ImageStore) -> None:
    """Pin after every operation that sets a function's image; show the digest in GetFunction."""
    stock_update, stock_get = lambda_svc._update_code, lambda_svc._get_function

    def pin_after(operation: str, name_of: Callable[..., str]) -> None:
        stock = getattr(lambda_svc, operation)

        @wraps(stock)
        def pinning(*arguments: Any) -> Any:  # noqa: ANN401 - whatever ministack passes
            answer = stock(*arguments)
            _pin_where_missing(images, name_of(*arguments))
            return answer

        setattr(lambda_svc, operation, pinning)

    @wraps(stock_update)
    def update(name: str, request: dict[str, Any]) -> Any:  # noqa: ANN401 - ministack's answer
        record = lambda_svc._functions.get(name)
        if record and "ImageUri" in request:
            record["config"].pop("ResolvedImageUri", None)
        return stock_update(name, request)

    @wraps(stock_get)
    def get(name: str, qualifier: str | None = None) -> Any:  # noqa: ANN401 - as above
        status, headers, body = stock_get(name, qualifier)
        answer = json.loads(body)
        pinned = answer.get("Configuration", {}).pop("ResolvedImageUri", None)
        if pinned is None:
            return status, headers, body
        answer["Code"]["ResolvedImageUri"] = pinned
        return status, headers, json.dumps(answer).encode()

    lambda_svc._update_code, lambda_svc._get_function = update, get
    pin_after("_create_function", lambda request: request.get("FunctionName", ""))
    pin_after("_update_code", lambda name, _request: name)
    # CloudFormation calls this after it has made or changed a function.
    pin_after("_pool_kill_function", lambda _account, name: name)


def _pin_where_missing(images: ImageStore, function_name: str) -> None:
    record = lambda_svc._functions.get(function_name)
    if record is None:
        return
    for configuration in (record["config"], *(v["config"] for v in record["versions"].values())):
        uri = configuration.get("ImageUri")
        if uri and "ResolvedImageUri" not in configuration and (pinned := _pinned(images, uri)):
            configuration["ResolvedImageUri"] = pinned


def _pinned(images: ImageStore, uri: str) -> str | None:
    """The URI by digest; None: there is no such image, and the function's start will fail."""
    name = image_name(uri)
    if "@" in name:
        return uri
    repository, _, tag = name.rpartition(":")
    found = ecr._find_image(repository, {"imageTag": tag})
    if found is None:
        return None
    digest = found["imageId"]["imageDigest"]
    try:
        images.name(f"{repository}@{digest}", images.find(name))
    except ImageError:
        return None
    return f"{uri.partition('/')[0]}/{repository}@{digest}"
