"""Policies see `aws:SecureTransport` as true.

Clients reach AWS over TLS, but this AWS uses plain HTTP on loopback. Under `--auth`, policies that
deny insecure transport (CDK's bootstrap bucket, a queue with `enforce_ssl`) would deny everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ministack import app

if TYPE_CHECKING:
    from local_aws.images.store import ImageStore


def apply(_images: ImageStore) -> None:
    """Mark every request as secure."""
    stock = app.pin_request_origin

    def pin_request_origin(source_ip: str, _secure_transport: bool) -> None:
        stock(source_ip, True)

    app.pin_request_origin = pin_request_origin
