"""What is checked before a commit is what `make lint` checks, and the editor's settings fit it."""

from __future__ import annotations

import configparser
import json
import re

from tests.unit.project.files import MAKEFILE, ROOT, read_toml, read_yaml

#: How the Makefile names its tools.
NAMES = {"$(BIN)": ".venv/bin", "$(UV)": "build/uv/bin/uv", "$(MAKE)": "make"}


def recipe(verb: str) -> list[str]:
    """The commands of a verb, as a shell would get them."""
    (lines,) = re.findall(rf"^{verb}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    for name, value in NAMES.items():
        lines = lines.replace(name, value)
    return [line.removeprefix("\t@") for line in lines.splitlines()]


def test_pre_commit_and_make_lint_run_the_same_commands() -> None:
    """Each of one is in the other; so no version of a tool can differ."""
    (own,) = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    assert own["repo"] == "local"
    assert [hook["entry"] for hook in own["hooks"]] == recipe("lint")
    assert {hook["language"] for hook in own["hooks"]} == {"unsupported"}


def test_every_file_of_a_hook_is_there() -> None:
    """A workflow or a form that is added is checked as well."""
    named = set(re.findall(r"\.github/\S+\.yml", "\n".join(recipe("lint"))))
    there = {str(path.relative_to(ROOT)) for path in (ROOT / ".github").rglob("*.yml")}
    # GitHub's settings of the list of forms are no form.
    assert there - named == {".github/ISSUE_TEMPLATE/config.yml"}


def test_the_editor_has_the_line_length_of_the_formatter() -> None:
    """And the indentation that the formatter would make."""
    settings = configparser.ConfigParser()
    settings.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    ruff = read_toml(ROOT / "pyproject.toml")["tool"]["ruff"]
    assert settings["*.py"]["max_line_length"] == str(ruff["line-length"])
    assert settings["*.py"]["indent_size"] == str(ruff.get("indent-width", 4))
    assert settings["Makefile"]["indent_style"] == "tab"


def test_the_container_of_an_editor_has_what_make_needs() -> None:
    """A Python and a Node.js that are supported, and then the same set-up as everywhere."""
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["image"].startswith("mcr.microsoft.com/devcontainers/python:3.11-")
    assert container["features"]["ghcr.io/devcontainers/features/node:1"] == {"version": "22"}
    assert container["postCreateCommand"].split(" && ")[0] == "make setup"
