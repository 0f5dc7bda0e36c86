"""The first process of an execution environment: runs the runtime and ends with all it started.

Started by `environment.py` as a program of its own (`python -I -S sandbox.py MEMORY_MB ARGV...`)
in a new session. It is the subreaper of everything below it, so that a process that left its
group or session (`setsid`, a double fork) is still found and killed. Its standard input is the
lifeline: when the emulator closes it, or dies in whatever way, the kernel ends the read here and
everything is killed. Memory over the limit is found by looking at it four times a second (no
cgroup is needed) and ends the environment like Lambda does, with SIGKILL.

Only the standard library, and little of it: this starts with every cold start.
"""
# ruff: noqa: PTH123, PTH208 - pathlib would add a third to the start-up time

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MEMORY_CHECK_MS = 250
_CANNOT_START = 127


def main(memory_mb: int, argv: list[str]) -> int:
    """Run `argv` until it exits, outgrows its memory, or the lifeline is cut.

    Returns:
        The runtime's exit status; negative: the signal that ended it.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    runtime = _spawn(argv)
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(woken, select.POLLIN)
    status: int | None = None
    while status is None:
        ready = dict(poll.poll(_MEMORY_CHECK_MS))
        if 0 in ready:
            break
        if woken in ready:
            os.read(woken, 4096)
            status = _reap(runtime)
        elif not ready and _over_memory(memory_mb * 1024 * 1024):
            status = -signal.SIGKILL
    _kill_all()
    return -signal.SIGKILL if status is None else status


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _spawn(argv: list[str]) -> int:
    sandbox = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != sandbox:
            os._exit(_CANNOT_START)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.execvpe(argv[0], argv, os.environ)  # noqa: S606 - the image's own command
    except OSError as e:
        os.write(2, f"cannot run {argv[0]}: {e.strerror}\n".encode())
    finally:
        os._exit(_CANNOT_START)


def _reap(runtime: int) -> int | None:
    """Collect what has exited; the runtime's status when it is among them."""
    status = None
    while True:
        try:
            pid, raw = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == runtime:
            status = os.waitstatus_to_exitcode(raw)


def _kill_all() -> None:
    """Kill every descendant; orphans become our children, so no child left means none at all."""
    while True:
        for pid in _descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as stat:
                # "pid (name) state ppid ...": the name may hold spaces and brackets.
                parent = int(stat.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found, todo = [], [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _over_memory(limit_bytes: int) -> bool:
    """Whether the processes together hold more than the limit.

    Resident pages count forked pages twice, so only when those are over the limit is the exact
    (and dear) proportional share read.
    """
    pids = _children_quickly(os.getpid())
    resident = sum(_resident_bytes(pid) for pid in pids)
    return resident > limit_bytes and sum(_proportional_bytes(pid) for pid in pids) > limit_bytes


def _children_quickly(pid: int) -> list[int]:
    """The descendants as the kernel lists them; none where it lacks CONFIG_PROC_CHILDREN."""
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


def _proportional_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as rollup:
            return sum(int(line.split()[1]) * 1024 for line in rollup if line.startswith(b"Pss:"))
    except OSError:
        return 0


if __name__ == "__main__":
    exit_status = main(int(sys.argv[1]), sys.argv[2:])
    if exit_status < 0:
        # End like the runtime did, so that the emulator sees the very same wait status.
        number = -exit_status
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(exit_status)
