"""Policies see `aws:SecureTransport` as true.

Clients reach AWS over TLS; this AWS speaks plain HTTP on loopback. Under `--auth` the usual
statements that deny insecure transport (the CDK bootstrap bucket's, a queue's with `enforce_ssl`)
would deny everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ministack import app

if TYPE_CHECKING:
    from local_aws.images.store import ImageStore


def apply(_images: ImageStore) -> None:
    """Say so for every request."""
    stock = app.pin_request_origin

    def pin_request_origin(source_ip: str, _secure_transport: bool) -> None:
        stock(source_ip, True)

    app.pin_request_origin = pin_request_origin
