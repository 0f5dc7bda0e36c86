"""Policies see `aws:SecureTransport` as true.

Clients reach AWS over TLS, but this AWS uses plain HTTP on loopback. Under `--auth`, policies that
deny insecure transport (CDK's bootstrap bucket, a queue with `enforce_ssl`) would deny everything.
"""

from __future__ import annotations

from ministack import app


def apply() -> None:
    """Mark every request as secure."""
    stock = app.pin_request_origin

    def pin_request_origin(source_ip: str, _secure_transport: bool) -> None:
        stock(source_ip, True)

    app.pin_request_origin = pin_request_origin
