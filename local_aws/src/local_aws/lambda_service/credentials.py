"""The execution role's credentials as an environment of a snapshot gets them: from an address.

As in AWS's own emulator (https://github.com/aws/aws-lambda-runtime-interface-emulator,
lambda/core/credentials.go), the Runtime API serves them to whoever has the token. There the address
and the token are in the snapshot, so all environments of a version have the same ones, and each
finds its own credentials behind them. Here the token is the same, and the address is the
environment's own, since the machine's network has only one loopback interface.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

#: The path at the Runtime API's address.
PATH = "/2021-04-23/credentials"
#: Seconds for which credentials are valid. AWS's emulator gives out those of 16 minutes.
_VALID_S = 16 * 60
#: Clients fetch new ones up to 15 minutes before the end (botocore.credentials), so then there are.
_RENEW_BEFORE_S = 15 * 60


class Credentials:
    """The credentials of one environment; a new session of the role before the old one ends.

    Args:
        token: Whoever asks must know it.
        session: Makes a session of the role, as environment variables.
        valid_s: Seconds for which a session is valid.
    """

    def __init__(
        self, token: str, session: Callable[[], Mapping[str, str]], valid_s: int = _VALID_S
    ) -> None:
        self._valid_s = valid_s
        self._token = token
        self._session = session
        self._lock = threading.Lock()
        self._shared = False
        self._expires_s = 0.0
        self._document = b""

    def share(self) -> None:
        """From now on many environments ask, and each needs its own: every request gets a session.

        They do so by clients of the init phase, which remember the address that they had there.
        """
        with self._lock:
            self._shared = True

    def document(self, token: str) -> bytes | None:
        """The JSON that AWS's SDKs read from such an address; None: the token is another one."""
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return None
        with self._lock:
            if self._shared or time.time() > self._expires_s - _RENEW_BEFORE_S:
                session = self._session()
                self._expires_s = time.time() + self._valid_s
                self._document = json.dumps(
                    {
                        "AccessKeyId": session["AWS_ACCESS_KEY_ID"],
                        "SecretAccessKey": session["AWS_SECRET_ACCESS_KEY"],
                        "Token": session["AWS_SESSION_TOKEN"],
                        "Expiration": datetime.fromtimestamp(self._expires_s, UTC).strftime(
                            "%Y-%m-%dT%H:%M:%SZ"
                        ),
                    }
                ).encode()
            return self._document
