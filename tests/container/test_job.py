"""The image as a job of AWS Batch or Amazon ECS: its own entry point, started by `job`."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.wire import Invocation, InvocationId, Outcome, Result
from tests.container.emulated import LIMITS, MEMORY_MB, variables_of
from tests.container.engine import Podman
from tests.support.handler_process import Server, task

_ENDS_WITHIN_S = 60


class JobContainer:
    """One container that runs a task as a job, confined as a function is."""

    def __init__(
        self, podman: Podman, image: str, server: Server, log: Path, workload: dict[str, Any]
    ) -> None:
        self._podman, self._server, self._log = podman, server, log
        self._name = f"job-{uuid.uuid4().hex[:8]}"
        reply_to = f"{server.url}/sqs/results"
        invocation = Invocation.for_workload(
            InvocationId(uuid.uuid4().hex), json.dumps(workload), reply_to=reply_to
        )
        given = [f"--env={name}={value}" for name, value in variables_of(server).items()]
        run = ["run", "--rm", f"--name={self._name}", *LIMITS, "--network=host", *given, image]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                podman.command(*run, "job", invocation.encode().decode()),
                env=podman.environment,
                cwd=log.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        """Send the request to stop to the container's first process."""
        self._podman.call("kill", "--signal=TERM", self._name)

    def result(self) -> Result:
        """The one result of the job, which ends with the exit code of a reported end."""
        assert self._process.wait(_ENDS_WITHIN_S) == 0, self.log()
        (result,) = self._server.results
        return result

    def wait_until_it_says(self, what: str) -> None:
        """Wait until the task has said something."""
        until_s = time.monotonic() + _ENDS_WITHIN_S
        while what not in self.log():
            assert time.monotonic() < until_s, self.log()
            time.sleep(0.05)

    def log(self) -> str:
        """All that the container wrote."""
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        """Remove the container."""
        self._podman.call("rm", "--force", "--ignore", "--time=0", self._name)
        self._process.wait(20)


class Jobs:
    """Starts jobs in containers, and removes them."""

    def __init__(self, podman: Podman, image: str, server: Server, folder: Path) -> None:
        self._parts = podman, image, server
        self._folder = folder
        self._started: list[JobContainer] = []

    def start(self, task_id: str) -> JobContainer:
        """Start the job of a task."""
        log = self._folder / f"log-{len(self._started)}"
        self._started.append(JobContainer(*self._parts, log, task(task_id)))
        return self._started[-1]

    def close(self) -> None:
        """Remove all of them."""
        for job in self._started:
            job.close()


@pytest.fixture
def world() -> Iterator[Server]:
    """A world of its own, in which every task may be tried again."""
    server = Server(run_context={"should_retry": True})
    yield server
    server.close()


@pytest.fixture
def jobs(podman: Podman, image: str, world: Server, tmp_path: Path) -> Iterator[Jobs]:
    """Where jobs run."""
    jobs = Jobs(podman, image, world, tmp_path)
    yield jobs
    jobs.close()


def test_a_task_runs_as_a_job(jobs: Jobs, world: Server) -> None:
    """The image's entry point needs neither Lambda nor its emulator."""
    result = jobs.start("tells").result()
    assert (result.outcome, result.return_code, result.reason) == (Outcome.COMPLETED, 0, "")
    assert world.told_states() == ["success"]


def test_a_job_is_asked_to_stop_by_its_container(jobs: Jobs, world: Server) -> None:
    """The signal reaches the job, which is the container's first process."""
    job = jobs.start("sleeps")
    job.wait_until_it_says("sleeping")
    job.stop()
    result = job.result()
    assert result.outcome is Outcome.DEADLINE
    assert "AWS asked this job to stop" in result.reason
    assert world.told_states() == ["up_for_retry"]


def test_a_job_that_outgrows_its_memory_is_told_of(jobs: Jobs, world: Server) -> None:
    """The kernel counts the kill in the container's cgroup, which also has the limit."""
    result = jobs.start("outgrows").result()
    assert (result.outcome, result.return_code) == (Outcome.CRASHED, -signal.SIGKILL)
    assert f"more than the job's memory of {MEMORY_MB} MB" in result.reason
    assert world.told_states() == ["up_for_retry"]
