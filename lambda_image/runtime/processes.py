"""Dangerous: this module replaces private parts of Airflow's supervisor in the running process.

Airflow's supervisor stays in the handler's process, but the zygote forks its children, so that no
task inherits what an earlier one left in memory. Creating `Processes` patches, for good:

- `WatchedSubprocess.start`: the zygote forks the child, and its end wakes the supervisor.
- `ActivitySubprocess.update_task_state_if_needed`: a task that was killed before it could report
  its end gets its retry (`docs/decisions/0011-deadline.md`).
- `make_buffered_socket_reader`: `task_output.reader` takes its place.
- `_configure_logs_over_json_channel`: `log_channel` takes its place.
- `TaskInstanceOperations`: the calls about a task's start and end (`api.calls`).
- `signal` in the modules that import DAG files: a segmentation fault ends the process.

If a part that this module uses is not as `known_parts` has it, `make` replaces at most the reader,
which masks secrets, and returns `StockProcesses`.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import inspect
import logging
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

import psutil
import structlog
from airflow.sdk.execution_time import supervisor
from airflow.version import version as airflow_version

from lambda_image import host
from lambda_image.deadline import Deadline
from lambda_image.logs.invocation_log import WriteLog
from lambda_image.machine import memory, randomness
from lambda_image.machine.limits import Limits
from lambda_image.machine.zygote import Child, Zygote, protect, unprotect
from lambda_image.runtime import compat, known_parts, soft_stop, task_output
from lambda_image.runtime.api import calls, verdicts
from lambda_image.runtime.api.calls import TaskCalls
from lambda_image.runtime.log_channel import LogChannel
from lambda_image.runtime.stock_processes import StockProcesses
from lambda_image.verdict import Verdict, crashed, ended, out_of_time

#: Negative exit codes, named after their signals as psutil does: the supervisor logs the name.
_SignalExit = enum.IntEnum(  # type: ignore[misc]
    "_SignalExit", {number.name: -number.value for number in signal.Signals}
)


def make(write_log: WriteLog) -> Processes | StockProcesses:
    """Patch Airflow's supervisor, or log what is missing and leave Airflow as it is."""
    absent = known_parts.missing()
    if "make_buffered_socket_reader" not in absent:
        supervisor.make_buffered_socket_reader = task_output.reader
    if absent:
        write_log(
            "warning",
            "this Airflow's supervisor is not one that the image knows: tasks run as in stock "
            "Airflow, and are killed at the deadline without being asked to stop. Build the image "
            "with Airflow 3.0 to 3.4",
            airflow_version=airflow_version,
            absent=absent,
        )
        return StockProcesses()
    return Processes()


