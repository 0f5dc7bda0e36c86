"""The steps of the image build, in the order of the Dockerfile's RUN lines.

They run in the image's /var/task, or a folder that stands in for it, with the standard library
only. `INSTALLER` may name a command that installs packages instead of pip.
`docs/decisions/0015-what-is-in-the-image.md` has the reasons.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from lambda_image.packaging import trim

_PIP = f"{shlex.quote(sys.executable)} -m pip install --root-user-action=ignore --no-cache-dir"

#: The folder in /var/task of the packages that the scheduler alone has.
NATIVE = "native"

#: The oldest C library that all listed packages have wheels for; the image has no compiler.
_OLDEST_GLIBC = (2, 28)


def airflow(version: str) -> None:
    """Install and trim the packages of requirements.txt, which must have this Airflow version."""
    try:
        release: Mapping[str, str] = platform.freedesktop_os_release()
    except OSError:
        release = {}
    if fault := fault_of_base(release, platform.libc_ver(), sys.version_info[:2]):
        sys.exit(fault)
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


def native(requirements: str) -> None:
    """Install AWS's native client where only `lambda_image.control_plane` looks for it."""
    _install("--no-deps", f"--target={NATIVE}", f"--requirement={requirements}")


def sources() -> None:
    """Compile our own code and the DAGs, and let every user read all of it.

    COPY keeps the modes that the files have on the machine that builds, where the umask may be 077.
    Lambda runs the image as a user of its own, which must be able to read every file:
    https://docs.aws.amazon.com/lambda/latest/dg/images-create.html
    """
    _compile(Path.cwd())
    _let_everybody_read(Path.cwd())


def fault_of_base(
    release: Mapping[str, str], libc: tuple[str, str], python: tuple[int, int]
) -> str:
    """Return why the image cannot be built on this base; empty: it can.

    AWS's image for Python 3.11 is Amazon Linux 2, those for 3.12 and newer are Amazon Linux 2023:
    https://docs.aws.amazon.com/lambda/latest/dg/python-image.html

    Args:
        release: The fields of /etc/os-release.
        libc: Name and version of the C library, empty if they are not known.
        python: The first two numbers of Python's version.
    """
    name, version = libc
    has_wheels = not name or (
        name == "glibc" and tuple(map(int, version.split(".")[:2])) >= _OLDEST_GLIBC
    )
    is_amazon_linux_2 = (release.get("ID"), release.get("VERSION_ID")) == ("amzn", "2")
    if has_wheels and not is_amazon_linux_2 and (3, 11) <= python < (3, 14):
        return ""
    system = release.get("PRETTY_NAME", "an unknown system")
    return (
        f"the base image is {system} with Python {python[0]}.{python[1]}"
        f"{f' and {name} {version}' if name else ''}, allowed is Amazon Linux 2023 with Python "
        "3.12 or 3.13, or another Linux with glibc 2.28 or newer, because not every package has a "
        "wheel for anything else: set BASE_IMAGE to public.ecr.aws/lambda/python:3.12 or :3.13"
    )


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
    _STEPS = {step.__name__: step for step in (airflow, requirements, executor, native, sources)}
    _STEPS[sys.argv[1]](*sys.argv[2:])
