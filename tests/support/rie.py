"""AWS's own Runtime Interface Emulator.

The program is part of the PyPI package `aws-sam-cli`. The wheel of a pinned version is downloaded
without its dependencies, checked by its hash and unpacked into `build/rie`.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PIP = _ROOT / "build" / "uv" / "bin" / "pip"
_VERSION = "1.170.0"
_SHA256 = "24ebaf5ecba38dc1758089968cb89ab61e124b84e92a344fc7a2771a47f4d0bf"
_DOWNLOAD_TIMEOUT_S = 120
#: The names of `uname -m`, and the emulator's.
_ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def emulator() -> Path:
    """The program for this machine; without one the test is skipped, or fails in CI."""
    found = _install()
    if isinstance(found, Path):
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(found)
    pytest.skip(found)


@cache
def _install() -> Path | str:
    """The program, or the reason why it is not available."""
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        return f"the Runtime Interface Emulator is not made for {platform.machine()}"
    name = f"aws-lambda-rie-{architecture}"
    program = _ROOT / "build" / "rie" / _VERSION / name
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        if reason := _download(Path(folder)):
            return reason
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            unpacked = Path(archive.extract(f"samcli/local/rapid/{name}", folder))
        unpacked.chmod(0o755)
        unpacked.rename(program)  # in one step: several test runs may do this at once
    return program


def _download(folder: Path) -> str | None:
    """Download the wheel; return the reason if that fails."""
    if not _PIP.exists():
        return f"{_PIP.relative_to(_ROOT)} is missing: `make setup` creates it"
    requirement = folder / "requirement.txt"
    requirement.write_text(f"aws-sam-cli=={_VERSION} --hash=sha256:{_SHA256}\n")
    command: list[str | Path] = [_PIP, "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--require-hashes", "--dest", folder]
    try:
        done = subprocess.run(
            [*command, "--requirement", requirement],
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"aws-sam-cli {_VERSION} was not downloaded in {_DOWNLOAD_TIMEOUT_S} s"
    if done.returncode:
        return f"aws-sam-cli {_VERSION} cannot be downloaded: {done.stderr.strip()}"
    return None