class Processes:
    """The workload processes of one execution environment, one at a time."""

    _zygote: Zygote
    _limits: Limits

    def __init__(self) -> None:
        _let_segfaults_kill()
        self._deadline: Deadline | None = None
        self._child: Child | None = None
        self._variables: Mapping[str, str] = {}
        self._oom_kills = 0
        #: What Airflow was notified of; `begin` belongs to the caller.
        self.calls = TaskCalls()
        self._log_channel = LogChannel()
        _install(self)
        calls.install(self.calls)

    def start(self) -> None:
        """Fork the zygote: every workload's process starts from what this one is now."""
        self._zygote = Zygote(partial(_child_main, self._log_channel), self._log_channel.prepare)
        self._limits = Limits({"the handler": os.getpid(), "the zygote": self._zygote.pid})
        protect()

    def stop(self) -> None:
        """End the zygote; `start` forks another."""
        self._zygote.close()
        unprotect()

    @contextmanager
    def until(self, deadline: Deadline) -> Iterator[None]:
        """Bound one workload by its deadline; no process of it survives the block."""
        self._deadline, self._child = deadline, None
        self._oom_kills = memory.oom_kills()
        try:
            yield
        finally:
            if self._child is not None:
                self._child.close(deadline.give_up_at_s)

    @staticmethod
    def give_up_at_s(deadline: Deadline) -> float:
        """When the handler stops waiting; the zygote has killed the workload long before."""
        return deadline.give_up_at_s

    def spawn(self, target: Callable[[], object], channels: Sequence[socket.socket] = ()) -> Child:
        """Have the zygote fork a child that runs `target`.

        A supervised child gets its ends of four channels: requests, stdout, stderr and logs.
        """
        assert self._deadline is not None  # noqa: S101 - `until` is around every workload
        order = (_packed(target), self._deadline.stop_reasons, self._variables)
        fds = [channel.fileno() for channel in channels]
        times = self._deadline.times
        self._child = self._zygote.spawn(order, fds, times)
        if times != self._deadline.times:  # `hasten` had no child yet.
            self.hasten()
        return self._child

    def hasten(self) -> None:
        """Stop the workload when its deadline says so now; may be called on any thread."""
        if self._child is not None and self._deadline is not None:
            self._child.hasten(self._deadline.times)

    def supervise(self, run_workload: Callable[[], int], variables: Mapping[str, str]) -> None:
        """Run a workload that Airflow supervises: the patched `start` has its child forked.

        The child gets these variables, which the zygote does not have.
        """
        self._variables = variables
        run_workload()

    def run(self, run_workload: Callable[[], int], variables: Mapping[str, str]) -> None:
        """Run a workload that Airflow does not supervise, all of it in a child."""
        self._variables = variables
        child = self.spawn(run_workload)
        while child.end() is None:
            select.select([child.exit], [], [])

    def verdict(self) -> Verdict | None:
        """How the workload's process ended; None if it was not started or still runs."""
        end = self._child.end() if self._child else None
        if end is None or self._deadline is None:
            return None
        if end.lost:
            verdict = crashed(
                "the process that starts and watches the workloads was killed or stopped, by the "
                "workload or for want of memory; the execution environment is given up"
            )
        elif end.killed:
            verdict = out_of_time(end.exit_code, self._deadline.kill_reason)
        elif end.stopped:
            verdict = out_of_time(end.exit_code, self._deadline.stop_reason)
        else:
            verdict = ended(end.exit_code, self._memory_reason(end.max_memory_mb))
        return replace(verdict, max_memory_mb=end.max_memory_mb)

    @property
    def have_started(self) -> bool:
        """Whether a process of the last workload was started."""
        return self._child is not None

    def reason_against_another(self) -> str | None:
        """Why no other workload can run as this one could; None if it can."""
        self._zygote.reap_orphans()
        end = self._child.end() if self._child else None
        if self._zygote.is_lost or (end is not None and end.lost):
            return "the process that starts and watches the workloads is gone"
        return self._limits.restore()

    def _memory_reason(self, max_memory_mb: float) -> str:
        if memory.oom_kills() == self._oom_kills:
            return ""
        return (
            f"it needed more than {memory.limit()} (its largest process had "
            f"{max_memory_mb:.0f} MiB). Give the {host.name()} more memory"
        )


class _Tracker:
    """A child behind the methods of `psutil.Process` that the supervisor calls."""

    ProcessNotFound = psutil.NoSuchProcess
    TimeoutExpired = psutil.TimeoutExpired

    def __init__(self, child: Child) -> None:
        self._child = child
        self.pid = child.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the child has ended: its process id may be reused by then."""
        if self._child.end() is not None:
            raise psutil.NoSuchProcess(self.pid)
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Return the exit code, without waiting."""
        end = self._child.end()
        if end is None:
            raise psutil.TimeoutExpired(timeout, self.pid)
        with contextlib.suppress(ValueError):  # No signal, or one without a name.
            return _SignalExit(end.exit_code)
        return end.exit_code


def _install(processes: Processes) -> None:
    watched, activity = supervisor.WatchedSubprocess, supervisor.ActivitySubprocess
    fields = {field.name for field in watched.__attrs_attrs__}
    readers = inspect.signature(watched._register_pipe_readers).parameters  # noqa: SLF001
    more: dict[str, Any] = {"data": {}} if "data" in readers else {}  # since Airflow 3.3

    def start(
        cls: Any,  # noqa: ANN401 - Airflow's own types
        /,
        *,
        target: Callable[[], None] = supervisor._subprocess_main,  # noqa: SLF001
        logger: Any = None,  # noqa: ANN401 - Airflow's own types
        use_exec: bool = False,  # noqa: ARG001 - the zygote's memory is as clean as a new process's
        new_process_group: bool = False,
        **constructor_kwargs: Any,  # noqa: ANN401 - Airflow's own types
    ) -> Any:  # noqa: ANN401 - Airflow's own types
        pairs = {name: socket.socketpair() for name in ("requests", "stdout", "stderr", "logs")}
        child = processes.spawn(target, [theirs for theirs, _ in pairs.values()])
        for theirs, _ in pairs.values():
            theirs.close()
        ours = {name: pair[1] for name, pair in pairs.items()}
        if "_new_process_group" in fields:  # since Airflow 3.3
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
        if hasattr(process, "_last_heartbeat_attempt"):
            # To the API server, the start of a task is its first heartbeat. Stock Airflow sends
            # another one right after it: a quarter of a short task's requests.
            process._last_heartbeat_attempt = process.start_time
        _wake_at_end(process, child)
        return process

    stock: Callable[[Any], None] = activity.update_task_state_if_needed

    def update(self: Any) -> None:  # noqa: ANN401 - Airflow's own types
        verdict = processes.verdict()
        try:
            if self._exit_code == 0 or verdict is None or not _report_end(self, verdict.reason):
                stock(self)
        except (
            compat.http.HTTPError
        ):  # `calls` remembers it; the task's log must still be uploaded.
            if processes.calls.asked is None:
                raise
        not_taken = verdicts.of_end(processes.calls, compat.execution_api_url())
        if not_taken is not None:
            level = logging.ERROR if not_taken.return_code else logging.INFO
            self.process_log.log(level, not_taken.reason)

    watched.start = classmethod(start)  # type: ignore[assignment]
    activity.update_task_state_if_needed = update  # type: ignore[method-assign]


