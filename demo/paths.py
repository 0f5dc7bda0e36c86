"""Where the demo finds its programs and leaves its files; knows no program's arguments.

Everything is inside the repository: `build/demo` for `run`, `build/local` for `up`, so that the
two can exist side by side.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: The development environment that runs this very module.
BIN = ROOT / ".venv" / "bin"
PYTHON = BIN / "python"
AIRFLOW = BIN / "airflow"
LOCAL_AWS_PYTHON = ROOT / "build" / "venv" / "local-aws" / "bin" / "python"
CDK = ROOT / "node_modules" / ".bin" / "cdk"
STAND_IN_DOCKER = ROOT / "local_aws" / "src" / "local_aws" / "images" / "bin" / "docker"


class Home:
    """The folder of one environment: everything that it writes is below `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: State of the embedded AWS, its image store included.
        self.aws = path / "aws"
        #: Airflow's AIRFLOW_HOME.
        self.airflow = path / "airflow"
        #: The cloud assembly that `cdk synth` writes and every later `cdk` call takes.
        self.assembly = path / "cdk.out"
        #: The DAG folder: the scheduler's own and the image's.
        self.dags = path / "dags"
        #: The database cluster; for root a link to where an unprivileged account can reach it.
        self.database = path / "postgres"
        #: One file for each program.
        self.logs = path / "logs"
        #: Airflow's default folder of task logs, which the functions share.
        self.task_logs = self.airflow / "logs"
        #: What `up` writes for `down`.
        self.state = path / "state.json"

    def make_empty(self) -> None:
        """Forget what an earlier environment left here, and make the folders."""
        if self.database.is_symlink():  # Outside, and still there if the run was killed.
            shutil.rmtree(self.database.resolve(), ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in (self.aws, self.airflow, self.dags, self.logs):
            folder.mkdir(parents=True)


DEMO = Home(ROOT / "build" / "demo")
LOCAL = Home(ROOT / "build" / "local")
