"""Bad input for the real handler: the result has the reason, and the environment goes on."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lambda_executor.contract.wire import Invocation, InvocationId, Outcome, Result
from tests.support.handler_process import TOKEN, HandlerProcess, Server, task
from tests.support.machine import on_a_small_disk

#: What `floods` writes without a line's end, and then in lines of one character.
FLOOD_BYTES = 100 * 1024 * 1024

DAGS = f"""
import ctypes, multiprocessing, os, resource, signal, sys, tempfile, time
from pathlib import Path
from airflow.sdk import dag, task

@dag(schedule=None)
def handled():
    @task
    def says():
        print("said by the task")
    @task
    def crashes():
        ctypes.string_at(0)
    @task
    def exits():
        os._exit(7)
    @task
    def asks_for_too_much():
        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
        bytearray(8 * 2**30)
    @task
    def fills_memory():
        kept = []
        while True:
            kept.append(os.urandom(2**20))
    @task
    def forks():
        if os.fork() == 0:
            print("said by the fork")
    @task
    def forks_away():
        for _ in range(20):
            if os.fork() == 0:
                os.setsid()
                time.sleep(60)
    @task
    def kills_its_parent():
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    @task
    def stops_its_parent():
        os.kill(os.getppid(), signal.SIGSTOP)
        time.sleep(60)
    @task
    def floods():
        half = bytes(2**20).replace(b"\\0", b"x")
        for _ in range({FLOOD_BYTES} // 2**20):
            sys.stdout.buffer.write(half)
        sys.stdout.buffer.write(b"\\ny" * 2**16)
        sys.stdout.flush()
    @task
    def writes_binary():
        for stream in (sys.stdout, sys.stderr):
            stream.buffer.write(bytes(range(256)) * 16 + b"\\xed\\xa0\\x80\\n")
            stream.flush()
        print("half of a pair: \\ud800")
    @task
    def puts_a_folder_in_the_place_of_its_log():
        for file in Path(os.environ["AIRFLOW_HOME"]).rglob("attempt=1.log"):
            file.unlink()
            file.mkdir()
    def fill(folder):
        with Path(folder, "large").open("wb") as file:
            while True:
                file.write(bytes(2**12))
    @task
    def fills_the_disk():
        fill(tempfile.gettempdir())
    for each in (
        says, crashes, exits, asks_for_too_much, fills_memory, forks, forks_away,
        kills_its_parent, floods, writes_binary, fills_the_disk,
        puts_a_folder_in_the_place_of_its_log, stops_its_parent,
    ):
        each()

handled()
"""


def environment(folder: Path, server: Server, program: tuple[str, ...] = ()) -> HandlerProcess:
    """One warm environment with the DAGs of this file, and some that are broken."""
    dags = folder / "dags"
    dags.mkdir(parents=True)
    (dags / "handled.py").write_text(DAGS)
    (dags / "broken.py").write_text("import no_such_module\n")
    (dags / "wrong.py").write_text("def f(:\n")
    (dags / "sleeps.py").write_text("import time\ntime.sleep(60)\n")
    (dags / "exits.py").write_text("import os\nos._exit(9)\n")
    variables = {"AIRFLOW__CORE__TASK_SUCCESS_OVERTIME": "1"}
    return HandlerProcess(folder, dags, server, variables, [*program, sys.executable])


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """One warm environment for all tests that leave one."""
    server = Server()
    process = environment(tmp_path_factory.mktemp("bad-input"), server)
    yield process
    process.close()
    server.close()


@pytest.fixture
def handler(warm: HandlerProcess) -> Iterator[HandlerProcess]:
    """The warm environment: after whatever a test did to it, it runs a task."""
    warm.server.run_context = {}
    yield warm
    warm.server.run_context = {}
    result, log = warm.run(task("says"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0), log
    assert "said by the task" in log


def sent(handler: HandlerProcess, event: object) -> Result:
    """Return the result of any event."""
    handler.server.results.clear()
    answer, _ = handler.invoke(event)
    assert "raised" not in answer, answer
    (result,) = handler.server.results
    return result


def event(workload_json: str, **changes: Any) -> dict[str, Any]:
    """Make an invocation with any workload."""
    invocation = Invocation.for_workload(InvocationId("id-1"), workload_json)
    return {**json.loads(invocation.encode()), **changes}


@pytest.mark.parametrize(
    "stranger", [None, 5, "x", [], {}, {"Records": [{"eventSource": "aws:s3"}]}, {"task_key": ""}]
)
def test_an_event_that_is_not_ours_raises(handler: HandlerProcess, stranger: object) -> None:
    """Without a queue to report to, the event becomes a dead letter."""
    answer, _ = handler.invoke(stranger)
    assert answer["raised"].startswith("DecodeError('not an invocation")


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
def test_a_truncated_workload_is_rejected(handler: HandlerProcess, kept: int) -> None:
    """Nothing is started; the reason quotes nothing of it, because it holds the token."""
    result = sent(handler, event(json.dumps(task("says"))[:kept]))
    assert result.outcome is Outcome.REJECTED
    assert "not a workload that Airflow" in result.reason
    assert "set image.airflow_version of the stage to its version and deploy" in result.reason
    assert TOKEN not in result.reason


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_an_unknown_wire_version_is_rejected(handler: HandlerProcess, version: object) -> None:
    """The reason says what to deploy."""
    result = sent(handler, event(json.dumps(task("says")), wire_version=version))
    assert result.outcome is Outcome.REJECTED
    assert "deploy the handler image and the executor from the same release" in result.reason


@pytest.mark.parametrize(
    ("file", "says"), [("broken.py", "no_such_module"), ("wrong.py", "SyntaxError")]
)
def test_a_dag_file_that_does_not_import_is_told_in_the_tasks_log(
    handler: HandlerProcess, file: str, says: str
) -> None:
    """Airflow retries the import a few times, and then fails the task."""
    result, log = handler.run(task("says", dag_rel_path=file))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert says in log
    assert handler.server.told_states() == ["up_for_reschedule"]


def test_a_dag_file_that_sleeps_on_import_meets_the_deadline(handler: HandlerProcess) -> None:
    """The deadline ends a slow import like a slow task."""
    result, log = handler.run(task("says", dag_rel_path="sleeps.py"), 4)
    assert result.outcome is Outcome.DEADLINE
    assert "before the end of the function's time-out" in log
    assert handler.server.told_states() == ["up_for_reschedule"]


@pytest.mark.parametrize(
    ("task_id", "file", "code", "says"),
    [
        ("crashes", "handled.py", -11, "SIGSEGV: a native library"),
        ("exits", "handled.py", 7, "exit code 7"),
        ("says", "exits.py", 9, "exit code 9"),
    ],
)
@pytest.mark.parametrize(
    ("should_retry", "state"), [(False, "failed"), (True, "up_for_retry")], ids=["last", "retry"]
)
def test_a_process_that_dies_is_reported_by_another(  # noqa: PLR0913, PLR0917 - a table
    handler: HandlerProcess,
    task_id: str,
    file: str,
    code: int,
    says: str,
    state: str,
    *,
    should_retry: bool,
) -> None:
    """The executor gets the cause, and Airflow a failed try."""
    handler.server.run_context = {"should_retry": should_retry}
    result, _ = handler.run(task(task_id, dag_rel_path=file))
    assert result.return_code == code
    assert says in result.reason
    assert handler.server.told_states() == [state]


def test_memory_that_cannot_be_had_fails_the_task(handler: HandlerProcess) -> None:
    """Python's `MemoryError` is a failure like any other."""
    result, log = handler.run(task("asks_for_too_much"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert "MemoryError" in log
    assert handler.server.told_states() == ["failed"]


@pytest.mark.parametrize("task_id", ["forks", "forks_away"])
def test_the_forks_of_a_task_are_gone_when_its_end_is_reported(
    handler: HandlerProcess, task_id: str
) -> None:
    """Whether they go on with the task, or leave its session and sleep.

    A fork that goes on shares the task's connection to Airflow's supervisor, and may take the
    task's answers. Then the supervisor ends the task after `[core] task_success_overtime`.
    """
    result, _ = handler.run(task(task_id))
    assert result.task_state == "success"
    assert children_of(handler.pid) == 1  # The zygote, and it has none:
    assert children_of(zygote_of(handler.pid)) == 0


def test_a_flood_of_output_costs_time_only(handler: HandlerProcess) -> None:
    """All output reaches the log, within the memory and the time-out."""
    before, _ = handler.run(task("says"))
    result, log = handler.run(task("floods"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert log.count("x") >= FLOOD_BYTES
    assert before.max_memory_mb is not None
    assert result.max_memory_mb is not None
    assert result.max_memory_mb < before.max_memory_mb + 60
    assert result.run_ms is not None
    assert result.run_ms < 60_000


def test_binary_output_is_shown_as_far_as_it_can(handler: HandlerProcess) -> None:
    """The log stays JSON in UTF-8, whatever bytes a task writes."""
    result, log = handler.run(task("writes_binary"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert all(json.loads(line) for line in log.splitlines())


def test_a_log_that_cannot_be_removed_costs_no_result(handler: HandlerProcess) -> None:
    """The task succeeds, and the log says that the file stays."""
    result, log = handler.run(task("puts_a_folder_in_the_place_of_its_log"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert "the task's log file cannot be removed" in log


@pytest.mark.parametrize("task_id", ["kills_its_parent", "stops_its_parent"])
def test_a_task_that_ends_what_watches_it_ends_the_environment(
    tmp_path: Path, task_id: str
) -> None:
    """The executor hears of it in time, and Lambda must start a new environment."""
    server = Server()
    process = environment(tmp_path, server)
    with pytest.raises(AssertionError):  # No answer: the process has ended.
        process.run(task(task_id), time_out_s=4)
    (result,) = server.results
    assert (result.outcome, result.return_code) == (Outcome.CRASHED, 1)
    assert "the execution environment is given up" in result.reason
    assert result.run_ms is not None
    assert result.run_ms < 4000
    process.close()
    server.close()


def test_an_environment_without_its_zygote_is_given_up(tmp_path: Path) -> None:
    """One workload is rejected before Airflow hears of it, and no second one is taken."""
    server = Server()
    process = environment(tmp_path, server)
    process.invoke(None)  # The init phase is over.
    os.kill(zygote_of(process.pid), signal.SIGKILL)
    with pytest.raises(AssertionError):  # No answer: the process has ended.
        process.run(task("says"))
    (result,) = server.results
    assert result.outcome is Outcome.REJECTED
    assert "the process that starts the workloads' processes died" in result.reason
    assert server.calls == []
    process.close()
    server.close()


def test_a_task_that_fills_the_disk_does_not_fill_it_for_the_next(tmp_path: Path) -> None:
    """The task fails with the system's error; the next one finds the disk as it was."""
    server = Server()
    process = environment(tmp_path, server, on_a_small_disk(tmp_path / "tmp"))
    result, log = process.run(task("fills_the_disk"))
    assert result.return_code != 0 or server.told_states() == ["failed"]
    assert "No space left on device" in log or "the function's disk filled up" in result.reason
    assert process.run(task("says"))[0].return_code == 0
    process.close()
    server.close()


def test_on_a_full_disk_nothing_is_started(tmp_path: Path) -> None:
    """The reason says how full the disk is and what to do; the environment takes nothing else."""
    server = Server()
    process = environment(tmp_path, server, on_a_small_disk(tmp_path / "tmp"))
    process.run(task("says"))
    disk = Path(f"/proc/{process.pid}/root{tmp_path / 'tmp'}")
    (kept,) = disk.glob("airflow-*/logs")  # Below AIRFLOW_HOME.
    with suppress(OSError), (kept / "large").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**12))
    with pytest.raises(AssertionError):  # No answer: the process has ended.
        process.run(task("says"))
    (result,) = server.results
    assert result.outcome is Outcome.REJECTED
    assert "the function's disk is full: " in result.reason
    assert server.calls == []
    process.close()
    server.close()


def children_of(pid: int) -> int:
    """Count the children of a process."""
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def zygote_of(pid: int) -> int:
    """The only child of a handler."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def test_a_task_that_runs_out_of_memory_is_the_one_that_is_killed(tmp_path: Path) -> None:
    """The kernel kills the task and not its watchers; the reason is certain."""
    group = memory_group()
    server = Server()
    try:
        process = environment(
            tmp_path, server, ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh")
        )
        result, _ = process.run(task("fills_memory"))
        assert (result.outcome, result.return_code) == (Outcome.CRASHED, -9)
        assert (
            "was killed by the kernel: it needed more than the function's memory" in result.reason
        )
        assert server.told_states() == ["failed"]
        assert result.max_memory_mb is not None
        assert 150 < result.max_memory_mb <= 500
        assert process.run(task("says"))[0].return_code == 0
        process.close()
    finally:
        server.close()
        group.rmdir()


def memory_group() -> Path:
    """A control group with 500 MiB, of either version."""
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / f"handler-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(500 * 2**20))
        except OSError:
            group.rmdir()
            continue
        return group
    pytest.skip("no control group with a memory limit can be made here")
