"""The first process of a sandbox: starts, freezes and kills runtimes and checks their memory.

`sandbox.py` starts it as `python -I -S init.py MEMORY_MB CGROUP_FD ARGV...`, in the sandbox's
process namespace if there is one. In a restored environment there is no such program: the copy of
the snapshot's process calls `main` itself (`runtime_copy.py`), and a runtime is another copy.

It adopts orphans, so it also finds processes that left their group or session (`setsid`, a double
fork). Its standard input is a socket with these packets:

    start [VARIABLES] run ARGV, with these NAME=VALUE as well later: exited STATUS PEAK_BYTES
    rest            stop looking at the memory: the runtime is a snapshot from now on
    terminate       ask the process that runs ARGV to end     later: exited STATUS PEAK_BYTES
    stop            kill every process below                  exited STATUS PEAK_BYTES
    freeze          stop every process below                  frozen PEAK_BYTES
    thaw            continue them

STATUS is the runtime's, negative for a signal. When the runtime ends, all processes are killed.
When the other end of the socket closes, for whatever reason, all are killed and the sandbox ends.

Imports little, because this runs at every cold start.
"""
# ruff: noqa: PTH110, PTH123, PTH208 - pathlib would add a third to the start-up time

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable  # contextlib has imported it already

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MEMORY_CHECK_S = 0.25
_CANNOT_START = 127
_CONTROL = 0


class Memory:
    """Peak and limit of the memory of all processes together."""

    def __init__(self, limit_bytes: int) -> None:
        self.peak_bytes = 0
        self._limit_bytes = limit_bytes
        self._most_resident_bytes = 0

    def look(self) -> None:
        """Take a sample; over the limit, kill the process that uses most, as the kernel does.

        Resident sizes count shared pages more than once. The exact proportional share is expensive,
        so it is read only if the resident sum is over the limit or a new maximum.
        """
        resident = {pid: _resident_bytes(pid) for pid in _processes()}
        together = sum(resident.values())
        if together <= min(self._most_resident_bytes, self._limit_bytes):
            return
        self._most_resident_bytes = max(self._most_resident_bytes, together)
        share = sum(_proportional_bytes(pid) for pid in resident)
        self.peak_bytes = max(self.peak_bytes, share)
        if share > self._limit_bytes:
            with contextlib.suppress(ProcessLookupError):
                worst = max(resident, key=lambda pid: self._badness(pid, resident[pid]))
                os.kill(worst, signal.SIGKILL)

    def look_back(self) -> None:
        """Include the peak that a single process had between two samples."""
        self.look()
        alone = max(map(_most_resident_bytes, _processes()), default=0)
        self.peak_bytes = max(self.peak_bytes, alone)

    def _badness(self, pid: int, resident_bytes: int) -> float:
        """The kernel's order of killing: https://docs.kernel.org/filesystems/proc.html."""
        with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj") as adjustment:
            return resident_bytes + int(adjustment.read()) * self._limit_bytes / 1000
        return resident_bytes


