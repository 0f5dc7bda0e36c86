"""The tasks under attack. The plan is in `attacked.json` beside this file.

Each task tells the recorder when its code begins and ends, over a connection of its own: neither
the AWS under attack nor Airflow has a part in that.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, Context, PokeReturnValue, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

PLAN = json.loads((Path(__file__).parent / "attacked.json").read_text())
CONNECT_S = 20
MIB = 1024 * 1024


def record(event: str, context: Mapping[str, Any] | None = None) -> None:
    """Tell the recorder what happens in which try."""
    ti = (context or get_current_context())["ti"]
    line = {
        "dag_id": ti.dag_id,
        "task_id": ti.task_id,
        "map_index": ti.map_index,
        "try_number": ti.try_number,
        "event": event,
        "pid": os.getpid(),
    }
    host, _, port = os.environ["ATTACK_RECORDER"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=CONNECT_S) as connection:
        connection.sendall(json.dumps(line).encode() + b"\n")
        if connection.recv(1) != b"+":
            raise ConnectionError("the recorder did not take the line")


class OwnError(Exception):
    """Raised by a task on purpose."""


def raise_own(why: str) -> None:
    """End the try by an exception of the task's own, which the recorder knows."""
    record("raise")
    raise OwnError(why)


def is_first_try() -> bool:
    """Whether this is the first try."""
    return bool(get_current_context()["ti"].try_number == 1)


def nothing(work_s: float) -> None:
    """Do nothing."""


def works(work_s: float) -> None:
    """Work for a while."""
    time.sleep(work_s)


def large_result(work_s: float) -> str:  # noqa: ARG001
    """Return much."""
    return "x" * 200_000


def large_workload(work_s: float) -> None:
    """Come through S3, as the DAG has a large `executor_config` for it."""


def skipped(work_s: float) -> None:  # noqa: ARG001
    """Skip."""
    record("end")
    raise AirflowSkipException("on purpose")


def daemon(work_s: float) -> None:  # noqa: ARG001
    """Leave a process behind, in a session of its own."""
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execv(
            sys.executable, [sys.executable, "-c", "import time; time.sleep(600)", "left-behind"]
        )


def raises_once(work_s: float) -> None:
    """Fail the first try."""
    time.sleep(work_s / 4)
    if is_first_try():
        raise_own("the first try")


def always_raises(work_s: float) -> None:  # noqa: ARG001
    """Fail every try."""
    raise_own("every try")


def exits(work_s: float) -> None:  # noqa: ARG001
    """End without a word."""
    if is_first_try():
        os._exit(3)


def segfault(work_s: float) -> None:  # noqa: ARG001
    """Read where nothing is."""
    if is_first_try():
        ctypes.string_at(0)


def kills_itself(work_s: float) -> None:  # noqa: ARG001
    """End by SIGKILL."""
    if is_first_try():
        os.kill(os.getpid(), signal.SIGKILL)


def out_of_memory(work_s: float) -> None:  # noqa: ARG001
    """Use all memory of the function and more."""
    if is_first_try():
        taken = [bytearray(os.urandom(MIB)) * 64 for _ in range(40)]
        raise OwnError(f"{len(taken)} pieces of memory were there")


def full_disk(work_s: float) -> None:  # noqa: ARG001
    """Leave a full disk behind."""
    if is_first_try():
        folder = Path(os.environ.get("AIRFLOW_HOME", "/tmp"))
        with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
            for _ in range(1024):
                file.write(bytes(MIB))
        raise_own("the disk is full")


def descriptors(work_s: float) -> None:  # noqa: ARG001
    """Use up this process's descriptors. Without any, Airflow could not end the try."""
    held = []
    with contextlib.suppress(OSError):
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    for descriptor in held:
        os.close(descriptor)


