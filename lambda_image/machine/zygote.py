"""The process that every workload's process is a fork of, and that outlives whatever they start.

It is forked from the handler's at the end of the init phase, before the first event, and never sees
one: what it hands on to a child is what the init phase made, and nothing of an earlier workload.
To all that descends from it, it is what init is to a machine: it takes in orphans, asks the child
to stop and kills everything when it is time, reaps, and tells how it ended
(`docs/decisions/0011-deadline.md`, `0012-isolation.md`). It must not know Airflow.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import resource
import select
import signal
import socket
import struct
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any, NoReturn

import psutil

#: Asks a child to stop. Real-time signals are nobody's; glibc keeps the first two for itself.
STOP_SIGNAL = signal.SIGRTMIN + 5

#: The kernel, short of memory, takes a workload's process before the one that reports its end.
_OOM_SCORE = b"500"

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)

#: Seconds in which whatever is killed has to be gone; only a process inside the kernel is not.
_SWEEP_S = 3.0

#: Seconds for it that there are even when there are none: it takes milliseconds.
_LEAST_SWEEP_S = 0.2


class ZygoteError(Exception):
    """No child was forked; the environment cannot run another workload."""


@dataclass(frozen=True, slots=True)
class Times:
    """When a child is asked to stop and when it is killed, on the monotonic clock."""

    stop_at_s: float
    kill_at_s: float


@dataclass(frozen=True, slots=True)
class End:
    """How a child ended.

    Attributes:
        exit_code: Negative for a signal.
        stopped: Whether it had been asked to stop.
        killed: Whether it was killed because its time was over.
        max_memory_mb: The most memory that it, or a process that it started, had resident.
        lost: Whether the zygote itself is gone, so that nothing is known.
    """

    exit_code: int
    stopped: bool = False
    killed: bool = False
    max_memory_mb: float = 0.0
    lost: bool = False


#: What a child runs: gets what was sent with the request for it, and descriptors; never returns.
Enter = Callable[[Any, Sequence[int]], NoReturn]


class Zygote:
    """The handler's end: asks for children.

    Attributes:
        is_lost: Whether it will not fork another child: it is gone, did not answer, or cannot.
    """

    def __init__(self, enter: Enter) -> None:
        self.is_lost = False
        self._control, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self._control.close()
            _live(theirs, enter)
        theirs.close()

    def spawn(self, order: Any, fds: Sequence[int], times: Times) -> Child:  # noqa: ANN401
        """Fork a child.

        Args:
            order: For `enter`; pickled. Only the child reads it: there may be a token in it.
            fds: Likewise; copies of them.
            times: When its time is over.

        Raises:
            ZygoteError: There is no child.
        """
        packed = pickle.dumps(order)
        self.is_lost = True  # Until it answers. What waits for that may be interrupted.
        ours, theirs = socket.socketpair()
        try:
            with theirs, _in_memory(packed) as file:
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


class Child:
    """A child, as the handler sees it.

    Attributes:
        exit: Readable when it has ended, and all that it had started with it.
    """

    def __init__(self, pid: int, exit_: socket.socket, zygote: int) -> None:
        self.pid = pid
        self.exit = exit_
        self._zygote = zygote
        self._end: End | None = None

    def end(self) -> End | None:
        """How it ended; None while it runs."""
        if self._end is None and select.select([self.exit], [], [], 0)[0]:
            try:
                self._end = _receive(self.exit)[0]
            except (OSError, EOFError):
                self._lose()
        return self._end

    def close(self, by_s: float) -> None:
        """Have it killed, with all that it started, if it still runs; wait until it is gone.

        Args:
            by_s: Until when, on the monotonic clock: then the zygote, stopped by a workload for
                example, is given up.
        """
        if self._end is None:
            with contextlib.suppress(OSError):  # The zygote is gone.
                self.exit.shutdown(socket.SHUT_WR)
            left_s = min(by_s - time.monotonic(), _SWEEP_S + 1)
            select.select([self.exit], [], [], max(left_s, _LEAST_SWEEP_S))
            if self.end() is None:
                self._lose()
        self.exit.close()

    def _lose(self) -> None:
        self._end = End(-signal.SIGKILL, lost=True)
        for pid in (self._zygote, self.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def protect() -> None:
    """Keep other processes of this user out of this one's memory.

    A forked child inherits it, a program that is started does not.
    https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html
    """
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


@dataclass(slots=True)
class _Running:
    """The one child that runs, in the zygote."""

    pid: int
    exit: socket.socket
    times: Times
    exit_code: int | None = None
    stopped: bool = False
    killed: bool = False
    max_memory_mb: float = 0.0

    def next_s(self) -> float:
        """Seconds until there is something to do to it."""
        at_s = self.times.kill_at_s if self.stopped else self.times.stop_at_s
        return max(0.0, at_s - time.monotonic())

    def keep_time(self) -> None:
        now_s = time.monotonic()
        if now_s >= self.times.kill_at_s:
            self.stopped = self.killed = True
            os.kill(self.pid, signal.SIGKILL)
        elif now_s >= self.times.stop_at_s and not self.stopped:
            self.stopped = True
            os.kill(self.pid, STOP_SIGNAL)

    def reap(self) -> bool:
        """Take the exit codes of whatever has ended; returns whether anything is left to take."""
        try:
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return True
                self._note(pid, status, usage)
        except ChildProcessError:
            return False

    def _note(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        self.max_memory_mb = max(self.max_memory_mb, round(usage.ru_maxrss / 1024, 1))
        if pid == self.pid:
            self.exit_code = os.waitstatus_to_exitcode(status)

    def sweep(self) -> None:
        """Kill and reap everything that the child started and left behind."""
        until_s = time.monotonic() + _SWEEP_S
        while self.reap() and time.monotonic() < until_s:
            kill_descendants()
            time.sleep(0.001)

    def tell(self) -> None:
        code = -signal.SIGKILL if self.exit_code is None else self.exit_code
        with self.exit, contextlib.suppress(OSError):  # It does not listen any more.
            _send(self.exit, End(code, self.stopped, self.killed, self.max_memory_mb), [])


def _live(control: socket.socket, enter: Enter) -> NoReturn:
    """The life of the zygote, and of its children: neither leaves this function.

    It would go on as a second handler.
    """
    try:
        _serve(control, enter)
    except BaseException:  # noqa: BLE001 - likewise
        traceback.print_exc()
    finally:
        os._exit(1)


def _serve(control: socket.socket, enter: Enter) -> NoReturn:
    """Fork and look after children, for as long as there is a handler."""
    protect()
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
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
        _be_killed_first()

    running: _Running | None = None
    while True:
        watched: list[Any] = [control, woken, *([running.exit] if running else [])]
        ready = select.select(watched, [], [], running.next_s() if running else None)[0]
        if woken in ready:
            os.read(woken, 4096)
        if running is not None:
            running = _look_after(running, is_dismissed=running.exit in ready)
        if control in ready:
            if running is not None:
                running.sweep()
            running = _spawn(control, become_child, enter)


def _spawn(
    control: socket.socket, become_child: Callable[[], None], enter: Enter
) -> _Running | None:
    """Fork the child that the handler asks for, if that is possible; without a handler, end."""
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
            order = pickle.load(file)  # noqa: S301 - of our own handler
        enter(order, fds)
    for fd in (order_fd, *fds):
        os.close(fd)
    _send(control, pid, [])
    return _Running(pid, exit_, times)


def _look_after(running: _Running, *, is_dismissed: bool) -> _Running | None:
    """Keep the child's time; returns it while it runs."""
    running.reap()
    if running.exit_code is None and not is_dismissed:
        running.keep_time()
        if not running.killed:
            return running
    running.sweep()
    running.tell()
    return None


