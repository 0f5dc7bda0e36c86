"""A tag is released only with the version that everything has, and with its notes."""

from __future__ import annotations

from typing import Any

import pytest

from release import ROOT, ReleaseError, notes
from tests.unit.project.files import read_toml

CHANGELOG = """# Changelog

## [Unreleased]

## [1.2.0] - 2027-01-31

### Added

- Two.

## [1.1.0] - 2027-01-01

- One.
"""


def projects(**changed: Any) -> dict[str, dict[str, Any]]:
    """Two packages of one version, one of which needs the other."""
    needs = ["airflow-lambda-executor==1.2.0", "constructs>=10.4,<11"]
    return {
        "executor": {"version": "1.2.0", "dependencies": ["boto3>=1.35"]},
        "constructs": {"version": "1.2.0", "dependencies": needs, **changed},
    }


def test_the_notes_are_those_of_the_version() -> None:
    """Neither the ones before nor the heading."""
    assert notes("v1.2.0", projects(), CHANGELOG) == "### Added\n\n- Two."


@pytest.mark.parametrize("tag", ["1.2.0", "v1.2", "v1.2.0-rc1", "v1.2.0; ls"])
def test_a_tag_is_a_version(tag: str) -> None:
    """In the form that Python's packages have."""
    with pytest.raises(ReleaseError, match="a tag is v and a version"):
        notes(tag, projects(), CHANGELOG)


def test_a_package_with_another_version_is_found() -> None:
    """By the folder of its file."""
    with pytest.raises(ReleaseError, match=r"constructs/pyproject.toml has version 1.1.0"):
        notes("v1.2.0", projects(version="1.1.0"), CHANGELOG)


def test_a_package_that_needs_another_version_is_found() -> None:
    """Whoever installs the constructs gets the executor of the same release."""
    needs = ["airflow-lambda-executor==1.1.0"]
    with pytest.raises(ReleaseError, match=r"needs airflow-lambda-executor==1\.1\.0"):
        notes("v1.2.0", projects(dependencies=needs), CHANGELOG)


@pytest.mark.parametrize(
    "changelog",
    [
        CHANGELOG.replace("1.2.0", "1.3.0"),
        CHANGELOG.replace(" - 2027-01-31", ""),
        CHANGELOG.replace("### Added\n\n- Two.\n", ""),
    ],
)
def test_a_release_without_notes_is_none(changelog: str) -> None:
    """The section is missing, has no date, or is empty."""
    with pytest.raises(ReleaseError, match=r"CHANGELOG.md has no section"):
        notes("v1.2.0", projects(), changelog)


def test_all_packages_have_one_version() -> None:
    """Also between two releases, so that the next one needs no search."""
    versions = {
        str(file.relative_to(ROOT)): read_toml(file)["project"]["version"]
        for file in (ROOT / "pyproject.toml", *ROOT.glob("*/pyproject.toml"))
    }
    assert len(versions) == 4
    assert len(set(versions.values())) == 1, versions
