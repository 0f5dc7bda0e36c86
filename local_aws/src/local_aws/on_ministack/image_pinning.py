"""A function keeps the image that its tag named when its code was set.

Lambda resolves a tag to a digest then, and runs that image until the code is updated, wherever
the tag moves meanwhile: https://docs.aws.amazon.com/lambda/latest/dg/images-create.html. The
digest is kept in the function's configuration, so that a published version has its own.
"""

from __future__ import annotations

import json
from functools import wraps
from typing import Any

from ministack.services import ecr, lambda_svc

from local_aws.images.store import ImageError, ImageStore, image_name


def install(images: ImageStore) -> None:
    """Pin after everything that sets a function's image, and tell it in GetFunction."""
    stock_create, stock_update = lambda_svc._create_function, lambda_svc._update_code
    stock_change, stock_get = lambda_svc._pool_kill_function, lambda_svc._get_function

    @wraps(stock_create)
    def create(request: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever ministack answers
        answer = stock_create(request)
        _pin_where_missing(images, request.get("FunctionName", ""))
        return answer

    @wraps(stock_update)
    def update(name: str, request: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
        record = lambda_svc._functions.get(name)
        if record and "ImageUri" in request:
            record["config"].pop("ResolvedImageUri", None)
        answer = stock_update(name, request)
        _pin_where_missing(images, name)
        return answer

    @wraps(stock_change)
    def change(account: str, name: str) -> None:
        """What CloudFormation calls after it has made or changed a function."""
        stock_change(account, name)
        _pin_where_missing(images, name)

    @wraps(stock_get)
    def get(name: str, qualifier: str | None = None) -> Any:  # noqa: ANN401 - as above
        status, headers, body = stock_get(name, qualifier)
        answer = json.loads(body)
        pinned = answer.get("Configuration", {}).pop("ResolvedImageUri", None)
        if pinned is None:
            return status, headers, body
        answer["Code"]["ResolvedImageUri"] = pinned
        return status, headers, json.dumps(answer).encode()

    lambda_svc._create_function = create
    lambda_svc._update_code = update
    lambda_svc._pool_kill_function = change
    lambda_svc._get_function = get


def _pin_where_missing(images: ImageStore, function_name: str) -> None:
    record = lambda_svc._functions.get(function_name)
    if record is None:
        return
    for configuration in (record["config"], *(v["config"] for v in record["versions"].values())):
        uri = configuration.get("ImageUri")
        if uri and "ResolvedImageUri" not in configuration and (pinned := _pinned(images, uri)):
            configuration["ResolvedImageUri"] = pinned


def _pinned(images: ImageStore, uri: str) -> str | None:
    """The URI by digest; None when there is no such image, which its start will tell."""
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
