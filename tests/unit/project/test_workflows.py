"""The workflows of GitHub call what is there, and may do no more than they need.

`make lint` checks them against GitHub's schema, and with zizmor.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.project.files import ROOT, VERBS, WORKFLOWS, read_yaml

#: An action by the whole id of a commit, with its version for people and for Dependabot.
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
#: Another workflow of this repository, of the same commit.
OWN = re.compile(r"uses: \$/(\S+)$")
#: What a command may begin with, besides a verb of make and a file of the repository.
TOOLS = {"docker", "gh", "make", "printf", "sudo"}


def jobs(workflow: Path) -> dict[str, Any]:
    """The jobs of a workflow."""
    found: dict[str, Any] = read_yaml(workflow)["jobs"]
    return found


def runs() -> Iterator[tuple[str, str]]:
    """Every script of every step, with the name of its workflow."""
    for workflow in WORKFLOWS:
        for job in jobs(workflow).values():
            for step in job.get("steps", []):
                if "run" in step:
                    yield workflow.name, step["run"]


def commands(script: str) -> list[list[str]]:
    """The commands of a script, without what sets a variable."""
    lines = [shlex.split(line, comments=True) for line in script.replace("\\\n", " ").splitlines()]
    return [words for words in lines if words and not re.match(r"\w+=", words[0])]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit(workflow: Path) -> None:
    """A tag can be moved to other code; a workflow of ours is there."""
    lines = [line.strip(" -") for line in workflow.read_text().splitlines() if " uses: " in line]
    assert lines
    for line in lines:
        own = OWN.fullmatch(line)
        assert PINNED.fullmatch(line) or (own and (ROOT / own[1]).is_file()), line


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_has_a_time_limit_and_few_permissions(workflow: Path) -> None:
    """Only a job may be allowed to write, and none runs for the six hours that are the default."""
    content = read_yaml(workflow)
    assert set(content["permissions"].values()) <= {"read"}
    for name, job in content["jobs"].items():
        assert "uses" in job or job["timeout-minutes"] <= 90, name
        assert job.get("permissions") != "write-all", name
    assert content["concurrency"]["group"]


def test_every_command_is_there() -> None:
    """A verb of the Makefile, a program of the repository, or a tool of GitHub's machines."""
    seen = set()
    for name, script in runs():
        for first, *rest in commands(script):
            assert first in TOOLS or (ROOT / first).is_file(), f"{name}: {first}"
            seen.add(first)
            if first == "make":
                verbs = {word for word in rest if re.fullmatch(r"[a-z-]+", word)}
                assert verbs - {"--silent"} <= VERBS, f"{name}: {rest}"
    assert seen >= {"make", ".ci/run"}


def test_ci_runs_what_ci_runs_elsewhere() -> None:
    """One job is `.ci/run` and nothing beside it but the machine's own settings."""
    scripts = [
        step["run"] for step in jobs(ROOT / ".github/workflows/ci.yml")["everything"]["steps"][3:]
    ]
    assert scripts[-1] == ".ci/run"
    assert all(script.startswith("sudo sysctl ") for script in scripts[:-1])


def test_nothing_is_published_before_the_tests() -> None:
    """Each job that publishes waits for the one before it, and the first of them for the tests."""
    release = jobs(ROOT / ".github/workflows/release.yml")
    order = ["tests", "build", "image", "pypi", "github"]
    assert list(release) == order
    assert [release[job].get("needs") for job in order] == [None, *order[:-1]]
    assert release["tests"]["uses"] == "$/.github/workflows/ci.yml"
    assert "workflow_call" in (ROOT / ".github/workflows/ci.yml").read_text()


def test_pypi_needs_no_token() -> None:
    """Trusted publishing: the job's identity in its environment is all that it has."""
    pypi = jobs(ROOT / ".github/workflows/release.yml")["pypi"]
    assert pypi["permissions"] == {"id-token": "write"}
    assert pypi["environment"] == "pypi"
    assert all("password" not in step.get("with", {}) for step in pypi["steps"])


def test_the_image_is_built_as_lambda_needs_it() -> None:
    """One image for one processor, without attestations inside, from the Dockerfile."""
    (build,) = [
        words
        for _, script in runs()
        for words in commands(script)
        if "buildx build" in " ".join(words[:3])
    ]
    assert {"--provenance=false", "--sbom=false", "--platform", "linux/amd64"} <= set(build)
    assert (ROOT / build[build.index("--file") + 1]).is_file()
