"""Airflow's workload processes as this image runs them: forked by the zygote, with a deadline.

The supervisor keeps its part in the handler's process: it talks to the Execution API and writes the
task's log. Changed of it is where its child comes from, what wakes it when the child ends, and that
it tells Airflow of the end of a child that could not do so itself
(`docs/decisions/0011-deadline.md`). It must not know Lambda, the queue or the wire.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import inspect
import marshal
import os
import pickle
import select
import selectors
import signal
import socket
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NoReturn

import psutil
import structlog
from airflow.sdk.api import client
from airflow.sdk.execution_time import supervisor
from airflow.version import version as airflow_version

from lambda_image.deadline import Deadline
from lambda_image.logs.invocation_log import WriteLog
from lambda_image.machine import memory
from lambda_image.machine.zygote import Child, Zygote, protect
from lambda_image.runtime import soft_stop, task_output
from lambda_image.runtime.stock_processes import StockProcesses
from lambda_image.verdict import Verdict, crashed, ended, out_of_time

#: psutil's own for a process that a signal ended: the supervisor logs its name.
_Signalled = enum.IntEnum(  # type: ignore[misc]
    "_Signalled", {number.name: -number.value for number in signal.Signals}
)

#: Private parts of Airflow's supervisor that are called or replaced, with the parameters that are
#: used. `missing` looks whether this Airflow has them, and the other two.
_CALLED = {
    "WatchedSubprocess.start": {"target", "logger"},
    "WatchedSubprocess._register_pipe_readers": {"stdout", "stderr", "requests", "logs"},
    "ActivitySubprocess.update_task_state_if_needed": {"self"},
    "_fork_main": {"requests", "child_stdout", "child_stderr", "log_fd", "target"},
    "_subprocess_main": set(),
    "make_buffered_socket_reader": {"gen", "on_close"},
    "TaskInstanceOperations.retry": {"id", "end_date", "rendered_map_index"},
}
#: Private parts that are read.
_READ = ("ActivitySubprocess.final_state", "STATES_SENT_DIRECTLY", "Client.task_instances")
#: Fields of the object that supervises a task.
_FIELDS = {
    "id",
    "pid",
    "stdin",
    "client",
    "selector",
    "start_time",
    "process_log",
    "_process",
    "_exit_code",
    "_terminal_state",
    "_rendered_map_index",
}


def make(write_log: WriteLog) -> Processes | StockProcesses:
    """Airflow's processes with all that is added here, or the stock ones if a part has moved.

    Args:
        write_log: Told of what has moved.
    """
    if absent := missing():
        write_log(
            "warning",
            "this Airflow's supervisor is not one that the image knows: tasks run as in stock "
            "Airflow, and are killed at the deadline without being asked to stop. Build the image "
            "with Airflow 3.0 to 3.3",
            airflow_version=airflow_version,
            absent=absent,
        )
        return StockProcesses()
    return Processes()


class Processes:
    """The workload processes of one execution environment, one at a time."""

    def __init__(self) -> None:
        _let_crashes_end()
        self._zygote = Zygote(_enter)
        self._deadline: Deadline | None = None
        self._child: Child | None = None
        self._oom_kills = 0
        protect()
        _install(self)

    @contextmanager
    def until(self, deadline: Deadline) -> Iterator[None]:
        """Give the process of one workload its time; afterwards nothing of it is left."""
        self._deadline, self._child = deadline, None
        self._oom_kills = memory.oom_kills()
        try:
            yield
        finally:
            if self._child is not None:
                self._child.close(deadline.give_up_at_s)

    @staticmethod
    def give_up_at_s(deadline: Deadline) -> float:
        """When the handler ends its wait for a workload, whose process is long gone by then."""
        return deadline.give_up_at_s

    def spawn(self, target: Callable[[], object], channels: Sequence[socket.socket] = ()) -> Child:
        """Have a child forked.

        Args:
            target: What it runs.
            channels: Its ends of requests, stdout, stderr and logs; without them it has no
                supervisor.
        """
        assert self._deadline is not None  # noqa: S101 - `until` is around every workload
        order = (_packed(target), self._deadline.stop_words)
        fds = [channel.fileno() for channel in channels]
        self._child = self._zygote.spawn(order, fds, self._deadline.times)
        return self._child

    def supervise(self, run_workload: Callable[[], int]) -> None:
        """Run a workload for which Airflow starts a child: its supervisor is in this process."""
        run_workload()

    def run(self, run_workload: Callable[[], int]) -> None:
        """Run another workload, all of it in a child."""
        child = self.spawn(run_workload)
        while child.end() is None:
            select.select([child.exit], [], [])

    def verdict(self) -> Verdict | None:
        """How the workload's process ended; None if none was started, or it still runs."""
        end = self._child.end() if self._child else None
        if end is None or self._deadline is None:
            return None
        if end.lost:
            verdict = crashed(
                "the process that starts and watches the workloads was killed or stopped, by the "
                "workload or for want of memory; the execution environment is given up"
            )
        elif end.killed:
            verdict = out_of_time(end.exit_code, self._deadline.kill_words)
        elif end.stopped:
            verdict = out_of_time(end.exit_code, self._deadline.stop_words)
        else:
            verdict = ended(end.exit_code, self._memory_words(end.max_memory_mb))
        return replace(verdict, max_memory_mb=end.max_memory_mb)

    @property
    def are_lost(self) -> bool:
        """Whether no other workload can be run here."""
        end = self._child.end() if self._child else None
        return self._zygote.is_lost or (end is not None and end.lost)

    def _memory_words(self, max_memory_mb: float) -> str:
        if memory.oom_kills() == self._oom_kills:
            return ""
        return (
            f"it needed more than {memory.limit_words()} (its largest process had "
            f"{max_memory_mb:.0f} MiB). Give the function more memory"
        )


