"""Child processes: start them, wait until they are ready, end them with their descendants.

Each child has its own session and log file.
"""

from __future__ import annotations

import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TypeVar

from demo.machine.process_table import Identity, adopt_orphans, end_together, end_with_parent

POLL_S = 0.1
LOG_LINES_SHOWN = 25

T = TypeVar("T")
Action = Callable[[], None]


class ProcessError(Exception):
    """A program did not start, did not get ready or failed; the message ends with its log."""


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
        return ProcessError(f"{self.program.name} {what}.\n{_log_tail(self.log)}")


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

        A child that must not outlive us is ended when the *thread* that started it ends.

        Raises:
            ProcessError: It could not be started.
        """
        log = self.logs / f"{program.name}.log"
        in_child = None if self.outlive_us else end_with_parent(program.stop_signal)
        with log.open("ab") as output:
            try:
                popen = subprocess.Popen(
                    [str(argument) for argument in program.argv],
                    env=dict(program.environment),
                    cwd=program.cwd,
                    user=program.user,
                    group=pwd.getpwnam(program.user).pw_gid if program.user else None,
                    extra_groups=[] if program.user else None,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=in_child,  # noqa: PLW1509  # one system call, loaded before the fork
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


def _log_tail(log: Path) -> str:
    """The last lines of a log, under its path."""
    try:
        text = log.read_text(errors="replace").splitlines()
    except OSError as e:
        return f"No log: {e}"
    shown = "\n".join(f"  | {line}" for line in text[-LOG_LINES_SHOWN:])
    return f"The last lines of {log}:\n{shown}" if shown else f"{log} is empty."