def _let_segfaults_kill() -> None:
    """Keep the modules that import DAG files from handling segmentation faults.

    A handler in Python never runs, and the faulty instruction is repeated for ever:
    https://docs.python.org/3/library/signal.html, "Execution of Python signal handlers".
    """
    for name in (
        "airflow.sdk.importers.python_importer",  # since Airflow 3.4
        "airflow.dag_processing.importers.python_importer",  # since 3.2
        "airflow.models.dagbag",
    ):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            module.signal = types.SimpleNamespace(  # type: ignore[attr-defined]
                **vars(signal) | {"signal": _handle_unless_segfault}
            )


def _handle_unless_segfault(number: int, handler: Any) -> Any:  # noqa: ANN401 - as `signal.signal`
    return signal.SIG_DFL if number == signal.SIGSEGV else signal.signal(number, handler)


def _wake_at_end(process: Any, child: Child) -> None:  # noqa: ANN401 - Airflow's type
    """Wake the supervisor when its child ends: the pipes close earlier, and it would sleep 5 s."""

    def on_end(_: socket.socket) -> bool:
        child.end()
        return False

    def on_close(exit_: socket.socket) -> None:
        process.selector.unregister(exit_)

    process.selector.register(child.exit, selectors.EVENT_READ, (on_end, on_close))


def _report_end(process: Any, reason: str) -> bool:  # noqa: ANN401 - Airflow's type
    """Write the reason to the task's log, and ask Airflow for a retry if one is due.

    Stock Airflow leaves that to the child: the task of a killed child would stay `running`.
    Returns whether Airflow knows the task's final state.
    """
    process.process_log.error(reason)
    if getattr(process, "_pending_terminal_state_msg", None) is not None:
        return False  # Airflow sends it, again or, since 3.4, now.
    if process._terminal_state in supervisor.STATES_SENT_DIRECTLY:  # noqa: SLF001
        return True  # The child died after its report, in a callback of the task for example.
    if process.final_state != "up_for_retry":
        return False
    process.client.task_instances.retry(
        id=process.id,
        end_date=datetime.now(tz=UTC),
        rendered_map_index=process._rendered_map_index,  # noqa: SLF001
    )
    return True


def _packed(function: Callable[[], object]) -> bytes:
    """Serialize a function with its closure, which pickle cannot, for a process like this one."""
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"{function!r} is no Python function")
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return pickle.dumps((function.__module__, marshal.dumps(function.__code__), cells))


def _unpacked(packed: bytes) -> Callable[[], Any]:
    module, code, cells = pickle.loads(packed)  # noqa: S301 - from our own parent
    return types.FunctionType(
        marshal.loads(code),  # noqa: S302 - from our own parent
        vars(sys.modules[module]),
        closure=tuple(types.CellType(content) for content in cells),
    )


def _child_main(
    log_channel: LogChannel,
    order: Any,  # noqa: ANN401 - what `spawn` sends
    fds: Sequence[int],
) -> NoReturn:
    """Run a child's target and end its process, whatever happens."""
    try:
        os.setpgid(0, 0)
        randomness.renew()  # The zygote's are the same for all of its children.
        packed, stop_reasons, variables = order
        os.environ.update(variables)
        soft_stop.install(stop_reasons)
        target = _unpacked(packed)
        if not fds:
            log_channel.leave()
            os._exit(int(target()))
        requests, stdout, stderr = (socket.socket(fileno=fd) for fd in fds[:3])
        supervisor._fork_main(requests, stdout, stderr, fds[3], target)  # noqa: SLF001
    except BaseException:  # noqa: BLE001 - a task's process must end here
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(124)  # Airflow's exit code for this case.
