"""The steps of the image build, in the order of the Dockerfile's RUN lines.

They run in the image's /var/task, or a folder that stands in for it, with the standard library
only. `INSTALLER` may name a command that installs packages instead of pip.
`docs/decisions/0015-what-is-in-the-image.md` has the reasons.
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
    """Install and trim the packages of requirements.txt, which must have this Airflow version."""
    _install("--no-deps", "--requirement=requirements.txt", f"apache-airflow-core=={version}")
    for folder in _package_folders():
        trim.trim(folder)
        _compile(folder)


def requirements() -> None:
    """Install the packages that the DAGs need, untrimmed, within the versions above."""
    _install("--requirement=own-requirements.txt", "--constraint=requirements.txt")
    for folder in _package_folders():
        trim.compile_all(folder)  # Templates may not compile.


def executor(source: str) -> None:
    """Install the executor as a distribution: Airflow finds a provider by its metadata."""
    _install("--no-deps", "--target=.", source)


def sources() -> None:
    """Compile our own code and the DAGs, and let every user read all of it.

    COPY keeps the modes that the files have on the machine that builds, where the umask may be 077.
    Lambda runs the image as a user of its own, which must be able to read every file:
    https://docs.aws.amazon.com/lambda/latest/dg/images-create.html
    """
    _compile(Path.cwd())
    _let_everybody_read(Path.cwd())


def _install(*arguments: str) -> None:
    installer = shlex.split(os.environ.get("INSTALLER", _PIP))
    command = [*installer, "--no-compile", *arguments]
    if subprocess.run(command, check=False).returncode:  # noqa: S603 - from the Dockerfile
        sys.exit("packages could not be installed: see above")


def _package_folders() -> set[Path]:
    return {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}


def _compile(folder: Path) -> None:
    if not trim.compile_all(folder):
        sys.exit(f"not every module in {folder} compiles: see above")


def _let_everybody_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        wanted = mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0)
        if wanted != mode:  # A changed mode copies the file into the image's next layer.
            path.chmod(wanted)


if __name__ == "__main__":
    _STEPS = {step.__name__: step for step in (airflow, requirements, executor, sources)}
    _STEPS[sys.argv[1]](*sys.argv[2:])