def missing() -> list[str]:
    """What this Airflow does not have of what is used here."""
    absent = [path for path, parameters in _CALLED.items() if not _takes(path, parameters)]
    absent += [path for path in _READ if _part(path) is None]
    fields = getattr(_part("ActivitySubprocess"), "__attrs_attrs__", ())
    return absent + sorted(_FIELDS - {field.name for field in fields})


def _part(path: str) -> Any:  # noqa: ANN401 - Airflow's own types
    """A part of Airflow by its name; None if there is none."""
    top, *names = path.split(".")
    found = getattr(supervisor, top, None) or getattr(client, top, None)
    for name in names:
        found = getattr(found, name, None)
    return found


def _takes(path: str, parameters: set[str]) -> bool:
    found = _part(path)
    return found is not None and parameters <= inspect.signature(found).parameters.keys()


class _Tracker:
    """A child as the supervisor wants to see it: the part of `psutil.Process` that it uses."""

    ProcessNotFound = psutil.NoSuchProcess
    TimeoutExpired = psutil.TimeoutExpired

    def __init__(self, child: Child) -> None:
        self._child = child
        self.pid = child.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal unless it has ended: its process id may be another's by then."""
        if self._child.end() is not None:
            raise psutil.NoSuchProcess(self.pid)
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """The exit code; never waits."""
        end = self._child.end()
        if end is None:
            raise psutil.TimeoutExpired(timeout, self.pid)
        return _Signalled(end.exit_code) if end.exit_code < 0 else end.exit_code


def _install(processes: Processes) -> None:
    watched, activity = supervisor.WatchedSubprocess, supervisor.ActivitySubprocess
    fields = {field.name for field in watched.__attrs_attrs__}
    readers = inspect.signature(watched._register_pipe_readers).parameters  # noqa: SLF001
    more: dict[str, Any] = {"data": {}} if "data" in readers else {}  # from Airflow 3.3

    def start(
        cls: Any,  # noqa: ANN401 - Airflow's own types
        /,
        *,
        target: Callable[[], None] = supervisor._subprocess_main,  # noqa: SLF001
        logger: Any = None,  # noqa: ANN401 - likewise
        use_exec: bool = False,  # noqa: ARG001 - for macOS
        new_process_group: bool = False,
        **constructor_kwargs: Any,  # noqa: ANN401 - likewise
    ) -> Any:  # noqa: ANN401 - likewise
        pairs = {name: socket.socketpair() for name in ("requests", "stdout", "stderr", "logs")}
        child = processes.spawn(target, [theirs for theirs, _ in pairs.values()])
        for theirs, _ in pairs.values():
            theirs.close()
        ours = {name: pair[1] for name, pair in pairs.items()}
        if "_new_process_group" in fields:  # from Airflow 3.3
            constructor_kwargs["new_process_group"] = new_process_group
        process = cls(
            pid=child.pid,
            stdin=ours["requests"],
            process=_Tracker(child),
            process_log=logger or structlog.get_logger(logger_name="task").bind(),
            start_time=time.monotonic(),
            **constructor_kwargs,
        )
        process._register_pipe_readers(**ours, **more)
        _wake_at_end(process, child)
        return process

    stock: Callable[[Any], None] = activity.update_task_state_if_needed

    def update(self: Any) -> None:  # noqa: ANN401 - likewise
        verdict = processes.verdict()
        if self._exit_code == 0 or verdict is None or not _tell_end(self, verdict.reason):
            stock(self)

    supervisor.make_buffered_socket_reader = task_output.reader
    watched.start = classmethod(start)  # type: ignore[assignment]
    activity.update_task_state_if_needed = update  # type: ignore[method-assign]


