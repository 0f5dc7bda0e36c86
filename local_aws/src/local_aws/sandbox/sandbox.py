"""One sandbox: it isolates an execution environment from the machine and controls its processes.

A sandbox lives as long as its environment; successive runtimes in it share /tmp. A cgroup limits
its memory or, where none can be made, the init process does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from local_aws.sandbox import bubblewrap
from local_aws.sandbox.cgroup import MemoryCgroup, MemoryCgroups
from local_aws.sandbox.mount import Mount

_INIT = Path(__file__).with_name("init.py")
_MEBIBYTE = 1024 * 1024

#: Lambda sets no HOME and its user has no name; without walls, the name of the user who runs the
#: embedded AWS would lead to that user's own files. So HOME is the folder that Lambda's user lacks.
_NO_HOME = "/home/sbx_user1051"


@dataclass(frozen=True, slots=True)
class RuntimeCommand:
    """The runtime process of an execution environment, and its limits.

    Attributes:
        variables: Its environment variables, besides those that the sandbox adds.
        memory_mb: Limit of all processes together.
        readable: Paths that it needs even if they are below the machine's /tmp; those are below
            /mnt in the sandbox, and the command and its variables name them there.
        writable: Writable paths besides /tmp, under the same names. If one is below the machine's
            /tmp, the sandbox's own is not empty.
        descriptors: What it inherits besides its output.
        copied: Whether it will be copied (see `Snapshot`).
        mounts: Folders that other sandboxes have, too; only behind walls.
    """

    argv: Sequence[str]
    working_directory: Path
    variables: Mapping[str, str]
    memory_mb: int
    tmp_mb: int
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    descriptors: tuple[int, ...] = ()
    copied: bool = False
    mounts: tuple[Mount, ...] = ()


class Process(Protocol):
    """The first process of a sandbox."""

    def wait(self) -> object:
        """Wait until it has ended, and with it all processes of its sandbox."""


@dataclass(frozen=True, slots=True)
class Started:
    """What a sandbox has once its first process has been started.

    Attributes:
        process: The first process, which runs `init.py`.
        output: What all of its processes print.
        control: The socket to the first process.
    """

    process: Process
    output: IO[bytes]
    control: socket.socket


#: Starts the first process of a sandbox: gets the command, the folder of temporary files
#: (empty: /tmp is the sandbox's own) and the descriptor of the cgroup's `cgroup.procs` (or -1).
Start = Callable[[RuntimeCommand, str, int], Started]


@dataclass(frozen=True, slots=True)
class Confinement:
    """The means of isolation on this machine.

    Attributes:
        bubblewrap: The program; empty: sandboxes are plain processes.
        cgroups: None: the kernel cannot limit the memory.
        obstacle: Why bubblewrap does not work here; empty: it does, or nobody asked.
    """

    bubblewrap: str
    cgroups: MemoryCgroups | None
    obstacle: str = ""

    @classmethod
    def choose(cls, wanted: str) -> Confinement:
        """Find out what this machine allows; `wanted` is `process`, `bwrap` or `auto`.

        Raises:
            ValueError: `bwrap` is wanted and does not work here.
        """
        cgroups = MemoryCgroups.find()
        if wanted == "process":
            return cls("", cgroups)
        program = bubblewrap.find()
        reason: str | None = "there is no program of that name"
        if program:
            reason = bubblewrap.failure_reason(program)
        if reason and wanted == "bwrap":
            raise ValueError(
                f"bwrap does not work here ({reason}): install bubblewrap and allow user "
                "namespaces, or choose --sandbox process"
            )
        return cls("" if reason else program or "", cgroups, reason or "")

    def close(self) -> None:
        """Remove the cgroups' directory, after the last sandbox has ended."""
        if self.cgroups:
            self.cgroups.close()

    def __str__(self) -> str:
        walls = f"walls by {self.bubblewrap}" if self.bubblewrap else "plain processes"
        if self.obstacle:
            walls += f" (bwrap does not work here: {self.obstacle})"
        return f"{walls}, memory limits by {'cgroup' if self.cgroups else 'sampling'}"


