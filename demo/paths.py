"""Where the demo finds its programs and leaves its files; knows no program's arguments.

Everything is inside the repository: `build/demo` for `run`, `build/local` for `up`, so that the
two can exist side by side.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: The development environment that runs this very module.
BIN = ROOT / ".venv" / "bin"
PYTHON = BIN / "python"
AIRFLOW = BIN / "airflow"
LOCAL_AWS_PYTHON = ROOT / "build" / "venv" / "local-aws" / "bin" / "python"
CDK = ROOT / "node_modules" / ".bin" / "cdk"
STAND_IN_DOCKER = ROOT / "local_aws" / "bin" / "docker"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one environment; everything it writes is below `path`."""

    path: Path

    @property
    def aws(self) -> Path:
        """State of the embedded AWS, its image store included."""
        return self.path / "aws"

    @property
    def airflow(self) -> Path:
        """Airflow's AIRFLOW_HOME."""
        return self.path / "airflow"

    @property
    def assembly(self) -> Path:
        """The cloud assembly that `cdk synth` writes and every later `cdk` call takes."""
        return self.path / "cdk.out"

    @property
    def dags(self) -> Path:
        """The DAG folder: the scheduler's own and the image's."""
        return self.path / "dags"

    @property
    def database(self) -> Path:
        """The database cluster; for root a link to where an unprivileged account can reach it."""
        return self.path / "postgres"

    @property
    def logs(self) -> Path:
        """One file for each program."""
        return self.path / "logs"

    @property
    def task_logs(self) -> Path:
        """Airflow's default folder of task logs, which the functions share."""
        return self.airflow / "logs"

    @property
    def state(self) -> Path:
        """What `up` writes for `down`."""
        return self.path / "state.json"

    def make_empty(self) -> None:
        """Forget what an earlier environment left here, and make the folders."""
        if self.database.is_symlink():  # Outside, and still there if the run was killed.
            shutil.rmtree(self.database.resolve(), ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in (self.aws, self.airflow, self.dags, self.logs):
            folder.mkdir(parents=True)


DEMO = Home(ROOT / "build" / "demo")
LOCAL = Home(ROOT / "build" / "local")
E2E = Home(ROOT / "build" / "e2e")
