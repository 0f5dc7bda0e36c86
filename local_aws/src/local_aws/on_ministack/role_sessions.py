"""Sessions of roles: the credentials of what runs in a sandbox."""

from __future__ import annotations

import secrets

from ministack.core.responses import request_scope
from ministack.services import sts


def role_session(role_arn: str, session_name: str) -> dict[str, str]:
    """Fresh session credentials of a role, as environment variables."""
    access_key = "ASIA" + secrets.token_hex(8).upper()
    secret_key, token = secrets.token_urlsafe(30), secrets.token_urlsafe(64)
    account, role_name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    sts.register_session(
        access_key,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role_name}/{session_name}",
            "UserId": f"AROA{role_name}:{session_name}",
            "SecretAccessKey": secret_key,
            "SessionToken": token,
        },
    )
    return {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_SESSION_TOKEN": token,
    }


def session_in(scope: tuple[str, str], role_arn: str, session_name: str) -> dict[str, str]:
    """The same on a thread without a request; `scope` is account and Region."""
    with request_scope(*scope):
        return role_session(role_arn, session_name)
