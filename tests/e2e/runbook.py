"""The commands of the runbook's sections, and what the page says that they print."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from demo import paths

PAGE = paths.ROOT / "docs" / "howto" / "runbook.md"
TIMEOUT_S = 180.0

_STEP = re.compile(r"^```sh\n(.*?)^```\n\n```text\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: Version 1 of the AWS CLI ignores the endpoint of the environment for SQS.
_AWS = 'aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }\n'


class Step(NamedTuple):
    """Commands of a section, and what they print."""

    commands: str
    output: str


def steps() -> dict[str, list[Step]]:
    """Return the steps of each section, by its anchor; those without an output are left out."""
    _, *sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    titled = (section.partition("\n") for section in sections)
    return {
        title.lower().replace(" ", "-"): [Step(*found) for found in _STEP.findall(text)]
        for title, _, text in titled
    }


def difference(step: Step, values: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Run the commands in a bash; return what they print if it is not as the page says, or nothing.

    Args:
        step: The commands, with `<name>` for some of their values.
        values: These values.
        environment: Variables of the bash, with `aws` and `airflow` on its PATH.
    """
    script = step.commands
    for name, value in values.items():
        script = script.replace(f"<{name}>", value)
    done = subprocess.run(
        ["bash", "-uo", "pipefail", "-c", f"{_AWS}{script}"],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    # Before its last words a program that fails writes its log.
    complaint = done.stderr.strip().rpartition("\n")[2] if done.returncode else ""
    printed = f"{done.stdout}{complaint}"
    fits = pattern(step.output).fullmatch(" ".join(printed.split()))
    return "" if fits else f"{printed}\n{done.stderr}"


def pattern(output: str) -> re.Pattern[str]:
    """Return what prints have this shape: `...` stands for anything, a number for any number."""
    shape = re.escape(" ".join(output.split())).replace(r"\.\.\.", ".*")
    shape = re.sub(r"[0-9a-f]{8}(\\-[0-9a-f]{4}){3}\\-[0-9a-f]{12}", r"[\\w-]+", shape)
    return re.compile(re.sub(r"\d+", r"\\d+", shape), re.DOTALL)