def poison(work_s: float) -> None:  # noqa: ARG001
    """Leave too few descriptors to the process that starts tasks, and to its parent."""
    if is_first_try():
        starter = os.getppid()
        status = Path(f"/proc/{starter}/status").read_text().splitlines()
        (parent,) = (int(line.split()[1]) for line in status if line.startswith("PPid:"))
        for pid in {starter, parent} - {1}:
            with contextlib.suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (16, 16))
        raise_own("the handler has 16 descriptors")


def stubborn(work_s: float) -> None:  # noqa: ARG001
    """Let nothing stop the first try but the end of its process."""
    if is_first_try():
        blocked = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
        while True:
            with contextlib.suppress(BaseException):
                signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
                time.sleep(1)


def kills_runtime(work_s: float) -> None:  # noqa: ARG001
    """Kill what runs this task, with the handler."""
    if is_first_try():
        pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
        for pid in sorted(pids, reverse=True):
            if pid not in {1, os.getpid()}:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(60)


def on_a_target(work_s: float) -> None:
    """Work somewhere else."""
    time.sleep(work_s)


on_batch = on_ecs = on_microvm = locally = on_a_target


class Deferred(BaseOperator):
    """Leaves its target, and continues elsewhere."""

    template_fields = ("work_s",)

    def __init__(self, *, work_s: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.work_s = work_s

    def execute(self, context: Context) -> None:
        """Wait without a process."""
        record("start", context)
        record("leave", context)
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=self.work_s)), method_name="go_on")

    def go_on(self, context: Context, event: object = None) -> None:  # noqa: ARG002 - Airflow's
        """Continue."""
        record("resume", context)
        record("end", context)


def notify(context: Context) -> None:
    """The callback of a failure."""
    record("callback", context)


def looks(work_s: float) -> PokeReturnValue:  # noqa: ARG001
    """Look for something that is there the second time."""
    context = get_current_context()
    looked = context["ti"].get_first_reschedule_date(context) is not None
    record("resume" if looked else "start")
    record("end" if looked else "leave")
    return PokeReturnValue(is_done=looked)


#: By kind, what is different from a plain task of the default queue.
DIFFERENT: dict[str, dict[str, Any]] = {
    "large_workload": {"executor_config": {"notes": "x" * (MIB + 1)}},
    "always_raises": {"retries": 1, "on_failure_callback": notify},
    "stubborn": {"queue": "short"},
    "kills_runtime": {"queue": "short"},
    "on_batch": {"queue": "batch"},
    "on_ecs": {"queue": "ecs"},
    "on_microvm": {"queue": "microvm"},
    "locally": {"executor": "LocalExecutor"},
}
#: Those which record their own start and end.
THEMSELVES = {"rescheduled", "deferred", "skipped"}


def recorded(function: Callable[[float], Any]) -> Callable[[float], Any]:
    """Record the start and the end of a kind's code around it."""

    def run(work_s: float) -> Any:
        record("start")
        result = function(work_s)
        if function is not skipped:
            record("end")
        return result

    return run


def build(dag_id: str, kinds: Mapping[str, list[float]]) -> None:
    """One DAG with the tasks of the plan: a mapped task for each kind."""
    common = {"retries": PLAN["retries"], "retry_delay": timedelta(seconds=1)}

    @dag(
        dag_id=dag_id,
        schedule=None,
        max_active_tasks=10_000,
        default_args={**common, "retry_exponential_backoff": False},
    )
    def attacked() -> None:
        for kind, seconds in kinds.items():
            given = {"task_id": kind, **DIFFERENT.get(kind, {})}
            if kind == "deferred":
                Deferred.partial(**given).expand(work_s=seconds)
            elif kind == "rescheduled":
                task.sensor(poke_interval=1, timeout=600, mode="reschedule", **given)(looks).expand(
                    work_s=seconds
                )
            else:
                task(**given)(recorded(globals()[kind])).expand(work_s=seconds)

    attacked()


for each, its_kinds in PLAN["dags"].items():
    build(each, its_kinds)
