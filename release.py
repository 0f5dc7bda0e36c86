"""Checks the versions for a tag and prints its notes: `python release.py v0.1.0`."""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
#: Everything that has a version; all have the same.
PROJECTS = (".", "constructs", "executor", "local_aws")


class ReleaseError(Exception):
    """What has to be changed before the tag is released."""


def main(arguments: Sequence[str]) -> int:
    """Print the notes of a tag, or why it cannot be released."""
    parser = argparse.ArgumentParser(prog="python release.py", description=__doc__)
    parser.add_argument("tag", help="such as v0.1.0")
    tag = parser.parse_args(arguments).tag
    projects = {
        name: tomllib.loads((ROOT / name / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for name in PROJECTS
    }
    try:
        text = notes(tag, projects, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    except ReleaseError as e:
        sys.stderr.write(f"{tag} cannot be released: {e}\n")
        return 1
    sys.stdout.write(f"{text}\n")
    return 0


def notes(tag: str, projects: Mapping[str, Mapping[str, Any]], changelog: str) -> str:
    """Return what the changelog says of a tag.

    Args:
        tag: The tag, `v` and a version.
        projects: The table `[project]` of each `pyproject.toml`, by its folder.
        changelog: The text of `CHANGELOG.md`.

    Raises:
        ReleaseError: A version differs, or the changelog has no dated section of it.
    """
    version = tag.removeprefix("v")
    if not re.fullmatch(r"v\d+\.\d+\.\d+((a|b|rc)\d+)?", tag):
        raise ReleaseError("a tag is v and a version, such as v0.1.0 or v0.2.0rc1")
    for folder, project in projects.items():
        if project["version"] != version:
            raise ReleaseError(f"{folder}/pyproject.toml has version {project['version']}")
        for needed in project.get("dependencies", []):
            name, pinned, other = needed.partition("==")
            if name.startswith("airflow-lambda-") and pinned and other != version:
                raise ReleaseError(f"{folder}/pyproject.toml needs {needed}")
    section = re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$(.*?)(?=^## \[|\Z)",
        changelog,
        re.DOTALL | re.MULTILINE,
    )
    if not section or not section[1].strip():
        raise ReleaseError(f"CHANGELOG.md has no section `## [{version}] - <date>` with text")
    return section[1].strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
