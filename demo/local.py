"""`up` and `down`: the environment kept up between two commands.

What `down` needs is in one file: the processes, in groups that end one after the other, and the
folders outside of the home. Nothing is destroyed through CDK at the end: the embedded AWS keeps
what was deployed in memory, and forgets it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import dag_folder, paths, process_table, processes
from demo.environment import Environment, sole_use, termination_as_interrupt
from demo.process_table import Identity
from demo.runs import Api
from demo.screen import Screen

READ_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class State:
    """What is up."""

    url: str
    aws_endpoint: str
    groups: tuple[tuple[Identity, ...], ...]
    folders_outside: tuple[Path, ...]

    @classmethod
    def read(cls, file: Path) -> State | None:
        """What the file says; None: there is none."""
        try:
            content: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        return cls(
            url=content["url"],
            aws_endpoint=content["aws_endpoint"],
            groups=tuple(tuple(Identity(**each) for each in group) for group in content["groups"]),
            folders_outside=tuple(Path(folder) for folder in content["folders_outside"]),
        )

    def write(self, file: Path) -> None:
        """Keep it for `down`."""
        content = {
            "url": self.url,
            "aws_endpoint": self.aws_endpoint,
            "groups": [[each.to_json() for each in group] for group in self.groups],
            "folders_outside": [str(folder) for folder in self.folders_outside],
        }
        file.write_text(json.dumps(content, indent=2) + "\n")

    def alive(self) -> list[Identity]:
        """The processes that are still those that were started."""
        return [each for group in self.groups for each in group if each.is_alive()]


def up(screen: Screen, home: paths.Home, files: Sequence[dag_folder.DagFile]) -> int:
    """Start everything, let every DAG run, and leave it."""
    state = State.read(home.state)
    if state and state.alive():
        screen.say(f"Already up: Airflow is at {state.url}. `make local-down` ends it.")
        return 0
    environment = Environment(home, files, screen, outlive_us=True)
    with sole_use(home), termination_as_interrupt():
        try:
            environment.start()
            _set_going(environment)
            _state_of(environment).write(home.state)
        except BaseException:
            with processes.interrupts_held_off():
                environment.end()
            raise
    screen.say(f"Airflow:      {environment.airflow.url} (everybody is its administrator)")
    screen.say(f"Embedded AWS: {environment.aws.endpoint} (key and secret: test)")
    screen.say(f"Logs:         {home.logs}")
    screen.say("`make local-down` ends it.")
    return 0


def down(screen: Screen, home: paths.Home) -> int:
    """End what `up` started."""
    state = State.read(home.state)
    if state is None:
        screen.say("Nothing is up: `make local` starts it.")
        return 0
    for group in state.groups:
        screen.say("Ending " + ", ".join(f"{process.name} ({process.pid})" for process in group))
        process_table.end_together(group)
    for folder in state.folders_outside:
        shutil.rmtree(folder, ignore_errors=True)
    home.state.unlink()
    screen.say("Everything has ended. What was deployed is gone with the embedded AWS.")
    return 0


def _state_of(environment: Environment) -> State:
    return State(
        url=environment.airflow.url,
        aws_endpoint=environment.aws.endpoint,
        groups=tuple(tuple(group.identities()) for group in environment.groups),
        folders_outside=tuple(environment.folders_outside),
    )


def _set_going(environment: Environment) -> None:
    """Unpause all, and run one DAG so that there is something to look at."""
    dag_ids = [dag_id for file in environment.files for dag_id in file.dag_ids]
    with Api(environment.airflow.url) as api:
        with environment.screen.phase("Waiting for Airflow to read the DAGs"):
            api.wait_for_dags(dag_ids, READ_TIMEOUT_S)
        for dag_id in dag_ids:
            api.unpause(dag_id)
        for dag_id in dag_folder.MAPPED.dag_ids:
            api.trigger(dag_id)
