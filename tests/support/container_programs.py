"""What the containers of the embedded AWS run in tests, and what it leaves to be seen."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.local_aws import ACCOUNT, client

ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ)))"
WAIT = "import time; print('waiting', flush=True); time.sleep(600)"
#: Ends on SIGTERM, with an exit code of its own.
OBEY = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); {WAIT}"


def assert_acts_as(role: str, found: Mapping[str, str]) -> None:
    """A container's variables hold a session of this role, for this AWS."""
    key, secret, token = (
        found[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")
    )
    sts = client("sts", found["AWS_ENDPOINT_URL"], key, secret, token)
    assumed = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/"
    assert sts.get_caller_identity()["Arn"].startswith(assumed)
