"""The steps of the image's build, in their order: what the Dockerfile's RUN lines run.

Works in the folder that is, or stands in for, the image's /var/task; standard library only.
`INSTALLER` may name a command that installs packages in pip's place. It must not know which
packages and DAGs there are. Decision 15 has the reasons.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

from lambda_image.packaging import trim

_PIP = f"{shlex.quote(sys.executable)} -m pip install --root-user-action=ignore --no-cache-dir"


def airflow(version: str) -> None:
    """Install the complete list, which must be of this Airflow, and trim what is installed."""
    _install("--no-deps", "--requirement=requirements.txt", f"apache-airflow-core=={version}")
    for folder in _package_folders():
        trim.trim(folder)
        _compile(folder)


def requirements() -> None:
    """Install what the DAGs need beyond it; the versions of the list hold.

    Nothing of theirs is removed, and a template that is no Python may stay one.
    """
    _install("--requirement=own-requirements.txt", "--constraint=requirements.txt")
    for folder in _package_folders():
        trim.compile_all(folder)


def executor(source: str) -> None:
    """Install it as a distribution: Airflow finds a provider by its metadata."""
    _install("--no-deps", "--target=.", source)


def sources() -> None:
    """Compile what is ours, and the DAGs."""
    _compile(Path.cwd())


def _install(*arguments: str) -> None:
    installer = shlex.split(os.environ.get("INSTALLER", _PIP))
    command = [*installer, "--no-compile", *arguments]
    if subprocess.run(command, check=False).returncode:  # noqa: S603 - of the Dockerfile's words
        sys.exit("packages could not be installed: see above")


def _package_folders() -> set[Path]:
    return {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}


def _compile(folder: Path) -> None:
    if not trim.compile_all(folder):
        sys.exit(f"not every module in {folder} compiles: see above")


if __name__ == "__main__":
    _STEPS = {step.__name__: step for step in (airflow, requirements, executor, sources)}
    _STEPS[sys.argv[1]](*sys.argv[2:])
