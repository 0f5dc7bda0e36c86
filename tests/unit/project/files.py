"""The files that the tests of this folder compare."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped] # no stubs, and one call does not need any

ROOT = next(folder for folder in Path(__file__).parents if (folder / "cdk.json").exists())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
VERBS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def read_yaml(path: Path) -> Any:
    """The content of a file in YAML."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a file in TOML."""
    return tomllib.loads(path.read_text(encoding="utf-8"))
