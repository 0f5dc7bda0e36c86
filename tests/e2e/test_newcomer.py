"""The page "The first hour" is true: its commands do what it says, in its order.

A bash runs the page's commands in a copy of the repository, beside which the page puts a DAG
repository and an Airflow that pip has installed. Only the port of the API server is replaced.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from demo import paths
from demo.installation.environment import free_port
from demo.machine.embedded_aws import bare_environment, download_settings
from tests.support.aws_cli import aws_cli
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(1200)

PAGE = paths.ROOT / "docs" / "howto" / "first-hour.md"
FOLDER = paths.ROOT / "build" / "newcomer"
KIT, AIRFLOW, DAGS = FOLDER / "kit", FOLDER / "my-airflow", FOLDER / "my-dags"
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Block:
    """A block of the page.

    Attributes:
        file: The path that the page names for it, or empty.
    """

    language: str
    text: str
    file: str


def blocks(page: str) -> list[Block]:
    """Every block of a page, in order."""
    found = re.findall(
        r"(?:^`([^`\n]+)`:\n\n)?^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    return [Block(language, text, file) for file, language, text in found]


class Shell:
    """A person's bash, whose commands run one after the other."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.log = log
        self._output: IO[str] = log.open("w")
        self._done = log.with_suffix(".done")
        self._process = subprocess.Popen(
            ["bash", "-euo", "pipefail"],
            cwd=folder,
            env=download_settings()
            | {"PATH": f"{aws_cli()}:{bare_environment()['PATH']}", "HOME": str(FOLDER)},
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, commands: str) -> None:
        """Run some commands to their end."""
        self._done.unlink(missing_ok=True)
        assert self._process.stdin
        self._process.stdin.write(f"{commands}\ntouch {self._done}\n")
        self._process.stdin.flush()

        def ended() -> bool | None:
            assert self._process.poll() is None, f"{commands}\n{self.log.read_text()[-4000:]}"
            return self._done.exists() or None

        until(ended, commands, TIMEOUT_S)

    def start(self, command: str) -> None:
        """Start a command that does not end by itself."""
        assert self._process.stdin
        self._process.stdin.write(f"exec {command}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it with everything that it started."""
        os.killpg(self._process.pid, signal.SIGTERM)
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(TIMEOUT_S)
        self._output.close()


@dataclass(frozen=True)
class Story:
    """What happened.

    Attributes:
        totals: What the task returned in each run.
        doctor: What the doctor printed.
        stacks: The stacks of the account after `make destroy`.
    """

    totals: list[dict[str, int]]
    doctor: str
    stacks: list[str]


def clone() -> None:
    """A fresh copy of the repository, as it is here, without anything that is installed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=paths.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (source := paths.ROOT / name).is_file():
            (KIT / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, KIT / name)


def add_stage(text: str) -> None:
    """Add the page's stage to `cdk.json`, as the page says."""
    file = KIT / "cdk.json"
    content = json.loads(file.read_text())
    content["context"]["stages"].update(json.loads("{" + text + "}"))
    file.write_text(json.dumps(content, indent=2))


class Airflow:
    """The newcomer's Airflow, by its REST API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v2"

    def get(self, path: str) -> Any | None:
        """The answer; None: there is none yet."""
        try:
            answer = httpx.get(f"{self._url}{path}", timeout=10, trust_env=False)
        except httpx.TransportError:
            return None
        return answer.json() if answer.is_success else None

    def is_healthy(self) -> bool | None:
        """Whether all programs are."""
        health = self.get("/monitor/health")
        if health is None:
            return None
        names = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return all(health[name]["status"] == "healthy" for name in names) or None

    def version(self) -> str | None:
        """The version of the DAG's files that Airflow has read."""
        found = self.get("/dags/orders")
        version: str | None = found and found["bundle_version"]
        return version

    def totals(self, count: int) -> dict[str, int] | None:
        """What the newest of so many runs returned; None: it has not ended."""
        ended = self._ended(count)
        if ended is None:
            return None
        state, run_id = ended
        assert state == "success", self._log(run_id)
        value = self.get(
            f"/dags/orders/dagRuns/{run_id}/taskInstances/totals/xcomEntries/return_value"
        )
        totals: dict[str, int] = value["value"] if value else {}
        return json.loads(totals) if isinstance(totals, str) else totals

    def _ended(self, count: int) -> tuple[str, str] | None:
        """State and name of the newest of so many runs; None: it has not ended."""
        runs = (self.get("/dags/orders/dagRuns?order_by=-id") or {"dag_runs": []})["dag_runs"]
        if len(runs) != count or runs[0]["state"] not in ("success", "failed"):
            return None
        return runs[0]["state"], runs[0]["dag_run_id"]

    def _log(self, run_id: str) -> str:
        return json.dumps(self.get(f"/dags/orders/dagRuns/{run_id}/taskInstances/totals/logs/1"))


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    """Follow the page."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    AIRFLOW.mkdir(parents=True)
    clone()
    port = free_port()
    page = PAGE.read_text().replace("8080", str(port))
    airflow = Airflow(port)
    cloud, person = Shell(KIT, FOLDER / "cloud.log"), Shell(KIT, FOLDER / "person.log")
    try:
        yield follow(blocks(page), cloud, person, airflow)
    finally:
        person.close()
        cloud.close()


def follow(page: list[Block], cloud: Shell, person: Shell, airflow: Airflow) -> Story:
    """Do what the page says, and wait where a person would look at the UI."""
    steps = iter(page)

    def run(contains: str) -> None:
        block = next(steps)
        assert block.language == "bash", block
        assert contains in block.text, block
        person.run(block.text)

    def write() -> None:
        block = next(steps)
        file = KIT / block.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text)

    def totals(run: int) -> dict[str, int]:
        return until(lambda: airflow.totals(run), f"run {run} ends", TIMEOUT_S)

    run("make setup")
    cloud.start("make local-aws")
    shell_file = KIT / "build" / "local-aws" / "env.sh"
    until(lambda: shell_file.exists() or None, "make local-aws writes its file", TIMEOUT_S)
    run("source build/local-aws/env.sh")
    write()
    write()
    run("aws s3 mb")
    stage = next(steps)
    add_stage(stage.text)
    run("cdk deploy")
    run("pip install")
    run("assume-role")
    run("airflow scheduler")
    until(airflow.is_healthy, "Airflow is healthy", TIMEOUT_S)
    doctor = next(steps)
    person.run(f"{doctor.text.rstrip()} > {FOLDER / 'doctor.txt'}")
    run("DagsPushCommand")
    first = until(airflow.version, "Airflow reads the pushed DAG", TIMEOUT_S)
    run("dags trigger")
    results = [totals(1)]
    run("DagsPushCommand")
    pushed_s = time.monotonic()
    until(
        lambda: airflow.version() not in (None, first) or None, "Airflow sees the push", TIMEOUT_S
    )
    (FOLDER / "seconds-to-see-a-push.txt").write_text(f"{time.monotonic() - pushed_s:.1f}\n")
    again = "(source ../my-airflow/env.sh && airflow dags trigger orders)"
    person.run(again)
    results.append(totals(2))
    destroy = next(steps)
    assert "make destroy" in destroy.text
    person.run(f"echo shared | {destroy.text}")
    stacks = "aws cloudformation describe-stacks --query 'Stacks[].StackName' --output text"
    person.run(f"{stacks} > {FOLDER / 'stacks.txt'}")
    assert next(steps, None) is None, "the page has more blocks than the test runs"
    return Story(
        totals=results,
        doctor=(FOLDER / "doctor.txt").read_text(),
        stacks=(FOLDER / "stacks.txt").read_text().split(),
    )


def test_a_task_reads_the_bucket_with_pandas(story: Story) -> None:
    """The requirements, the variable and the permission of the stage reach the task."""
    assert story.totals[0] == {"ann": 8, "bob": 4}


def test_a_push_changes_the_next_run(story: Story) -> None:
    """Nothing is deployed or restarted for it."""
    assert story.totals[1] == {"ann": 5, "bob": 4}


def test_the_doctor_finds_nothing(story: Story) -> None:
    """The page leaves nothing out."""
    assert " 0 to fix, 0 unknown" in story.doctor


def test_nothing_is_left(story: Story) -> None:
    """`make destroy` deletes all stacks of the stage; `cdk bootstrap` made the other one."""
    assert story.stacks == ["CDKToolkit"]
