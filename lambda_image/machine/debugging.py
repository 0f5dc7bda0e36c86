"""A debugger for the process of a task, whose standard streams are Airflow's.

`install` prepares it in the process from which the zygote is forked.
"""

from __future__ import annotations

import functools
import importlib
import os
import pdb  # noqa: T100 - the purpose
import signal
import sys
from contextlib import suppress
from typing import Any

from lambda_executor.contract.local_run import Order

#: The handler forks the zygote, and the zygote the task's process.
_TASK = 2


def install(order: Order, terminal: int) -> None:
    """Let the task's process stop in the debugger of the order; does nothing without one."""
    if order.debugger == "pdb":
        stop = _Pdb(os.dup(0), terminal)
        sys.breakpointhook = stop
        pdb.set_trace = stop  # Its own would read Airflow's messages.
    elif order.debugger == "debugpy":
        debugpy = importlib.import_module("debugpy")
        _in_task(functools.partial(_wait_for_client, debugpy, order.debug_port, terminal))


class _Pdb:
    """What `breakpoint()` calls: pdb on the terminal, one for each process."""

    def __init__(self, stdin: int, stdout: int) -> None:
        self._stdin, self._stdout = stdin, stdout
        self._of: dict[int, pdb.Pdb] = {}

    def __call__(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - as `pdb.set_trace`
        self._take_terminal()
        pid = os.getpid()
        if pid not in self._of:
            self._of[pid] = pdb.Pdb(
                stdin=os.fdopen(self._stdin, closefd=False),
                stdout=os.fdopen(self._stdout, "w", closefd=False),
            )
        self._of[pid].set_trace(sys._getframe(1))  # noqa: SLF001 - as `pdb.set_trace`

    def _take_terminal(self) -> None:
        """Become the group that the terminal serves: the task has one of its own."""
        with suppress(OSError, ValueError):  # It is no terminal, or this is no main thread.
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(self._stdin, os.getpgrp())


def _in_task(begin: Any) -> None:  # noqa: ANN401 - called without arguments
    """Call this at the start of the task's process."""
    generation = 0

    def forked() -> None:
        nonlocal generation
        generation += 1
        if generation == _TASK:
            begin()

    os.register_at_fork(after_in_child=forked)


def _wait_for_client(debugpy: Any, port: int, terminal: int) -> None:  # noqa: ANN401 - not installed
    where = "127.0.0.1", port
    debugpy.listen(where)
    line = "debugpy listens on {}:{}, and the task waits for a client\n".format(*where)
    os.write(terminal, line.encode())
    debugpy.wait_for_client()
