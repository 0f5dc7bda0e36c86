"""The zygote: the process that forks a child for every workload and outlives all of them.

It is forked from the handler's process at the end of the init phase and never sees an event, so
its children inherit what the init phase loaded and nothing of an earlier workload. It adopts the
orphans of its children, asks a child to stop, kills it with everything it started when its time is
over, and reports how it ended (`docs/decisions/0011-deadline.md`, `0012-isolation.md`).
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import pickle
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil

#: Asks a child to stop, because its time is over. No library uses real-time signals, except glibc
#: the first two.
STOP_SIGNAL = signal.SIGRTMIN + 5
#: Asks a child to stop, because this process was asked to.
REQUEST_SIGNAL = signal.SIGRTMIN + 6
#: A child begins with these blocked, and unblocks them when it handles them: one that comes before
#: would end it.
_BLOCKED = (STOP_SIGNAL, REQUEST_SIGNAL)

#: Makes the kernel, when memory runs out, kill a workload rather than the processes that report it.
_OOM_SCORE = b"500"

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)

#: How long to wait for killed processes to be gone, in seconds; it usually takes milliseconds.
_SWEEP_S = 3.0
#: How long to wait even if the time is over, in seconds.
_LEAST_SWEEP_S = 0.2

#: More than any message has: a process id, the reason of a failed fork, `Times` or `End`.
_MAX_MESSAGE_BYTES = 64 * 1024
_KEEPS_MESSAGES_APART = socket.SOCK_SEQPACKET


class ZygoteError(Exception):
    """No child was forked; the execution environment cannot run another workload."""


@dataclass(frozen=True, slots=True)
class Times:
    """When a child is asked to stop and when it is killed, on the monotonic clock."""

    stop_at_s: float
    kill_at_s: float
    stop_signal: int = STOP_SIGNAL  # Tells the child why.


@dataclass(frozen=True, slots=True)
class End:
    """How a child ended."""

    exit_code: int  # Negative for a signal.
    stopped: bool = False  # It had been asked to stop.
    killed: bool = False  # It was killed because its time was over.
    max_memory_mb: float = 0.0  # MiB resident, of the largest process among it and its descendants.
    lost: bool = False  # The zygote itself is gone: nothing is known.


#: Runs in a child: takes the order and the descriptors of `spawn`, and never returns.
ChildMain = Callable[[Any, Sequence[int]], NoReturn]


class Zygote:
    """The handler's end of the zygote.

    Args:
        child_main: Runs in each child.
        prepare: Runs once in the zygote, before it forks children.
    """

    def __init__(self, child_main: ChildMain, prepare: Callable[[], None] = lambda: None) -> None:
        self.is_lost = False  # Whether it cannot fork another child: it is gone or did not answer.
        # If the zygote dies before its children, they become this process's: see `Child._lose`.
        _adopt_orphans()
        self._control, theirs = socket.socketpair(type=_KEEPS_MESSAGES_APART)
        self.pid = os.fork()
        if self.pid == 0:
            self._control.close()
            _run_zygote(theirs, child_main, prepare)
        theirs.close()

    def spawn(self, order: Any, fds: Sequence[int], times: Times) -> Child:  # noqa: ANN401
        """Have a child forked that calls `child_main` with `order` and copies of `fds`.

        The order is pickled, and only the child reads it: it may hold a token.

        Raises:
            ZygoteError: There is no child.
        """
        packed = pickle.dumps(order)
        self.is_lost = True  # Until the zygote answers: the wait may be interrupted.
        ours, theirs = socket.socketpair(type=_KEEPS_MESSAGES_APART)
        try:
            with theirs, os.fdopen(os.memfd_create("order"), "w+b") as file:
                file.write(packed)
                file.flush()
                _send(self._control, times, [theirs.fileno(), file.fileno(), *fds])
                answer = _receive(self._control)[0]
        except (OSError, EOFError) as e:
            ours.close()
            raise ZygoteError("the process that starts the workloads' processes died") from e
        if isinstance(answer, str):
            ours.close()
            raise ZygoteError(f"no process can be started: {answer}")
        self.is_lost = False
        return Child(answer, ours, self.pid)

    def reap_orphans(self) -> None:
        """Collect what this process adopted, and what has ended since; call it between workloads.

        Each uncollected one counts as a process, of which a function may have 1,024:
        https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
        """
        with contextlib.suppress(ChildProcessError):  # There is none, not even the zygote.
            while (
                ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            ) is not None and ended.si_pid != self.pid:
                os.waitpid(ended.si_pid, 0)

    def close(self) -> None:
        """End the zygote, and wait until it is gone."""
        self._control.close()
        os.waitpid(self.pid, 0)


class Child:
    """The handler's end of a child."""

    def __init__(self, pid: int, exit_: socket.socket, zygote_pid: int) -> None:
        self.pid = pid
        self.exit = exit_  # Readable when the child and everything it started have ended.
        self._zygote_pid = zygote_pid
        self._end: End | None = None

    def end(self) -> End | None:
        """How the child ended; None while it runs."""
        if self._end is None and select.select([self.exit], [], [], 0)[0]:
            try:
                self._end = _receive(self.exit)[0]
            except (OSError, EOFError):
                self._lose()
        return self._end

    def hasten(self, times: Times) -> None:
        """Have the child stopped and killed at other times; may be called on any thread."""
        with contextlib.suppress(OSError):  # It has ended.
            _send(self.exit, times, [])

    def close(self, by_s: float) -> None:
        """Have the child and everything it started killed, and wait until they are gone.

        At `by_s` on the monotonic clock the zygote is given up: a workload may have stopped it.
        """
        if self._end is None:
            with contextlib.suppress(OSError):  # The zygote is gone.
                self.exit.shutdown(socket.SHUT_WR)
            left_s = min(by_s - time.monotonic(), _SWEEP_S + 1)
            select.select([self.exit], [], [], max(left_s, _LEAST_SWEEP_S))
            if self.end() is None:
                self._lose()
        elif self._end.lost:  # `end` may have been interrupted before all were killed.
            _kill_what_is_left()
        self.exit.close()

    def _lose(self) -> None:
        self._end = End(-signal.SIGKILL, lost=True)
        for pid in (self._zygote_pid, self.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        _kill_what_is_left()


def protect() -> None:
    """Keep other processes of this user from reading this process's memory.

    A forked child inherits the protection, an executed program does not.
    https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html
    """
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def unprotect() -> None:
    """Undo `protect`: a protected process cannot be set up anew by whoever copies it."""
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies.

    https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html
    """
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@dataclass(slots=True)
class _Running:
    """The zygote's end of its one running child."""

    pid: int
    exit: socket.socket
    times: Times
    exit_code: int | None = None
    stopped: bool = False
    killed: bool = False
    max_memory_mb: float = 0.0

    def next_s(self) -> float | None:
        """Seconds until the child must be stopped or killed; None if it need not be."""
        at_s = self.times.kill_at_s if self.stopped else self.times.stop_at_s
        return None if at_s == math.inf else max(0.0, at_s - time.monotonic())

    def is_dismissed(self) -> bool:
        """Take what the handler has sent: other times, or its dismissal of the child."""
        try:
            self.times = _receive(self.exit)[0]
        except (OSError, EOFError):
            return True
        return False

    def enforce_times(self) -> None:
        now_s = time.monotonic()
        if now_s >= self.times.kill_at_s:
            self.stopped = self.killed = True
            os.kill(self.pid, signal.SIGKILL)
        elif now_s >= self.times.stop_at_s and not self.stopped:
            self.stopped = True
            os.kill(self.pid, self.times.stop_signal)

    def reap(self) -> bool:
        """Take the exit codes of ended processes; returns whether others still run."""
        try:
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return True
                self.max_memory_mb = max(self.max_memory_mb, round(usage.ru_maxrss / 1024, 1))
                if pid == self.pid:
                    self.exit_code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            return False

    def sweep(self) -> None:
        """Kill and reap the child and everything it started."""
        until_s = time.monotonic() + _SWEEP_S
        while self.reap() and time.monotonic() < until_s:
            kill_descendants()
            time.sleep(0.001)

    def report(self) -> None:
        code = -signal.SIGKILL if self.exit_code is None else self.exit_code
        with self.exit, contextlib.suppress(OSError):  # The handler has closed its end.
            _send(self.exit, End(code, self.stopped, self.killed, self.max_memory_mb), [])


def _run_zygote(
    control: socket.socket, child_main: ChildMain, prepare: Callable[[], None]
) -> NoReturn:
    """Be the zygote, or one of its children; to return would be to go on as a second handler."""
    try:
        prepare()
        _serve(control, child_main)
    except BaseException:  # noqa: BLE001 - nothing may leave this function
        traceback.print_exc()
    finally:
        os._exit(1)


def _serve(control: socket.socket, child_main: ChildMain) -> NoReturn:
    """Fork and watch children while the handler lives."""
    protect()
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)  # Nobody sends them to this process.
    _adopt_orphans()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def become_child() -> None:
        """Undo the zygote's signal handling, and close its descriptors."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        os.close(woken)
        os.close(wake)
        _volunteer_for_oom_kill()

    running: _Running | None = None
    while True:
        watched: list[Any] = [control, woken, *([running.exit] if running else [])]
        ready = select.select(watched, [], [], running.next_s() if running else None)[0]
        if woken in ready:
            os.read(woken, 4096)
        if running is not None:
            is_dismissed = running.exit in ready and running.is_dismissed()
            running = _watch(running, is_dismissed=is_dismissed)
        if control in ready:
            if running is not None:
                running.sweep()
            running = _spawn(control, become_child, child_main)


def _spawn(
    control: socket.socket, become_child: Callable[[], None], child_main: ChildMain
) -> _Running | None:
    """Fork the child that the handler asks for, or send the error; end if the handler is gone."""
    try:
        times, (exit_fd, order_fd, *fds) = _receive(control)
    except (OSError, EOFError):
        kill_descendants()
        os._exit(0)
    exit_ = socket.socket(fileno=exit_fd)
    try:
        pid = os.fork()
    except OSError as e:
        exit_.close()
        _send(control, str(e), [])
        return None
    if pid == 0:
        become_child()
        exit_.close()
        with os.fdopen(order_fd, "rb") as file:
            file.seek(0)
            order = pickle.load(file)  # noqa: S301 - from our own handler
        child_main(order, fds)
    for fd in (order_fd, *fds):
        os.close(fd)
    _send(control, pid, [])
    return _Running(pid, exit_, times)


def _watch(running: _Running, *, is_dismissed: bool) -> _Running | None:
    """Stop or kill the child when it is time; returns it while it runs."""
    running.reap()
    if running.exit_code is None and not is_dismissed:
        running.enforce_times()
        if not running.killed:
            return running
    running.sweep()
    running.report()
    return None


def _volunteer_for_oom_kill() -> None:
    unprotect()  # The file belongs to root while this process is protected.
    with contextlib.suppress(OSError):  # The kernel then chooses by size: mostly the same process.
        Path("/proc/self/oom_score_adj").write_bytes(_OOM_SCORE)
    protect()


def kill_descendants() -> set[psutil.Process]:
    """Kill and return all descendants of this process; stopped first, they cannot fork more."""
    killed: set[psutil.Process] = set()
    while fresh := set(psutil.Process().children(recursive=True)) - killed:
        _signal_all(fresh, signal.SIGSTOP)
        killed |= fresh
    _signal_all(killed, signal.SIGKILL)
    return killed


def _kill_what_is_left() -> None:
    """Kill what a workload started, which would go on beside the next one; never raises."""
    no_descriptor_is_left = (OSError, psutil.Error)
    with contextlib.suppress(*no_descriptor_is_left):
        kill_descendants()


def _signal_all(processes: set[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        # The process has ended, or changed its user.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.send_signal(number)


def _send(to: socket.socket, message: object, fds: Sequence[int]) -> None:
    socket.send_fds(to, [pickle.dumps(message)], fds)


def _receive(from_: socket.socket) -> tuple[Any, list[int]]:
    """Receive a message and its descriptors.

    Raises:
        EOFError: The other end is closed.
    """
    body, fds, _, _ = socket.recv_fds(from_, _MAX_MESSAGE_BYTES, 8, socket.MSG_CMSG_CLOEXEC)
    if not body:
        raise EOFError
    return pickle.loads(body), fds  # noqa: S301 - from our own other half
