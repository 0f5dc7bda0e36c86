"""The file system of a function, by bubblewrap: everything read-only, and a /tmp of a fixed size.

https://github.com/containers/bubblewrap
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

_TMP = Path("/tmp")  # noqa: S108 - the one behind the walls
_TRIAL_S = 10


def program() -> str | None:
    """The path of bubblewrap, if it works on this machine; None otherwise."""
    found = shutil.which("bwrap")
    if found is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the program that was found
            command(found, 1, (), ["true"]), capture_output=True, timeout=_TRIAL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found if done.returncode == 0 else None


def command(
    program: str, tmp_mb: int, readable: Iterable[str], argv: Sequence[str]
) -> Sequence[str]:
    """The command line that runs `argv` behind the walls, with its descriptors and terminal.

    Args:
        program: The path of bubblewrap.
        tmp_mb: The size of /tmp.
        readable: What the program must see, also if it is in this machine's /tmp.
        argv: The program.
    """
    line = [program, "--ro-bind", "/", "/", "--dev", "/dev"]
    # As in Lambda: without a writable /dev/shm there are no shared semaphores.
    line += ["--remount-ro", "/dev", "--proc", "/proc", "--die-with-parent"]
    line += ["--size", str(tmp_mb * 2**20), "--tmpfs", str(_TMP)]
    for path in dict.fromkeys(map(Path, readable)):
        if path.is_relative_to(_TMP) and path != _TMP and path.exists():
            line += ["--ro-bind", str(path), str(path)]
    return [*line, "--", *argv]
