"""Masks the credentials that no variable holds, because a client of AWS fetches them."""

from __future__ import annotations

from functools import wraps
from typing import Any

from botocore.utils import ContainerMetadataFetcher, InstanceMetadataFetcher

from lambda_image.logs import log_output


def mask() -> None:
    """Mask the credentials that a client is given from now on, from before it has them.

    Every client of botocore fetches them by one of these methods, at first and again when they
    expire: in a function with SnapStart and in a container of ECS from a URI, in another container
    on an instance from the instance's metadata.
    """
    log_output.share()
    _mask(ContainerMetadataFetcher, "retrieve_full_uri", ("SecretAccessKey", "Token"))
    _mask(ContainerMetadataFetcher, "retrieve_uri", ("SecretAccessKey", "Token"))
    _mask(InstanceMetadataFetcher, "retrieve_iam_role_credentials", ("secret_key", "token"))


def _mask(owner: type[Any], method: str, secret: tuple[str, ...]) -> None:
    fetch = getattr(owner, method)

    @wraps(fetch)
    def fetch_and_mask(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - botocore's
        answer = fetch(*args, **options)
        log_output.mask_shared(*filter(None, map(answer.get, secret)))
        return answer

    setattr(owner, method, fetch_and_mask)
