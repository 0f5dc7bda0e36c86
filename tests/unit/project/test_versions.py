"""Every file that says which versions are supported says the same."""

from __future__ import annotations

import re

from airflow.cli.cli_config import ActionCommand, GroupCommand

from lambda_executor.ops import cli
from stacks.config import ImageConfig
from stacks.config.sections.database import DatabaseConfig
from tests.support.minors import VENVS
from tests.unit.project.files import MAKEFILE, ROOT, read_toml, read_yaml

CI = read_yaml(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
PAGE = (ROOT / "docs" / "reference" / "versions.md").read_text(encoding="utf-8")
PYTHONS = ["3.11", "3.12", "3.13"]


def rows(section: str) -> list[str]:
    """The first cells of the table of a section of the page."""
    (text,) = re.findall(rf"^### {section}$(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    cells = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    return cells[2:]


def test_the_versions_of_airflow_agree() -> None:
    """CI's matrix, the tests, the locks of the image, the dependency groups, and the page."""
    locks = {path.stem for path in (ROOT / "lambda_image" / "locks").glob("*.txt")}
    assert CI["airflow"]["strategy"]["matrix"]["airflow"] == list(VENVS)
    assert {lock.rpartition(".")[0] for lock in locks} == set(VENVS)
    (groups,) = re.findall(r"^AIRFLOWS := (.*)$", MAKEFILE, re.MULTILINE)
    assert {f"airflow-{group}" for group in groups.split()} == set(filter(None, VENVS.values()))
    assert rows("Airflow") == list(reversed(VENVS))
    assert [lock for lock in locks if f"`{lock}`" not in PAGE and lock not in PAGE] == []


def test_the_versions_of_python_agree() -> None:
    """CI's matrices, what the packages allow and say, what `make` accepts, and the page."""
    assert CI["airflow"]["strategy"]["matrix"]["python"] == PYTHONS
    assert CI["python"]["strategy"]["matrix"]["python"] == PYTHONS
    assert read_toml(ROOT / "pyproject.toml")["project"]["requires-python"] == ">=3.11,<3.14"
    for package in ("executor", "constructs"):
        said = read_toml(ROOT / package / "pyproject.toml")["project"]["classifiers"]
        prefix = "Programming Language :: Python :: 3."
        assert [text[-4:] for text in said if text.startswith(prefix)] == PYTHONS
    assert "(3, 11) <= v < (3, 14)" in MAKEFILE
    assert rows("Python") == list(reversed(PYTHONS))


def test_the_versions_of_a_stage_agree() -> None:
    """What a stage may choose is on the page: Postgres, and the Python of the image."""
    postgres = DatabaseConfig.model_json_schema()["properties"]["postgres_version"]["enum"]
    assert sorted(rows("Postgres")) == sorted(postgres)
    image = ImageConfig.model_json_schema()["properties"]["python_version"]["enum"]
    assert sorted(rows("The image's base")) == sorted(f"`python:{version}`" for version in image)


def test_the_version_of_node_agrees() -> None:
    """CI and the page have the one that is recommended."""
    steps = [step for job in CI.values() for step in job["steps"]]
    used = {step["with"]["node-version"] for step in steps if "setup-node" in step.get("uses", "")}
    assert used == {"22"}
    assert "22" in rows(r"Node\.js")


def test_the_command_that_a_bug_report_asks_for_exists() -> None:
    """The doctor's answer as JSON."""
    (named,) = re.findall(
        r"`airflow lambda-executor (\S+) (--\S+)`",
        (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text(),
    )
    (group,) = cli.get_cli_commands()
    assert isinstance(group, GroupCommand)
    command = next(command for command in group.subcommands if command.name == named[0])
    assert isinstance(command, ActionCommand)
    assert named[1] in {flag for argument in command.args for flag in argument.flags}
