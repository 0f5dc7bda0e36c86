"""The packages of the image for each version of Airflow are those that the image needs.

`make lint` runs this file. It resolves nothing: the versions themselves are tested by an image that
is built from each lock.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
LOCKS = sorted((ROOT / "lambda_image" / "locks").glob("*.txt"))

#: The one that the group `image` pins, which is another in each lock.
AIRFLOW = "apache-airflow-core"


@pytest.fixture(params=LOCKS, ids=lambda path: path.stem)
def lock(request: pytest.FixtureRequest) -> Path:
    """The lock of one version of Airflow."""
    path: Path = request.param
    return path


def test_every_minor_version_has_a_lock() -> None:
    """A stage can have any Airflow from 3.0 to 3.4."""
    minors = {path.stem.rpartition(".")[0] for path in LOCKS}
    assert minors == {"3.0", "3.1", "3.2", "3.3", "3.4"}


def test_a_lock_has_the_airflow_of_its_name(lock: Path) -> None:
    """The build asks for the version in the name, and installs what is in the file."""
    assert packages(lock)[AIRFLOW] == {lock.stem}, remedy(lock)


def test_a_lock_has_what_the_image_needs(lock: Path) -> None:
    """Every package of the group `image`, in a version that the group and the executor allow."""
    found = packages(lock)
    project = tomllib.loads((ROOT / "executor/pyproject.toml").read_text())["project"]
    for needed in map(Requirement, [*group("image"), *project["dependencies"]]):
        if needed.name not in (AIRFLOW, "apache-airflow"):
            versions = found.get(needed.name, set())
            assert versions, f"no {needed.name}: {remedy(lock)}"
            for version in versions:
                assert needed.specifier.contains(version, prereleases=True), (
                    f"{needed.name} {version} is not {needed.specifier}: {remedy(lock)}"
                )


def test_a_lock_omits_what_the_image_omits(lock: Path) -> None:
    """The packages that the Makefile prunes are in no lock."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (pruned,) = re.findall(r"^PRUNED := (.*)$", text, re.MULTILINE)
    assert not set(pruned.split()) & set(packages(lock)), remedy(lock)


def group(name: str) -> list[str]:
    """The requirements of a dependency group."""
    requirements: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())[
        "dependency-groups"
    ][name]
    return requirements


def packages(lock: Path) -> dict[str, set[str]]:
    """The versions of each package; one that depends on the Python version has several."""
    found: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        name, _, version = line.partition(";")[0].strip().partition("==")
        found.setdefault(name, set()).add(version)
    return found


def remedy(lock: Path) -> str:
    """How the lock is made again."""
    return f"{lock.name} is stale: make image-requirements AIRFLOW_VERSION={lock.stem}"
