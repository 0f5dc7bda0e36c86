"""Builds the stand-in for AWS's base image from this machine's own package sources.

Takes from the machine its Debian or Ubuntu release and mirror, the certificates that it trusts and
pip's settings. The stand-in's name has a hash of them.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

from tests.container.engine import FOLDER, Podman
from tests.support import rie

_STAND_IN = Path(__file__).parent / "stand_in"
_APT = Path("/etc/apt")
_PACKAGES = "ca-certificates,python3,python3-venv"
_LEAN = ["man/*", "doc/*", "locale/*"]
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
_TIMEOUT_S = 240


def stand_in(podman: Podman) -> str:
    """The stand-in's name; built when there is none that is made of the same."""
    sources, settings = apt_sources(), pip_settings()
    made_of = [sources, settings, platform.machine(), _PACKAGES]
    made_of += [path.read_text() for path in sorted(_STAND_IN.iterdir())]
    name = f"localhost/lambda-python:{hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]}"
    if not podman.has(name):
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            _build(podman, name, Path(folder), sources, settings)
    return name


def apt_sources() -> str:
    """Where this machine gets its release's own packages from, as apt has it written down."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    files = [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*"))]
    kept: list[str] = []
    for file in files:
        if file.suffix == ".sources":
            stanzas = re.split(r"\n\s*\n", file.read_text())
            kept += [stanza for stanza in stanzas if _is_of(release, _fields(stanza))]
    if kept:
        return "\n\n".join(kept) + "\n"
    suites = rf"{release}(-updates|-security)?"
    pattern = re.compile(rf"^deb\s+(\[.*?\]\s+)?\S+\s+{suites}\s+main\b")
    for file in files:
        if file.suffix == ".list":
            kept += [line for line in file.read_text().splitlines() if pattern.match(line)]
    return "\n".join(kept) + "\n"


def pip_settings() -> str:
    """Where this machine's pip finds packages, as a configuration file."""
    pip = FOLDER.parent / "uv" / "bin" / "pip"
    listed = subprocess.run(
        [pip, "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    lines = ["[global]", "cert = /etc/ssl/certs/ca-certificates.crt"]
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        # What is in a file system of this machine is not in the image's.
        words = [word for word in value.strip("'").split() if not word.startswith("file:")]
        if option in _PIP_SETTINGS and words:
            lines.append(f"{option} = {' '.join(words)}")
    return "\n".join(lines) + "\n"


def _fields(stanza: str) -> dict[str, list[str]]:
    pairs = re.findall(r"^(\w[\w-]*):\s*(.*)$", stanza, re.MULTILINE)
    return {name: value.split() for name, value in pairs}


def _is_of(release: str, fields: dict[str, list[str]]) -> bool:
    own = {release, f"{release}-updates", f"{release}-security"}
    return bool(own & set(fields.get("Suites", ()))) and "main" in fields.get("Components", ())


def _build(podman: Podman, name: str, folder: Path, sources: str, settings: str) -> None:
    for file in _STAND_IN.iterdir():
        shutil.copy(file, folder)
    shutil.copy(rie.emulator(), folder / "aws-lambda-rie")
    shutil.copy(_certificates(), folder / "ca-certificates.crt")
    (folder / "pip.conf").write_text(settings)
    listed = folder / ("mirror.sources" if "Suites:" in sources else "mirror.list")
    listed.write_text(sources)
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    lean = [f"--dpkgopt=path-exclude=/usr/share/{path}" for path in _LEAN]
    options = ["--quiet", "--variant=minbase", f"--include={_PACKAGES}", *lean]
    subprocess.run(
        ["mmdebstrap", *options, release, folder / "root.tar", listed],
        stdin=subprocess.DEVNULL,
        timeout=_TIMEOUT_S,
        check=True,
    )
    podman.build(name, folder, folder / "Containerfile")


def _certificates() -> Path:
    """The bundle that this machine's own programs trust."""
    named = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    return Path(named or "/etc/ssl/certs/ca-certificates.crt")