class Sandbox:
    """The processes of one environment; `output` is what they print.

    Args:
        start: Starts its first process; None: as a new program.
        on_end: Called when all of its processes are gone.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        command: RuntimeCommand,
        confinement: Confinement,
        start: Start | None = None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._memory_mb = command.memory_mb
        self._state = threading.Condition()
        self._on_exit: Callable[[], None] = lambda: None
        #: Whether a runtime runs in it.
        self.running = False
        #: The last runtime's exit status; negative: the signal that ended it.
        self.exit_status = 0
        #: Whether the last runtime was killed because of the memory.
        self.out_of_memory = False
        self._frozen = self._gone = False
        self._peak_bytes = 0
        self._cgroup: MemoryCgroup | None = None
        with contextlib.ExitStack() as undo:
            undo.callback(on_end)
            temporary = "" if confinement.bubblewrap else tempfile.mkdtemp(prefix="tmp-")
            if temporary:
                undo.callback(shutil.rmtree, temporary, ignore_errors=True)
            if confinement.cgroups:
                # Behind walls, files in /tmp count as memory for the kernel.
                tmp_mb = command.tmp_mb if confinement.bubblewrap else 0
                limit_bytes = (command.memory_mb + tmp_mb) * _MEBIBYTE
                self._cgroup = confinement.cgroups.make(uuid.uuid4().hex, limit_bytes)
                undo.callback(self._cgroup.remove)
            joining = self._cgroup.open() if self._cgroup else -1
            try:
                started = (start or partial(_start_init, confinement.bubblewrap))(
                    command, temporary, joining
                )
            finally:
                if joining >= 0:
                    os.close(joining)
            self._clean_up = undo.pop_all()
        self._process, self._control = started.process, started.control
        self.output = started.output
        threading.Thread(target=self._listen, name="sandbox", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether runtimes can be started in it."""
        return not self._gone

    @property
    def peak_mb(self) -> int:
        """The peak memory of all of its processes together."""
        if self._cgroup and self._cgroup.killed:
            return self._memory_mb
        return min(self._memory_mb, -(-self._peak_bytes // _MEBIBYTE))

    def start(self, variables: Mapping[str, str], on_exit: Callable[[], None]) -> None:
        """Start a runtime; `on_exit` is called on a thread of the sandbox when it has ended.

        The `variables` are added to those of the command. They contain no spaces.
        """
        with self._state:
            self._on_exit = on_exit
            self.running = not self._gone
        self._send(" ".join(("start", *(f"{name}={value}" for name, value in variables.items()))))
        if self._gone:
            on_exit()

    def rest(self) -> None:
        """Limit the memory no longer: from now on the runtime is there to be copied."""
        self._send("rest")
        if self._cgroup:
            self._cgroup.lift()

    def stop(self) -> None:
        """Kill every process and wait for their end."""
        self._send("stop")
        with self._state:
            self._state.wait_for(lambda: not self.running)

    def terminate(self) -> None:
        """Ask the runtime to end (SIGTERM), without waiting."""
        self._send("terminate")

    def freeze(self) -> None:
        """Stop every process with a signal and wait until all of them were signalled."""
        with self._state:
            self._frozen = False
        self._send("freeze")
        with self._state:
            self._state.wait_for(lambda: self._frozen or self._gone)

    def thaw(self) -> None:
        """Continue the stopped processes."""
        self._send("thaw")

    def cut(self) -> None:
        """Have every process killed, without waiting. May be repeated."""
        # Unlike `close`, this wakes the listening thread.
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Kill every process and wait for their end. May be repeated."""
        self.cut()
        with self._state:
            self._state.wait_for(lambda: self._gone)

    def _send(self, packet: str) -> None:
        with contextlib.suppress(OSError):  # it is gone, which `_listen` notices
            self._control.send(packet.encode())

    def _listen(self) -> None:
        """Receive the init process's packets until it is gone."""
        with contextlib.suppress(OSError):
            while packet := self._control.recv(4096):
                verb, *numbers = packet.decode().split()
                self._take(verb, [int(number) for number in numbers])
        self._process.wait()
        self._control.close()
        self._clean_up.close()
        with self._state:
            if self.running:  # Nobody is left who could say how the runtime ended.
                self.exit_status = -signal.SIGKILL
            self._gone, self.running = True, False
            self._state.notify_all()
        self._on_exit()

    def _take(self, verb: str, numbers: list[int]) -> None:
        with self._state:
            self._peak_bytes = numbers[-1]
            self._frozen = verb == "frozen"
            if verb == "exited":
                self.running, self.exit_status = False, numbers[0]
                exceeded = self._peak_bytes > self._memory_mb * _MEBIBYTE
                exceeded = exceeded or bool(self._cgroup and self._cgroup.killed)
                self.out_of_memory = exceeded and self.exit_status == -signal.SIGKILL
            self._state.notify_all()
        if verb == "exited":
            self._on_exit()


def _start_init(program: str, command: RuntimeCommand, temporary: str, joining: int) -> Started:
    """Start `init.py` as a program, behind bubblewrap's walls if there are any."""
    init = [sys.executable, "-I", "-S", str(_INIT), str(command.memory_mb), str(joining)]
    line, variables = [*init, *command.argv], dict(command.variables)
    if program:
        for path in command.writable:
            path.mkdir(parents=True, exist_ok=True)
        # This interpreter and what runs in the sandbox may be below /tmp.
        ours = (Path(sys.prefix), Path(sys.base_prefix), _INIT.parent)
        walls = bubblewrap.Walls(
            command.tmp_mb,
            (*ours, *command.readable),
            command.writable,
            command.working_directory,
            command.copied,
            command.mounts,
        )
        line = bubblewrap.command(program, walls, line)
        variables = {name: walls.inside(value) for name, value in variables.items()}
    elif command.mounts:
        raise OSError("a plain process can mount no file system: install bubblewrap")
    else:
        variables = {"HOME": _NO_HOME, **variables, "TMPDIR": temporary}
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        process = subprocess.Popen(
            line,
            cwd=command.working_directory,
            env=variables,
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(*command.descriptors, *([] if joining < 0 else [joining])),
        )
    except OSError:
        control.close()
        raise
    finally:
        theirs.close()
    assert process.stdout is not None  # noqa: S101 - Popen was given PIPE
    return Started(process, process.stdout, control)
