"""Commands that start another command as poor as it is on Lambda."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def without_capabilities() -> tuple[str, ...]:
    """Return a command that takes root's capabilities from another one."""
    if os.getuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv to take root's capabilities away")
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


def on_a_small_disk(folder: Path) -> tuple[str, ...]:
    """Return a command that gives another one 8 MiB and 2,000 files in this folder.

    It has System V objects of its own, too, as the handler removes them with such a disk.
    """
    mounted = f'mount -t tmpfs -o size=8m,nr_inodes=2000 none {folder} && exec "$@"'
    within = ("unshare", "--map-root-user", "--mount", "--ipc", "sh", "-c")
    with tempfile.TemporaryDirectory() as other:
        probe = f"mount -t tmpfs none {other}"
        if (
            shutil.which(within[0]) is None
            or subprocess.run([*within, probe], check=False).returncode
        ):
            pytest.skip("no file system can be mounted here: there are no user namespaces")
    return (*within, mounted, "sh")
