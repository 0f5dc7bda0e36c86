"""Child processes: start them, wait until they are ready, end them with their descendants.

Each child has its own session and log file.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from demo import paths
from demo.machine.keeper import Keeper, Restarts
from demo.machine.keeper import command as keeper_command
from demo.machine.log_tail import log_tail
from demo.machine.process_table import (
    Identity,
    adopt_orphans,
    as_user,
    end_together,
    end_with_parent,
)

POLL_S = 0.1

T = TypeVar("T")
Action = Callable[[], None]


class ProcessError(Exception):
    """A program did not start, did not get ready or failed; the message ends with its log.

    Attributes:
        log: The file of this log; None: there is none.
    """

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


@dataclass(frozen=True, slots=True)
class Program:
    """A program to start; `name` is also that of its log file.

    `argv` never holds a secret. `environment` may, so it is kept out of `repr`.
    """

    name: str
    argv: Sequence[str | Path]
    environment: Mapping[str, str] = field(repr=False)
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None
    #: The waits in seconds before it is started again if it outlives us and then ends by itself.
    restart_waits_s: Sequence[float] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Child:
    """One started program."""

    program: Program
    log: Path
    identity: Identity
    _popen: subprocess.Popen[bytes]

    def wait_until(self, probe: Callable[[], T | None], what: str, timeout_s: float) -> T:
        """Call `probe` until its answer is not None; `what` ("answers on port 8080") is for errors.

        Raises:
            ProcessError: The program ended, or the time-out has passed.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            answer = probe()
            if answer is not None:
                return answer
            code = self._popen.poll()
            if code is not None:
                raise self.failure(f"ended with exit code {code} before it {what}")
            if time.monotonic() > deadline:
                raise self.failure(f"did not get as far as '{what}' within {timeout_s:.0f} s")
            time.sleep(POLL_S)

    def wait_for_end(self, timeout_s: float, watch: Action = lambda: None) -> None:
        """Wait for the program to end by itself, calling `watch` meanwhile.

        Raises:
            ProcessError: It failed, or it was ended because the time-out has passed.
        """
        deadline = time.monotonic() + timeout_s
        while (code := self._popen.poll()) is None:
            watch()
            if time.monotonic() > deadline:
                self.end()
                raise self.failure(f"did not end within {timeout_s:.0f} s and was stopped")
            time.sleep(POLL_S)
        if code != 0:
            raise self.failure(f"ended with exit code {code}")

    def is_alive(self) -> bool:
        """Whether the program still runs."""
        return self._popen.poll() is None

    def end(self) -> None:
        """End the program and its descendants. May be repeated."""
        end_together([self.identity])
        self._popen.wait()

    def failure(self, what: str) -> ProcessError:
        """An error about this program, with the last lines of its log."""
        return ProcessError(f"{self.program.name} {what}.\n{log_tail(self.log)}", self.log)


@dataclass(eq=False)
class Children:
    """Programs that are ended together; `on_start` is called to record those that outlive us."""

    logs: Path
    _: KW_ONLY
    outlive_us: bool
    on_start: Action = lambda: None
    _children: list[Child] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if not self.outlive_us:
            adopt_orphans()  # to find and end what a killed child leaves

    def start(self, program: Program) -> Child:
        """Start a program. Call this from the main thread.

        A child that must not outlive us is ended when the *thread* that started it ends. One that
        outlives us is a keeper, which starts its program again or reports its end.

        Raises:
            ProcessError: It could not be started.
        """
        log = self.logs / f"{program.name}.log"
        with log.open("ab") as output:
            try:
                popen = subprocess.Popen(
                    **(_kept(program, log) if self.outlive_us else _bound_to_us(program)),
                    env=dict(program.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    start_new_session=True,
                )
            except OSError as e:
                raise ProcessError(
                    f"{program.name} could not be started ({e}): run `make setup`"
                ) from e
        identity = Identity.of(program.name, popen.pid, program.stop_signal)
        child = Child(program, log, identity, popen)
        self._children.append(child)
        self.on_start()
        return child

    def run(self, program: Program, timeout_s: float, watch: Action = lambda: None) -> None:
        """Start a program and wait for its end.

        Raises:
            ProcessError: It failed, or the time-out has passed.
        """
        self.finish(self.start(program), timeout_s, watch)

    def finish(self, child: Child, timeout_s: float, watch: Action = lambda: None) -> None:
        """Wait for the end of a started program.

        Raises:
            ProcessError: It failed, or the time-out has passed.
        """
        child.wait_for_end(timeout_s, watch)
        self.forget(child)

    def __iter__(self) -> Iterator[Child]:
        """Yield the children that were started, whether they still run or not."""
        return iter(tuple(self._children))

    def forget(self, child: Child) -> None:
        """Take a child that has ended out of the group, so that it is not reported as dead."""
        self._children.remove(child)

    def dead(self) -> list[Child]:
        """The children that have ended by themselves."""
        return [child for child in self._children if not child.is_alive()]

    def identities(self) -> list[Identity]:
        """The children that still run, so that another process can find them."""
        return [child.identity for child in self._children if child.is_alive()]

    def end_all(self) -> None:
        """End every child."""
        end_together(self.identities())
        while self._children:
            self._children.pop().end()


def _bound_to_us(program: Program) -> dict[str, Any]:
    """The arguments of `Popen` for a program that ends with us."""
    return {
        "args": [str(argument) for argument in program.argv],
        "cwd": program.cwd,
        "stderr": subprocess.STDOUT,
        "preexec_fn": end_with_parent(program.stop_signal),
        **as_user(program.user),
    }


def _kept(program: Program, log: Path) -> dict[str, Any]:
    """The arguments of `Popen` for a keeper of the program; it reports on our terminal."""
    keeper = Keeper(
        name=program.name,
        argv=[str(argument) for argument in program.argv],
        cwd=program.cwd,
        user=program.user,
        log=log,
        restarts=Restarts(program.restart_waits_s),
    )
    return {
        "args": keeper_command(keeper),
        "cwd": paths.ROOT,
        # A pipe would stay open as long as the keeper lives.
        "stderr": None if sys.stderr.isatty() else subprocess.STDOUT,
    }