def _let_crashes_end() -> None:
    """Keep the modules that import DAG files from handling segmentation faults.

    A handler in Python never comes to run: the instruction that failed is repeated for ever, and
    the task's process with it (https://docs.python.org/3/library/signal.html, "Execution of Python
    signal handlers"). Without it the process dies, and the supervisor says of what.
    """
    for name in ("airflow.dag_processing.importers.python_importer", "airflow.models.dagbag"):
        with contextlib.suppress(ImportError):  # The first is there from Airflow 3.2.
            module = importlib.import_module(name)
            module.signal = types.SimpleNamespace(  # type: ignore[attr-defined]
                **vars(signal) | {"signal": _handle_but_crashes}
            )


def _handle_but_crashes(number: int, handler: Any) -> Any:  # noqa: ANN401 - as `signal.signal`
    return signal.SIG_DFL if number == signal.SIGSEGV else signal.signal(number, handler)


def _wake_at_end(process: Any, child: Child) -> None:  # noqa: ANN401 - Airflow's type
    """Let the supervisor's wait end with its child, which its pipes alone do not see to."""

    def take(_: socket.socket) -> bool:
        child.end()
        return False

    def forget(exit_: socket.socket) -> None:
        process.selector.unregister(exit_)

    process.selector.register(child.exit, selectors.EVENT_READ, (take, forget))


def _tell_end(process: Any, reason: str) -> bool:  # noqa: ANN401 - Airflow's type
    """Tell the task's log why its process ended, and Airflow what the process had no time to tell.

    Airflow's supervisor leaves it to the child to say that there is another try: of one that was
    killed nothing is heard, and its task stays `running`.

    Returns:
        Whether Airflow knows all there is to know.
    """
    process.process_log.error(reason)
    if process._terminal_state in supervisor.STATES_SENT_DIRECTLY:  # noqa: SLF001
        return True  # It died after its word, in a callback of the task for example.
    if process.final_state != "up_for_retry" or getattr(process, "_pending_terminal_state_msg", 0):
        return False
    process.client.task_instances.retry(
        id=process.id,
        end_date=datetime.now(tz=UTC),
        rendered_map_index=process._rendered_map_index,  # noqa: SLF001
    )
    return True


def _packed(function: Callable[[], object]) -> bytes:
    """A function with what it closes over, for another process with the same modules.

    The supervisor hands over a callback inside a closure, which pickle alone does not take.
    """
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"{function!r} is no Python function")
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return pickle.dumps((function.__module__, marshal.dumps(function.__code__), cells))


def _unpacked(packed: bytes) -> Callable[[], Any]:
    module, code, cells = pickle.loads(packed)  # noqa: S301 - of our own parent
    return types.FunctionType(
        marshal.loads(code),  # noqa: S302 - likewise
        vars(sys.modules[module]),
        closure=tuple(types.CellType(content) for content in cells),
    )


def _enter(order: Any, fds: Sequence[int]) -> NoReturn:  # noqa: ANN401 - what `spawn` sends
    """The life of a child; as in Airflow's own, nothing leaves this function."""
    try:
        os.setpgid(0, 0)
        packed, stop_words = order
        soft_stop.install(stop_words)
        target = _unpacked(packed)
        if not fds:
            os._exit(int(target()))
        requests, stdout, stderr = (socket.socket(fileno=fd) for fd in fds[:3])
        supervisor._fork_main(requests, stdout, stderr, fds[3], target)  # noqa: SLF001
    except BaseException:  # noqa: BLE001 - a task's process must end here
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(124)  # Airflow's own code for it.
