"""`up` and `down`: an environment that keeps running between two commands.

`up` rewrites the state file after each start of a program, so that `down` finds every process even
if `up` was killed. Those are keepers (`machine/keeper.py`): they start a program that dies again,
or report its end. `down` does not destroy the stacks: they vanish with the embedded AWS.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from demo import paths, reload
from demo.installation import airflow_programs, dag_files, dag_uploads
from demo.installation.environment import Environment, sole_use
from demo.installation.project import Project
from demo.machine import process_table
from demo.machine.embedded_aws import bare_environment
from demo.machine.interrupts import interrupts_held_off, termination_as_interrupt
from demo.machine.log_tail import log_tail
from demo.machine.process_table import Identity
from demo.machine.processes import ProcessError, Program
from demo.outcome import exercise
from demo.outcome.airflow_api import Api
from demo.screen import Screen


@dataclass(frozen=True, slots=True)
class State:
    """The content of the state file; `url` is Airflow's, or None before `up` has finished.

    `dags` is the folder of the user's own DAGs; None: they are the demo's.

    The groups of processes end one after the other; `down` removes the folders.
    """

    url: str | None
    groups: tuple[tuple[Identity, ...], ...]
    folders_outside: tuple[Path, ...]
    dags: Path | None = None

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


#: Between two looks at what the DAG processor has read.
READ_PAUSE_S = 3.0
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
            return _already_up(screen, home, state, project)
        if state:  # The machine was switched off or an earlier `up` was killed.
            _end(screen, home, state)
        environment = Environment(
            home, project, screen, on_start=lambda here: _state_of(here).write(home.state)
        )
        try:
            environment.start()
            with screen.phase("Creating the default connections of a fresh Airflow"):
                environment.airflow.create_default_connections(environment.control_plane)
            if project.is_watched and project.folder:
                _follow(environment, project.folder)
            else:
                _start_dags(environment)
            shell_file = environment.write_shell_file()
            replace(_state_of(environment), url=environment.airflow.url).write(home.state)
        except BaseException:
            with interrupts_held_off():
                environment.end()
                home.state.unlink(missing_ok=True)
            raise
    screen.say(f"Airflow:      {environment.airflow.url} (everybody is its administrator)")
    screen.say(f"Embedded AWS: {environment.aws.endpoint} (key and secret: test)")
    screen.say(f"Logs:         {home.logs}")
    screen.say(f"For `airflow`, `aws` and `cdk` in a shell: source {shell_file}")
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


def _already_up(screen: Screen, home: paths.Home, state: State, project: Project) -> int:
    if state.dags != _own_dags(project):
        screen.say(
            f"Already up, with {_described(state.dags)}, at {state.url}. `make local-down` ends "
            f"it; then `make local` can start it with {_described(_own_dags(project))}."
        )
        return 1
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
    home.shell_file.unlink(missing_ok=True)


def _state_of(environment: Environment) -> State:
    """The state before `up` has finished."""
    return State(
        url=None,
        groups=tuple(tuple(group.identities()) for group in environment.groups),
        folders_outside=tuple(environment.folders_outside),
        dags=_own_dags(environment.project),
    )


def _own_dags(project: Project) -> Path | None:
    return project.folder if project.is_watched else None


def _described(dags: Path | None) -> str:
    return f"the DAGs of {dags}" if dags else "the demo's DAGs"


def _follow(environment: Environment, folder: Path) -> None:
    """Wait until Airflow has read the folder, say what it found, then follow the changes.

    The DAGs stay paused, as Airflow's configuration says: their schedules are real.
    """
    with (
        Api(environment.airflow.url) as api,
        environment.screen.phase("Waiting for Airflow to read the DAGs"),
    ):
        dag_ids, errors = _read(api)
    environment.screen.say(
        f"{len(dag_ids)} DAGs, paused until you start them: {', '.join(dag_ids)}"
    )
    for file, error in errors.items():
        environment.screen.say(f"{file} cannot be imported: {error.strip().splitlines()[-1]}")
    environment.control_plane.start(
        Program(
            name="dags-reload",
            argv=reload.command(
                folder,
                dag_uploads.location(environment.outputs),
                environment.airflow.url,
                environment.project.needs_restart,
            ),
            environment=bare_environment() | environment.aws.environment(),
            cwd=paths.ROOT,
            restart_waits_s=airflow_programs.RESTART_WAITS_S,
        )
    )


def _read(api: Api) -> tuple[list[str], dict[str, str]]:
    """The DAGs and the import errors, once there are some and no more are added."""
    deadline_s = time.monotonic() + exercise.READ_TIMEOUT_S
    before: tuple[list[str], dict[str, str]] = ([], {})
    while (found := (api.dag_ids(), api.import_errors())) != before or not any(found):
        if time.monotonic() > deadline_s:
            break
        before = found
        time.sleep(READ_PAUSE_S)
    return found


def _start_dags(environment: Environment) -> None:
    """Unpause every DAG and trigger one, so that the UI shows a run."""
    with exercise.api_with_dags(environment) as api:
        for dag_id in environment.project.dag_ids:
            api.unpause(dag_id)
        for dag_id in dag_files.MAPPED.dag_ids:
            api.trigger(dag_id)
    for child in environment.dead():
        raise child.failure("ended though it should run on")
