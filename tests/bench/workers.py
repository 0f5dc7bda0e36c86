"""Starting the ways to run tasks side by side, and bringing their figures home."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lambda_executor.contract.wire import Invocation, InvocationId
from tests.bench.airflow_server import Server
from tests.bench.report import HOME, ROOT
from tests.bench.worker import Way
from tests.support.handler_process import image_variables

#: What all three run in: the Airflow that the image installs.
IMAGE = ROOT / "build" / "venv" / "image" / "bin"
REFERENCE_HANDLER = "airflow.providers.amazon.aws.executors.aws_lambda.docker.app"
#: What the task `first_line` prints.
FIRST_LINE = re.compile(r"first line at (\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class Timing:
    """What one task took: wall time, and processor time of all its processes."""

    wall_s: float
    cpu_s: float


class Worker:
    """One process that runs tasks in one way."""

    def __init__(
        self, way: Way, process: subprocess.Popen[str], answers: IO[str], output: Path
    ) -> None:
        self.way = way
        self._process = process
        self._answers = answers
        self._output = output

    def run(self, workload: str) -> Timing:
        """Run one task to its end."""
        invocation = Invocation.for_workload(InvocationId(f"bench-{time.time_ns()}"), workload)
        assert self._process.stdin is not None
        self._process.stdin.write(invocation.encode().decode() + "\n")
        self._process.stdin.flush()
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"{self.way} ended; the last it said is in {self._output}")
        return Timing(**json.loads(line))

    def first_line_at_s(self) -> float:
        """When the first line of the task ran that tells it."""
        return first_line_at_s(self.way, self._output)


def first_line_at_s(who: str, output: Path) -> float:
    """When the last task ran that tells its first line, as seconds since the epoch."""
    found = FIRST_LINE.findall(output.read_text(errors="replace"))
    if not found:
        raise RuntimeError(f"{who}: no first line of a task in {output}")
    return float(found[-1])


@dataclass(frozen=True, slots=True)
class Workers:
    """Starts them against one API server and one AWS.

    Attributes:
        variables: What the workers' environment has besides, certificates for example.
    """

    server: Server
    aws_url: str
    variables: Mapping[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def start(self, way: Way, cpus: int = 2) -> Iterator[Worker]:
        """One worker on so many processors, until the block ends."""
        folder = HOME / "workers" / way
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        answers, write = os.pipe()
        output = folder / "output"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [IMAGE / "python", "-m", "tests.bench.worker", way, str(write), str(cpus)],
                cwd=folder,
                env=self._environment(way, folder),
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=[write],
                text=True,
                start_new_session=True,
            )
        os.close(write)
        try:
            with os.fdopen(answers) as lines:
                yield Worker(way, process, lines, output)
        finally:
            # LocalExecutor's own worker outlives its parent.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def _environment(self, way: Way, folder: Path) -> Mapping[str, str]:
        queue = f"{self.aws_url}/000000000000/results"
        common = {
            "PATH": f"{IMAGE}:{os.defpath}",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'executor/src'}",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": self.server.execution_api,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "TMPDIR": str(folder),
            **self.variables,
        }
        dags = {"AIRFLOW__CORE__DAGS_FOLDER": self.server.settings["AIRFLOW__CORE__DAGS_FOLDER"]}
        if way == "ours":
            return image_variables() | common | dags | {"QUEUE_URL": queue}
        if way == "reference":
            _copy_reference_handler(folder)
            # Kept from one start to the next, as in an image that was built once.
            home = {"HOME": str(HOME / "reference"), "AIRFLOW_HOME": str(HOME / "reference")}
            return common | dags | home | {"QUEUE_URL": queue}
        # A scheduler's settings. Its database is not asked for anything here.
        no_database = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite://"}
        return {**self.server.settings, **common, **no_database}


def _copy_reference_handler(folder: Path) -> None:
    handler = importlib.util.find_spec(REFERENCE_HANDLER)
    if handler is None or handler.origin is None:
        raise RuntimeError("apache-airflow-providers-amazon is not installed: run `make setup`")
    shutil.copy(handler.origin, folder / "app.py")
