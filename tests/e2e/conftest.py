"""The environment that several tests look at: deployed stacks and a running Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import paths
from demo.installation import dag_files, environment
from demo.installation.environment import Environment
from demo.installation.project import Project
from demo.screen import Screen

HOME = paths.Home(paths.ROOT / "build" / "operation")
DAGS = ("curious", "fifty", "operation", "permitted", "version")


class OwnDag(dag_files.DagFile):
    """A DAG of these tests."""

    @property
    def source(self) -> Path:
        """Where the file is."""
        return Path(__file__).parent / "dags" / f"{self.name}.py"


@pytest.fixture(scope="session")
def here() -> Iterator[Environment]:
    """One environment for all who only use it, and leave it as it was."""
    files = [OwnDag(name, (name,)) for name in DAGS]
    with environment.running(HOME, Project(files), Screen()) as made:
        yield made
