"""Licences of packages, as their metadata says them, against a list."""

from __future__ import annotations

import json
import re
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from audit import licences, policy
from audit.policy import Licences, PolicyError
from audit.shipped import ROOT, parts

ALLOWED = frozenset({"MIT", "Apache-2.0"})
MIT_CLASSIFIER = "Classifier: License :: OSI Approved :: MIT License"


class Package(Distribution):
    """An installed package with this metadata."""

    def __init__(self, *lines: str) -> None:
        self._text = "\n".join(("Metadata-Version: 2.1", "Name: a-b", "Version: 1", *lines, "", ""))

    def read_text(self, filename: str) -> str | None:
        """Return the text of a file of the metadata."""
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        """Return where a file would be."""
        return Path(str(path))


def faults(package: Package, of_packages: dict[str, str] | None = None) -> list[str]:
    """What is wrong with the licence of one package."""
    rules = Licences(ALLOWED, of_packages or {})
    return list(licences.faults([Requirement("a_b==1")], {"a-b": package}, rules))


@pytest.mark.parametrize(
    "line",
    [
        "License-Expression: Apache-2.0 OR GPL-3.0-only",
        "License-Expression: (MIT AND Apache-2.0)",
        "License-Expression: (MIT OR GPL-3.0-only) AND (GPL-2.0-only OR Apache-2.0)",
        "License-Expression: mit and apache-2.0",
        "License: MIT",
        "License: mit",
        "License: Apache Software License 2.0",
        MIT_CLASSIFIER,
        "License: UNKNOWN\nClassifier: License :: OSI Approved :: Apache Software License",
        f"{MIT_CLASSIFIER}\nClassifier: License :: OSI Approved :: Apache Software License",
    ],
)
def test_an_allowed_licence_is_found_wherever_the_metadata_has_it(line: str) -> None:
    """There are three places for it, and older packages use the others."""
    assert faults(Package(line)) == []


@pytest.mark.parametrize(
    "line",
    [
        "License-Expression: GPL-3.0-only",
        "License-Expression: MIT AND GPL-3.0-only",
        "License-Expression: (MIT OR Apache-2.0) AND GPL-3.0-only",
        "License-Expression: GPL-3.0-only AND (MIT OR Apache-2.0)",
        "License-Expression: MIT OR",
        "License-Expression: MIT Apache-2.0",
        "License-Expression: (MIT",
        "License-Expression: Apache-2.0+",
        "License-Expression: Apache-2.0 WITH Unknown-exception",
        "License-Expression: Apache-2.0 WITH LLVM-exception",
        "License: Proprietary",
        "Classifier: License :: OSI Approved :: GNU General Public License (GPL)",
        f"{MIT_CLASSIFIER}\nClassifier: License :: OSI Approved :: GNU Affero GPL",
    ],
)
def test_another_licence_is_a_fault_that_names_it(line: str) -> None:
    """What has to be obeyed beside an allowed one counts too."""
    (fault,) = faults(Package(line))
    assert fault.startswith("a_b: its licence is ")
    assert fault.endswith("which is not allowed")


def test_a_package_without_a_licence_is_a_fault_until_somebody_looks_it_up() -> None:
    """No licence means that nobody may copy it."""
    assert faults(Package()) == ["a_b: its metadata does not say its licence: add it to licence-of"]
    assert faults(Package(), {"a_b": "MIT"}) == []
    assert len(faults(Package(), {"a_b": "GPL-3.0-only"})) == 1


def test_packages_of_other_systems_are_left_out() -> None:
    """They are in the lock, and their metadata is not here."""
    other = Requirement("colorama==1 ; sys_platform == 'of nobody'")
    assert list(licences.faults([other], {}, Licences(ALLOWED, {}))) == []


@pytest.mark.parametrize(
    ("shipped", "installed", "why"),
    [
        ("a_b==1", {}, "the licence of 1 was not looked at, because no version is installed"),
        (
            "a_b==2 ; sys_platform != 'of nobody'",
            {"a-b": Package("License: MIT")},
            "the licence of 2 was not looked at, because 1 is installed",
        ),
    ],
)
def test_a_package_that_is_not_here_is_no_clean_one(
    shipped: str, installed: dict[str, Distribution], why: str
) -> None:
    """Nothing is known about it, also if its licence is in the list by its name."""
    rules = Licences(ALLOWED, {"a_b": "MIT"})
    assert list(licences.faults([Requirement(shipped)], installed, rules)) == [f"a_b: {why}"]


def test_each_version_of_a_package_counts_where_it_is_installed() -> None:
    """The lock has one for older Pythons, and another for newer ones."""
    versions = [
        Requirement("a_b==1 ; python_version < '4'"),
        Requirement("a_b==2 ; python_version >= '4'"),
    ]
    package = {"a-b": Package("License: MIT")}
    assert list(licences.faults(versions, package, Licences(ALLOWED, {}))) == []


def test_all_that_is_shipped_can_be_named() -> None:
    """Each part has packages, each with one version, and those of other systems are marked so."""
    for part in parts(()):
        packages = part.packages()
        assert packages
        assert all(re.fullmatch("==[^,*]+", str(package.specifier)) for package in packages)


def test_the_licences_of_npm_are_those_of_its_lock_file(tmp_path: Path) -> None:
    """The file has them itself; one that it does not say is not allowed."""
    lock = tmp_path / "package-lock.json"
    entries = {"": {}, "node_modules/a": {"license": "MIT"}, "node_modules/b": {}}
    lock.write_text(json.dumps({"packages": entries}))
    (fault,) = licences.npm_faults(lock, Licences(ALLOWED, {}))
    assert fault.startswith("node_modules/b: ")


def test_our_own_rules_can_be_read() -> None:
    """Those that `make audit` uses, of licences and of accepted vulnerabilities."""
    assert "Apache-2.0" in policy.licences(ROOT / "pyproject.toml").allowed
    policy.accepted(ROOT / "audit" / "accepted.toml")


def test_without_a_list_there_are_no_rules(tmp_path: Path) -> None:
    """An empty list would refuse everything, and is a mistake."""
    (tmp_path / "pyproject.toml").write_text("[tool.audit]\nlicences = []\n")
    with pytest.raises(PolicyError, match=r"no list of licences in \[tool\.audit\]"):
        policy.licences(tmp_path / "pyproject.toml")
