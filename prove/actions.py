"""What a step runs: a command of the shell, a deploy, a call of AWS, a command of Airflow.

Each is printed as a command that a person can copy. `$Name` in it is an output of the stage.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import string
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from prove.place import DAGS, ROOT, NotSeenError, Place

#: How often something that takes a while is asked for.
POLL_S = 10.0
Found = TypeVar("Found")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass
class Seen:
    """What a step has shown so far.

    Attributes:
        log: The file to which the commands write.
        before: What the step noted before its first action.
        texts: What each command printed.
        codes: The exit code of each command.
        answers: The answers of AWS.
    """

    log: Path
    before: Any = None
    texts: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything that the commands printed."""
        return "\n".join(self.texts)


class Action(Protocol):
    """One thing that a step does."""

    def command(self, place: Place) -> str:
        """Return it as a command to copy."""

    def run(self, place: Place, seen: Seen) -> None:
        """Do it, and add what it shows.

        Raises:
            NotSeenError: It failed and may not.
        """


@dataclass(frozen=True, slots=True)
class Shell:
    """A command of bash, in the folder of cdk.json, with the stage's outputs as variables."""

    text: str
    may_fail: bool = False

    def command(self, place: Place) -> str:
        """Return the command."""
        return self.text.replace("{stage}", place.stage)

    def run(self, place: Place, seen: Seen) -> None:
        """Run it to its end."""
        argv = ["bash", "-euo", "pipefail", "-c", self.command(place)]
        with seen.log.open("a+b") as log:
            start = log.seek(0, os.SEEK_END)
            ended = subprocess.run(
                argv,
                cwd=ROOT,
                env=environment(place),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
            log.seek(start)
            text = log.read().decode(errors="replace")
        seen.texts.append(text)
        seen.codes.append(ended.returncode)
        if ended.returncode and not self.may_fail:
            last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
            raise NotSeenError(f"the command ended with {ended.returncode}: {last.strip()}")


def deploy(
    extra: Mapping[str, Any] | None = None, *, only: str = "", may_fail: bool = False
) -> Deploy:
    """Deploy the stage with more values of its configuration; `only` one of its stacks."""
    return Deploy(extra or {}, only, may_fail)


@dataclass(frozen=True, slots=True)
class Deploy:
    """`cdk deploy` of every stack, with the plan's DAG files and values over the stage's."""

    extra: Mapping[str, Any]
    only: str = ""
    may_fail: bool = False

    def command(self, place: Place) -> str:
        """Return the command."""
        override = json.dumps(place.override(self.extra))
        which = f"{place.prefix}-{self.only} --exclusively" if self.only else "--all"
        return (
            f"mkdir -p {DAGS} && cp dags/*.py prove/dags/*.py {DAGS} && "
            f"node_modules/.bin/cdk deploy {which} --require-approval never --ci --no-color "
            f"-c stage={place.stage} -c override={shlex.quote(override)}"
        )

    def run(self, place: Place, seen: Seen) -> None:
        """Run it to its end."""
        Shell(self.command(place), self.may_fail).run(place, seen)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of AWS, by the names of boto3."""

    service: str
    operation: str
    arguments: Mapping[str, Any]

    def command(self, place: Place) -> str:  # noqa: ARG002 - the protocol's
        """Return the same call of the AWS CLI."""
        words = [f"aws {self.service} {self.operation.replace('_', '-')}"]
        for name, value in self.arguments.items():
            text = value if isinstance(value, str) else json.dumps(value)
            words.append(f"--{_CAPITAL.sub('-', name).lower()} {_quoted(text)}")
        if self.operation == "invoke":
            words.append("--cli-binary-format raw-in-base64-out /dev/stdout")
        return " ".join(words)

    def run(self, place: Place, seen: Seen) -> None:
        """Make it; if it answers in pages, ask for all of them, as the AWS CLI does."""
        outputs = place.outputs() if "$" in str(self.arguments) else {}
        arguments = {
            name: string.Template(value).substitute(outputs) if isinstance(value, str) else value
            for name, value in self.arguments.items()
        }
        service = "s3" if self.service == "s3api" else self.service  # The name in the AWS CLI.
        client = place.client(service)
        if client.can_paginate(self.operation):
            pages = client.get_paginator(self.operation).paginate(**arguments)
            answer = pages.build_full_result()
        else:
            answer = getattr(client, self.operation)(**arguments)
        body = answer.get("Payload")
        seen.answers.append(answer | {"Payload": body.read()} if body else answer)


@dataclass(frozen=True, slots=True)
class InAirflow:
    """A command in the container of a scheduler, with the role of a scheduler."""

    text: str

    def command(self, place: Place, task: str = "<task>") -> str:
        """Return the command; ECS gives it a terminal only."""
        return (
            f"aws ecs execute-command --cluster {place.prefix} --task {task} "
            f"--container scheduler --interactive --command {shlex.quote(self.text)}"
        )

    def run(self, place: Place, seen: Seen) -> None:
        """Run it in the first scheduler that runs."""
        outputs = place.outputs()
        command = string.Template(self.command(place, _scheduler(place))).substitute(outputs)
        text = in_a_terminal(["bash", "-c", command], environment(place))
        with seen.log.open("a", encoding="utf-8") as log:
            log.write(text)
        seen.texts.append(text)


def eventually(look: Callable[[], Found | None], what: str, minutes: float) -> Found:
    """Ask until there is an answer; return it.

    Raises:
        NotSeenError: There was none within the minutes.
    """
    deadline_s = time.monotonic() + minutes * 60
    while not (found := look()):
        if time.monotonic() > deadline_s:
            raise NotSeenError(f"not within {minutes:g} minutes: {what}")
        time.sleep(POLL_S)
    return found


def environment(place: Place) -> dict[str, str]:
    """Return the variables of a command: the person's own, and the stage's outputs."""
    return {**os.environ, **place.outputs(), "AWS_REGION": place.region}


def in_a_terminal(argv: list[str], variables: Mapping[str, str]) -> str:
    """Run a command that wants a terminal; return what it printed."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        argv, cwd=ROOT, env=dict(variables), stdin=its, stdout=its, stderr=its, close_fds=True
    ):
        os.close(its)
        parts = []
        try:
            while part := os.read(ours, 65536):
                parts.append(part)
        except OSError:  # Linux's way to say that nobody has the other end open.
            pass
        finally:
            os.close(ours)
    return b"".join(parts).decode(errors="replace").replace("\r\n", "\n")


def _scheduler(place: Place) -> str:
    """Return the task whose container `scheduler` runs."""
    ecs = place.client("ecs")
    tasks = ecs.list_tasks(cluster=place.prefix)["taskArns"]
    found = ecs.describe_tasks(cluster=place.prefix, tasks=tasks)["tasks"] if tasks else []
    for task in found:
        for container in task["containers"]:
            if container["name"] == "scheduler" and container["lastStatus"] == "RUNNING":
                return str(task["taskArn"])
    raise NotSeenError(f"no scheduler runs in the cluster {place.prefix}")


def _quoted(text: str) -> str:
    """Quote for the shell, but let it expand the names of outputs."""
    return text if re.fullmatch(r"[\w$./:@=-]+", text) else shlex.quote(text)