class Sandbox:
    """The processes of one execution environment.

    Args:
        become: Makes a new process the runtime, with these variables added to its environment. In
            that process it does not return.
        cgroup: Descriptor of the `cgroup.procs` that every runtime joins; negative: none.
        fork: Makes a process, as `os.fork` does.
    """

    def __init__(
        self,
        become: Callable[[dict[str, str]], None],
        memory: Memory,
        cgroup: int,
        fork: Callable[[], int],
    ) -> None:
        self._become = become
        self._fork = fork
        self._memory = memory
        self._cgroup = cgroup
        self._runtime: int | None = None
        self._frozen = False

    @property
    def runs(self) -> bool:
        """Whether processes run that are not frozen."""
        return self._runtime is not None and not self._frozen

    def obey(self, command: str) -> None:
        """Carry out a command of the emulator."""
        verb, _, argument = command.partition(" ")
        if verb == "start":
            self._frozen = False
            self._runtime = self._spawn(dict(pair.split("=", 1) for pair in argument.split()))
        elif verb == "rest":
            self._frozen = True
        elif verb == "terminate" and self._runtime is not None:
            os.kill(self._runtime, signal.SIGTERM)
        elif verb == "stop" and self._runtime is not None:
            self._memory.look_back()
            self.end()
        elif verb == "freeze":
            self._memory.look_back()
            self._signal_all(signal.SIGSTOP)
            self._frozen = True
            self._tell(f"frozen {self._memory.peak_bytes}")
        elif verb == "thaw":
            self._frozen = False
            self._signal_all(signal.SIGCONT)

    def reap(self) -> None:
        """Collect exited processes; when the runtime has exited, kill all others."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._runtime:
                self._end(status)

    def end(self) -> None:
        """Kill every process."""
        self._end(None)

    def _end(self, status: int | None) -> None:
        """Kill every process, then report the runtime's exit status.

        Orphans become our children, so no child left means no process left.
        """
        while True:
            for pid in _descendants():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                pid, raw = os.waitpid(-1, 0)
            except ChildProcessError:
                break
            if pid == self._runtime:
                status = raw
        if status is not None:
            self._runtime = None
            code = os.waitstatus_to_exitcode(status)
            self._tell(f"exited {code} {self._memory.peak_bytes}")

    def _signal_all(self, number: int) -> None:
        """Send a signal to every process, including those started meanwhile."""
        told: set[int] = set()
        while fresh := [pid for pid in _processes() if pid not in told]:
            for pid in fresh:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            told.update(fresh)

    def _tell(self, packet: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(_CONTROL, packet.encode())

    def _spawn(self, variables: dict[str, str]) -> int:
        init = os.getpid()
        if pid := self._fork():
            return pid
        try:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != init:
                os._exit(_CANNOT_START)
            if self._cgroup >= 0:
                os.write(self._cgroup, b"0")  # this process joins
                os.close(self._cgroup)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, _CONTROL)
            os.close(nothing)
        except OSError as e:
            os.write(2, f"cannot start a runtime: {e}\n".encode())
            os._exit(_CANNOT_START)
        self._become(variables)
        os._exit(_CANNOT_START)


def execute(argv: list[str], variables: dict[str, str]) -> None:
    """Replace this process by the image's command."""
    try:
        os.execvpe(argv[0], argv, {**os.environ, **variables})  # noqa: S606 - the image's command
    except OSError as e:
        os.write(2, f"cannot run {argv[0]}: {e.strerror}\n".encode())
        os._exit(_CANNOT_START)


def main(
    memory_mb: int,
    cgroup: int,
    become: Callable[[dict[str, str]], None],
    fork: Callable[[], int] = os.fork,
) -> None:
    """Obey the commands from the socket until it closes; `Sandbox` explains the arguments."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    former_wake = signal.set_wakeup_fd(wake)
    former_handler = signal.signal(signal.SIGCHLD, lambda *_: None)

    def become_runtime(variables: dict[str, str]) -> None:
        signal.set_wakeup_fd(former_wake)
        signal.signal(signal.SIGCHLD, former_handler or signal.SIG_DFL)
        os.close(woken)
        os.close(wake)
        become(variables)

    memory = Memory(memory_mb * 1024 * 1024)
    sandbox = Sandbox(become_runtime, memory, cgroup, fork)
    poll = select.poll()
    poll.register(_CONTROL, select.POLLIN | select.POLLHUP)
    poll.register(woken, select.POLLIN)
    looked_s = time.monotonic()
    while True:
        ready = {fd for fd, _ in poll.poll(_MEMORY_CHECK_S * 1000 if sandbox.runs else None)}
        if woken in ready:
            os.read(woken, 4096)
            sandbox.reap()
        if _CONTROL in ready:
            command = os.read(_CONTROL, 4096)
            if not command:
                sandbox.end()
                return
            sandbox.obey(command.decode())
        if sandbox.runs and time.monotonic() >= looked_s + _MEMORY_CHECK_S:
            memory.look()
            looked_s = time.monotonic()


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _processes() -> list[int]:
    """Every descendant, found the fastest way that the kernel offers."""
    if os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return _children_quickly(os.getpid())
    return _descendants()


def _descendants() -> list[int]:
    """Every descendant, found by the parents of all processes of the machine."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as stat:
                # "pid (name) state ppid ...": the name may have spaces and brackets.
                parent = int(stat.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found, todo = [], [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _children_quickly(pid: int) -> list[int]:
    """Every descendant, found by the kernel's lists of children (CONFIG_PROC_CHILDREN).

    A process that is being reaped may hide a sibling; a caller that must miss none calls again.
    """
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as children:
                for child in map(int, children.read().split()):
                    found += [child, *_children_quickly(child)]
    return found


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _most_resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            return sum(int(line.split()[1]) * 1024 for line in status if line.startswith(b"VmHWM:"))
    except OSError:
        return 0


def _proportional_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as rollup:
            return sum(int(line.split()[1]) * 1024 for line in rollup if line.startswith(b"Pss:"))
    except OSError:
        return 0


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), lambda more: execute(sys.argv[3:], more))
