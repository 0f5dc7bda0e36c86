"""A project's Python packages: one set of versions for the image and for Airflow's programs.

The versions are chosen once, beside those of Airflow here and in the image. The image installs all
of them. Airflow's programs get a folder with those that `.venv` lacks, which itself never changes.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.utils import canonicalize_name

from demo import paths
from demo.machine.embedded_aws import bare_environment, download_settings
from demo.machine.processes import Children, ProcessError, Program

TIMEOUT_S = 600.0
#: What is installed here and in the image.
CONSTRAINTS = (paths.ROOT / "requirements.txt", paths.IMAGE_PACKAGES)


def install(children: Children, home: paths.Home, requirements: Path) -> None:
    """Choose the versions, and install what `.venv` lacks into `home.packages`.

    Raises:
        ProcessError: They conflict, with each other or with Airflow's, or cannot be downloaded.
    """
    arguments = ["--python", str(paths.PYTHON), "--output-file", str(home.requirements)]
    for constraint in CONSTRAINTS:
        arguments += ["--constraint", str(constraint)]
    try:
        _run(children, requirements.parent, "compile", "--no-header", *arguments, str(requirements))
        missing = lacking(home.requirements.read_text().splitlines(), installed())
        if missing:
            chosen = home.requirements.with_suffix(".missing.txt")
            chosen.write_text("\n".join(missing) + "\n")
            target = ("--python", str(paths.PYTHON), "--target", str(home.packages), "--no-deps")
            _run(children, requirements.parent, "install", *target, "--requirement", str(chosen))
    except ProcessError as e:
        raise ProcessError(
            f"REQUIREMENTS={requirements} cannot be installed beside this Airflow's packages: "
            f"correct what is named below.\n{e}"
        ) from e


def installed() -> dict[str, str]:
    """The versions in this virtual environment, by canonical name."""
    return {
        canonicalize_name(each.name): each.version for each in importlib.metadata.distributions()
    }


def lacking(pins: Iterable[str], present: Mapping[str, str]) -> list[str]:
    """The pins without those that are present; comments are left out."""
    lines = (line.strip() for line in pins)
    return [
        line
        for line in lines
        if line and not line.startswith("#") and not _is_present(line, present)
    ]


def _is_present(pin: str, present: Mapping[str, str]) -> bool:
    name, equals, version = pin.partition(";")[0].strip().partition("==")
    return bool(equals) and present.get(canonicalize_name(name.partition("[")[0])) == version


def _run(children: Children, folder: Path, verb: str, *arguments: str) -> None:
    children.run(
        Program(
            name=f"requirements-{verb}",
            argv=[paths.UV, "pip", verb, "--quiet", "--no-progress", *arguments],
            environment=bare_environment() | download_settings(),
            cwd=folder,
        ),
        TIMEOUT_S,
    )