def _be_killed_first() -> None:
    """Tell the kernel which process to take when there is no memory left."""
    # The file belongs to root while this process is protected.
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    with contextlib.suppress(OSError):  # Without it the kernel chooses by size: mostly the same.
        Path("/proc/self/oom_score_adj").write_bytes(_OOM_SCORE)
    protect()


def kill_descendants() -> set[psutil.Process]:
    """Kill all processes that descend from this one: stopped first, they cannot start more.

    Returns:
        What was killed.
    """
    killed: set[psutil.Process] = set()
    while fresh := set(psutil.Process().children(recursive=True)) - killed:
        _signal_all(fresh, signal.SIGSTOP)
        killed |= fresh
    _signal_all(killed, signal.SIGKILL)
    return killed


def _signal_all(processes: set[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        # It has ended, or made itself another user's.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.send_signal(number)


def _in_memory(content: bytes) -> BufferedRandom:
    file = os.fdopen(os.memfd_create("order"), "w+b")
    file.write(content)
    file.flush()
    return file


_LENGTH = struct.Struct("!Q")


def _send(to: socket.socket, message: object, fds: Sequence[int]) -> None:
    """Send a message, its length before it, with descriptors."""
    body = pickle.dumps(message)
    socket.send_fds(to, [_LENGTH.pack(len(body))], fds)
    to.sendall(body)


def _receive(from_: socket.socket) -> tuple[Any, list[int]]:
    """Receive a message and its descriptors.

    Raises:
        EOFError: The other end is closed.
    """
    flags = socket.MSG_WAITALL | socket.MSG_CMSG_CLOEXEC
    head, fds, _, _ = socket.recv_fds(from_, _LENGTH.size, 8, flags)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    body = bytearray()
    while len(body) < length:
        chunk = from_.recv(length - len(body))
        if not chunk:
            raise EOFError
        body += chunk
    return pickle.loads(body), fds  # noqa: S301 - of our own other half
