"""Child processes: how they start, how they are known to be ready, how they end.

Each child has a session and a log file of its own. It is ended politely first, then for good, with
everything that it started. It must not know what the programs are.
Linux only: `prctl`.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from demo.machine.process_table import Identity, end_together

POLL_S = 0.1
LOG_LINES_SHOWN = 25

# https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html and PR_SET_CHILD_SUBREAPER
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


class ProcessError(Exception):
    """A program did not start, did not get ready or failed; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to start.

    Attributes:
        name: For people; also the name of its log file.
        argv: The command line; never holds a secret.
        environment: All of its environment; may hold secrets, so kept out of `repr`.
        cwd: Its working directory.
        stop_signal: What asks it to end.
        user: The account to run as; None: the caller's.
    """

    name: str
    argv: Sequence[str | Path]
    environment: Mapping[str, str] = field(repr=False)
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None


class Child:
    """One started program."""

    def __init__(self, program: Program, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.program = program
        self.log = log
        self._popen = popen
        self.identity = Identity.of(program.name, popen.pid, program.stop_signal)

    def wait_until(self, probe: Callable[[], T | None], what: str, timeout_s: float) -> T:
        """Wait for the probe's answer.

        Args:
            probe: None means not yet. Called a few times each second.
            what: What the probe waits for, for the error: "answers on port 8080".
            timeout_s: How long to wait.

        Raises:
            ProcessError: The program ended, or the time is up.
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

    def wait_for_end(self, timeout_s: float, watch: Callable[[], None] = lambda: None) -> None:
        """Wait for a program that is to end by itself.

        Args:
            timeout_s: How long it may take; it is ended then.
            watch: Called while waiting.

        Raises:
            ProcessError: It failed, or the time is up.
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
        """Whether it still runs."""
        return self._popen.poll() is None

    def end(self) -> None:
        """End it and its group; again is fine."""
        end_together([self.identity])
        self._popen.wait()

    def failure(self, what: str) -> ProcessError:
        """The error that says what happened, with the last lines of the log."""
        return ProcessError(f"{self.program.name} {what}.\n{log_tail(self.log)}")


class Children:
    """Programs that are ended together.

    Args:
        logs: The folder of their log files.
        outlive_us: Whether they go on when this process is gone.
        on_start: Called after each start, so that what outlives us is on record at once.
    """

    def __init__(
        self, logs: Path, *, outlive_us: bool, on_start: Callable[[], None] = lambda: None
    ) -> None:
        self._logs = logs
        self._outlive_us = outlive_us
        self._on_start = on_start
        self._children: list[Child] = []
        if not outlive_us:
            # What a killed child leaves behind becomes ours, and can be found.
            _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def start(self, program: Program) -> Child:
        """Start a program. Call it from the main thread.

        The signal that ends a child with its parent is sent when the *thread* that forked ends.

        Raises:
            ProcessError: It could not be started.
        """
        log = self._logs / f"{program.name}.log"
        in_child = None if self._outlive_us else _end_with_parent(program.stop_signal)
        with log.open("ab") as output:
            try:
                popen = subprocess.Popen(
                    [str(argument) for argument in program.argv],
                    env=dict(program.environment),
                    cwd=program.cwd,
                    user=program.user,
                    group=_group_of(program.user),
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
        child = Child(program, popen, log)
        self._children.append(child)
        self._on_start()
        return child

    def run(
        self, program: Program, timeout_s: float, watch: Callable[[], None] = lambda: None
    ) -> None:
        """Start a program and wait for its end.

        Raises:
            ProcessError: It failed, or the time is up.
        """
        self.finish(self.start(program), timeout_s, watch)

    def finish(
        self, child: Child, timeout_s: float, watch: Callable[[], None] = lambda: None
    ) -> None:
        """Wait for the end of a started program.

        Raises:
            ProcessError: It failed, or the time is up.
        """
        child.wait_for_end(timeout_s, watch)
        self._children.remove(child)

    def dead(self) -> list[Child]:
        """The children that have ended by themselves."""
        return [child for child in self._children if not child.is_alive()]

    def identities(self) -> list[Identity]:
        """Those that still run, as another process can find them again."""
        return [child.identity for child in self._children if child.is_alive()]

    def end_all(self) -> None:
        """End every child."""
        end_together(self.identities())
        while self._children:
            self._children.pop().end()


def log_tail(log: Path, lines: int = LOG_LINES_SHOWN) -> str:
    """The last lines of a log, headed by where it is."""
    try:
        text = log.read_text(errors="replace").splitlines()
    except OSError as e:
        return f"No log: {e}"
    shown = "\n".join(f"  | {line}" for line in text[-lines:])
    return f"The last lines of {log}:\n{shown}" if shown else f"{log} is empty."


def _end_with_parent(stop_signal: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != parent:  # It died before the line above.
            os._exit(1)

    return in_child


def _group_of(user: str | None) -> int | None:
    return pwd.getpwnam(user).pw_gid if user else None
