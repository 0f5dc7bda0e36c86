"""The container engine of this suite: podman, with its own storage below `build/container`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "container"

#: For root. crun cannot start on hosts with both kinds of cgroups, and there is not always a
#: systemd to ask for one, nor a journal to write events to.
_CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""

_CODE_TIMEOUT_S = 200.0


class EngineError(Exception):
    """Podman failed; the message is podman's."""


@dataclass(frozen=True)
class Podman:
    """Podman on this suite's own storage.

    Attributes:
        variables: More of its environment.
    """

    variables: Mapping[str, str]

    @classmethod
    def prepare(cls, **variables: str) -> Podman:
        """Podman for this user; `variables` go into its environment."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            configuration = FOLDER / "containers.conf"
            configuration.write_text(_CONFIGURATION)
            variables["CONTAINERS_CONF"] = str(configuration)
        return cls(variables)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of every call of podman."""
        return {**os.environ, **self.variables}

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line of one call."""
        storage = ["--root", str(FOLDER / "storage"), "--runroot", str(FOLDER / "run")]
        return ["podman", *storage, *map(str, arguments)]

    def call(self, *arguments: str | Path, timeout_s: float = 60) -> str:
        """Call it; what it wrote to standard output.

        Raises:
            EngineError: It failed.
        """
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=FOLDER,  # conmon leaves a file where it is when memory runs out
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            raise EngineError(f"podman {arguments[0]} ended with {done.returncode}: {said.strip()}")
        return done.stdout.strip()

    def build(
        self,
        tag: str,
        context: Path,
        dockerfile: Path,
        arguments: Mapping[str, str] | None = None,
        timeout_s: float = 600,
    ) -> str:
        """Build an image, layers that did not change from the cache; its name."""
        given = [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
        # No bridge, which needs a firewall to configure: the build downloads, and that is all.
        options = ["--layers", "--network=host", *given, f"--tag={tag}", f"--file={dockerfile}"]
        self.call("build", *options, context, timeout_s=timeout_s)
        return tag

    def has(self, image: str) -> bool:
        """Whether there is such an image."""
        try:
            self.call("image", "exists", image)
        except EngineError:
            return False
        return True

    def python(self, image: str, code: str, *options: str, network: str = "none") -> str:
        """Run Python code in a new container of an image; what it printed."""
        run = ["run", "--rm", f"--network={network}", "--entrypoint=python", *options, image]
        return self.call(*run, "-c", code, timeout_s=_CODE_TIMEOUT_S)


def missing() -> str | None:
    """What this suite needs and this machine does not have."""
    for program in ("podman", "mmdebstrap", "runc"):
        if shutil.which(program) is None:
            return f"there is no {program}: apt-get install podman runc mmdebstrap (Debian, Ubuntu)"
    return None
