"""Paths of the demo's programs and files.

Files are in `build/demo` for `run`, in `build/local` for `up` and in `build/local-aws` for `aws`,
so all can run side by side.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: The virtual environment that runs this module.
BIN = ROOT / ".venv" / "bin"
PYTHON = BIN / "python"
AIRFLOW = BIN / "airflow"
LOCAL_AWS_PYTHON = ROOT / "build" / "venv" / "local-aws" / "bin" / "python"
UV = ROOT / "build" / "uv" / "bin" / "uv"
CDK = ROOT / "node_modules" / ".bin" / "cdk"
#: The versions in the image, whose Airflow is the one here.
IMAGE_PACKAGES = ROOT / "lambda_image" / "locks" / f"{version('apache-airflow-core')}.txt"
STAND_IN_DOCKER = ROOT / "local_aws" / "src" / "local_aws" / "images" / "bin" / "docker"


class Home:
    """The folder of one environment, which writes all its files below `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: The state of the embedded AWS, including its image store.
        self.aws = path / "aws"
        self.airflow = path / "airflow"
        #: The cloud assembly, written by `cdk synth` and used by all later `cdk` calls.
        self.assembly = path / "cdk.out"
        #: The DAG folder of the scheduler and of the image.
        self.dags = path / "dags"
        #: The versions of the project's packages, if any, and a folder with those `.venv` lacks.
        self.requirements = path / "requirements.txt"
        self.packages = path / "packages"
        #: The database cluster; for root, a link to a folder of an unprivileged account.
        self.database = path / "postgres"
        self.logs = path / "logs"
        #: Airflow's default folder of task logs, shared with the functions.
        self.task_logs = self.airflow / "logs"
        self.state = path / "state.json"
        #: The page about the DAG runs of `run`.
        self.report = path / "report.html"
        #: To `source` in a shell.
        self.shell_file = path / "env.sh"

    def make_empty(self) -> None:
        """Remove an earlier environment's files and make the folders."""
        if self.database.is_symlink():  # A killed run leaves its folder outside of `path`.
            shutil.rmtree(self.database.resolve(), ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in (self.aws, self.airflow, self.dags, self.logs):
            folder.mkdir(parents=True)


def shown(path: Path) -> str:
    """A path as a person would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


#: Where the programs of `make local` keep compiled modules, instead of beside the user's files. It
#: stays, because compiling all of Airflow takes seconds.
BYTECODE = ROOT / "build" / "bytecode"

DEMO = Home(ROOT / "build" / "demo")
LOCAL = Home(ROOT / "build" / "local")
LOCAL_AWS = Home(ROOT / "build" / "local-aws")
