"""A file to `source`: after it, `aws`, `cdk` and `airflow` of a shell use the embedded AWS."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from demo import paths

#: They would win over the keys, or send requests somewhere else.
UNSET = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN")


def write(file: Path, variables: Mapping[str, str]) -> None:
    """Write the file, which only its owner may read: the variables hold secrets."""
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text(variables))


def text(variables: Mapping[str, str]) -> str:
    """The lines for bash and zsh."""
    programs = shlex.quote(f"{paths.BIN}:{paths.CDK.parent}")
    lines = [
        f"unset {' '.join(UNSET)}",
        f'export PATH={programs}:"$PATH"',
        # The user's proxy must not get the requests to the embedded AWS.
        'export NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}"',
        'export no_proxy="$NO_PROXY"',
        *(f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())),
    ]
    return "\n".join(lines) + "\n"
