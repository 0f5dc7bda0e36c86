"""`up` and `down`: an environment that keeps running between two commands.

`up` rewrites the state file after each start of a program, so that `down` finds every process even
if `up` was killed. Those are keepers (`machine/keeper.py`): they start a program that dies again,
or report its end. `down` does not destroy the stacks: they vanish with the embedded AWS.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from demo import paths
from demo.installation import dag_files
from demo.installation.environment import Environment, sole_use
from demo.installation.project import Project
from demo.machine import process_table
from demo.machine.interrupts import interrupts_held_off, termination_as_interrupt
from demo.machine.log_tail import log_tail
from demo.machine.process_table import Identity
from demo.machine.processes import ProcessError
from demo.outcome import exercise
from demo.screen import Screen


@dataclass(frozen=True, slots=True)
class State:
    """The content of the state file; `url` is Airflow's, or None before `up` has finished.

    The groups of processes end one after the other; `down` removes the folders.
    """

    url: str | None
    groups: tuple[tuple[Identity, ...], ...]
    folders_outside: tuple[Path, ...]

    @classmethod
    def read(cls, file: Path) -> State | None:
        """Read the state; None: there is no file.

        Raises:
            ProcessError: The file is not readable, or is another version's.
        """
        try:
            return _STATE.validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as e:
            raise ProcessError(
                f"{file} is not this version's: end what it names with the version that wrote it, "
                "or end the processes yourself and remove the file"
            ) from e

    def write(self, file: Path) -> None:
        """Replace the file atomically."""
        fresh = file.with_suffix(".new")
        fresh.write_bytes(_STATE.dump_json(self, indent=2))
        fresh.replace(file)

    def alive(self) -> list[Identity]:
        """The processes that still run."""
        return [each for group in self.groups for each in group if each.is_alive()]


_STATE = TypeAdapter(State)


def up(screen: Screen, home: paths.Home, project: Project) -> int:
    """Start everything, unpause every DAG, trigger one, and leave everything running.

    Raises:
        EnvironmentInUseError: Another `up` or `down` is in progress.
        ProcessError: A program did not start; the others were ended.
        RunsError: Airflow did not read the DAGs in time or refused a request.
    """
    with sole_use(home), termination_as_interrupt():
        state = State.read(home.state)
        if state and state.url and state.alive():
            return _already_up(screen, home, state)
        if state:  # The machine was switched off or an earlier `up` was killed.
            _end(screen, home, state)
        environment = Environment(
            home, project, screen, on_start=lambda here: _state_of(here).write(home.state)
        )
        try:
            environment.start()
            _start_dags(environment)
            replace(_state_of(environment), url=environment.airflow.url).write(home.state)
        except BaseException:
            with interrupts_held_off():
                environment.end()
                home.state.unlink(missing_ok=True)
            raise
    screen.say(f"Airflow:      {environment.airflow.url} (everybody is its administrator)")
    screen.say(f"Embedded AWS: {environment.aws.endpoint} (key and secret: test)")
    screen.say(f"Logs:         {home.logs}")
    screen.say("`make local-down` ends it.")
    return 0


def down(screen: Screen, home: paths.Home) -> int:
    """End what `up` started.

    Raises:
        EnvironmentInUseError: An `up` is in progress.
    """
    with sole_use(home):
        state = State.read(home.state)
        if state is None:
            screen.say("Nothing is up: `make local` starts it.")
            return 0
        _end(screen, home, state)
    screen.say("Everything has ended. What was deployed is gone with the embedded AWS.")
    return 0


def _already_up(screen: Screen, home: paths.Home, state: State) -> int:
    dead = [each for group in state.groups for each in group if not each.is_alive()]
    if not dead:
        screen.say(f"Already up: Airflow is at {state.url}. `make local-down` ends it.")
        return 0
    names = ", ".join(process.name for process in dead)
    screen.say(
        f"Only a part is still up: {names} ended by itself. "
        "`make local-down` ends the rest, `make local` then starts everything anew."
    )
    for process in dead:
        screen.say(log_tail(home.logs / f"{process.name}.log"))
    return 1


def _end(screen: Screen, home: paths.Home, state: State) -> None:
    for group in state.groups:
        alive = [process for process in group if process.is_alive()]
        if alive:
            names = ", ".join(f"{process.name} ({process.pid})" for process in alive)
            screen.say(f"Ending {names}")
            process_table.end_together(alive)
    for folder in state.folders_outside:
        shutil.rmtree(folder, ignore_errors=True)
    home.state.unlink()


def _state_of(environment: Environment) -> State:
    """The state before `up` has finished."""
    return State(
        url=None,
        groups=tuple(tuple(group.identities()) for group in environment.groups),
        folders_outside=tuple(environment.folders_outside),
    )


def _start_dags(environment: Environment) -> None:
    """Unpause every DAG and trigger one, so that the UI shows a run."""
    with exercise.api_with_dags(environment) as api:
        for dag_id in environment.project.dag_ids:
            api.unpause(dag_id)
        for dag_id in dag_files.MAPPED.dag_ids:
            api.trigger(dag_id)
    for child in environment.dead():
        raise child.failure("ended though it should run on")
