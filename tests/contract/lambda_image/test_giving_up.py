"""An execution environment that cannot run the next workload ends before it takes one.

It would fail at once, so it would always be the free one and fail one healthy task after the other.
The handler runs as in Lambda: its temporary folder is a small file system, its process is replaced
when it ends, and it has no capabilities, so what a task takes away from it cannot be given back.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from lambda_executor.contract.wire import Invocation, InvocationId, Outcome, Result
from lambda_image.machine.temporary import OWNER
from tests.support.dag_bucket import Bucket
from tests.support.handler_process import AS_LAMBDA, HandlerProcess, Server, task
from tests.support.local_aws import Server as LocalAws
from tests.support.machine import on_a_small_disk, without_capabilities

#: Environments, and healthy tasks that they take whenever they are free.
ENVIRONMENTS = 3
TASKS = 12

DAGS = f"""
import os, resource, shutil, signal, tempfile
from pathlib import Path
from airflow.sdk import dag, task

MARK = Path(tempfile.gettempdir(), {OWNER!r})
HOME = Path(os.environ["AIRFLOW_HOME"])

def parent_of(pid):
    return int(Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[1])

def zygote():
    return os.getppid()

def handler():
    return parent_of(zygote())

def fill(file):
    with file.open("wb") as opened:
        try:
            while True:
                opened.write(bytes(2**12))
        except OSError:
            print("filled")

def leave_2_mib():
    with (HOME / "large").open("wb") as opened:
        while shutil.disk_usage(HOME).free > 2 * 2**20:
            opened.write(bytes(2**12))
            opened.flush()

def fill_with_files(folder):
    try:
        for number in range(1_000_000):
            (folder / str(number)).touch()
    except OSError:
        print("filled")

def lower(pid, limit, value):
    resource.prlimit(pid, limit, value)

def lower_the_soft_limits():
    for pid in (handler(), zygote()):
        lower(pid, resource.RLIMIT_NOFILE, (40, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))

def remove_all():
    for path in Path(tempfile.gettempdir()).iterdir():
        shutil.rmtree(path, ignore_errors=True)

def remove_home():
    home = Path.home()
    assert home.parent == MARK.parent, "never the home of who runs the tests"
    shutil.rmtree(home)

DEEDS = dict(
    fills_what_is_kept=lambda: fill(HOME / "large"),
    leaves_little=leave_2_mib,
    makes_many_files=lambda: fill_with_files(HOME),
    fills_the_mark=lambda: fill(MARK),
    lowers_the_handlers_files=lambda: lower(handler(), resource.RLIMIT_NOFILE, (16, 16)),
    lowers_the_zygotes_processes=lambda: lower(zygote(), resource.RLIMIT_NPROC, (0, 0)),
    lowers_the_soft_limits=lower_the_soft_limits,
    renices_the_handler=lambda: os.setpriority(os.PRIO_PROCESS, handler(), 19),
    renices_the_zygote=lambda: os.setpriority(os.PRIO_PROCESS, zygote(), 19),
    pins_the_zygote=lambda: os.sched_setaffinity(zygote(), {{max(os.sched_getaffinity(0))}}),
    removes_everything=remove_all,
    removes_its_home=remove_home,
)
MARKS = dict(
    fifo=lambda: os.mkfifo(MARK),
    name_of_a_living_process=lambda: MARK.write_text("1"),
    nothing=lambda: None,
)

def replace_the_mark_and_end_the_handler(make):
    MARK.unlink()
    make()
    Path(tempfile.gettempdir(), "left").touch()
    os.kill(handler(), signal.SIGKILL)

@dag(schedule=None)
def handled():
    @task
    def says():
        seen = resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.getpriority(os.PRIO_PROCESS, 0)
        others = [os.getpriority(os.PRIO_PROCESS, pid) for pid in (zygote(), handler())]
        print("seen", seen, sorted(os.sched_getaffinity(0)), "niceness of the others", others,
            "left", Path(MARK.parent, "left").exists())
    says()
    for name, deed in DEEDS.items():
        @task(task_id=name)
        def does(deed=deed):
            deed()
        does()
    for name, make in MARKS.items():
        @task(task_id="mark_" + name)
        def replaces(make=make):
            replace_the_mark_and_end_the_handler(make)
        replaces()

handled()
"""

DEEDS = (
    *("fills_what_is_kept", "makes_many_files", "fills_the_mark"),
    *("lowers_the_handlers_files", "lowers_the_zygotes_processes", "lowers_the_soft_limits"),
    *("renices_the_handler", "renices_the_zygote", "pins_the_zygote"),
    *("removes_everything", "removes_its_home"),
)
MARKS = ("fifo", "name_of_a_living_process", "nothing")


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the DAG file."""
    folder = tmp_path_factory.mktemp("dags")
    (folder / "handled.py").write_text(DAGS)
    return folder


def environment(folder: Path, dags: Path, **variables: str) -> HandlerProcess:
    """One execution environment as in Lambda."""
    program = [*on_a_small_disk(folder / "tmp"), *without_capabilities(), *AS_LAMBDA]
    in_lambda = {"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"} | variables
    return HandlerProcess(folder, dags, Server(), in_lambda, [*program, sys.executable])


def close(process: HandlerProcess) -> None:
    """End an environment and its world."""
    process.close()
    process.server.close()


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory, dags: Path) -> Iterator[HandlerProcess]:
    """One environment for all tests: whatever was done to it, it must go on."""
    process = environment(tmp_path_factory.mktemp("environment"), dags)
    yield process
    close(process)


def seen(process: HandlerProcess) -> str:
    """What a healthy task sees; it must succeed."""
    result, log = process.run(task("says"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0), log
    (line,) = [line for line in log.splitlines() if '"seen ' in line]
    return str(json.loads(line)["event"])


@pytest.mark.parametrize("deed", DEEDS)
def test_what_one_task_does_to_its_environment_the_next_does_not_meet(
    warm: HandlerProcess, deed: str
) -> None:
    """A healthy task runs in the same environment right after it, with the limits of the first.

    What the offender did is reported: by its own result, or by a dead letter if the handler cannot
    send one any more.
    """
    before = seen(warm)
    warm.invoke(event(deed))
    assert seen(warm) == before


@pytest.mark.parametrize("mark", MARKS)
def test_whatever_is_in_the_place_of_the_mark_the_next_process_starts_clean(
    warm: HandlerProcess, mark: str
) -> None:
    """It starts, waits for nothing and removes what the task left, as after any other end."""
    before, ends = seen(warm), warm.ends
    warm.invoke(event(f"mark_{mark}"))
    assert warm.ends == ends + 1
    assert seen(warm) == before


def test_what_is_restored_costs_no_cold_start(warm: HandlerProcess) -> None:
    """Soft limits can be raised again, so the process goes on."""
    seen(warm)
    ends = warm.ends
    warm.run(task("lowers_the_soft_limits"))
    seen(warm)
    assert warm.ends == ends


def test_a_reason_is_logged_when_an_environment_is_given_up(warm: HandlerProcess) -> None:
    """The function's log names what changed."""
    _, log = warm.run(task("renices_the_zygote"))
    (line,) = [line for line in map(json.loads, log.splitlines()) if "given up" in line["event"]]
    assert line["reason"] == (
        "a workload changed the niceness of the zygote from 0 to 19, and nothing may change it back"
    )


def test_a_workload_that_only_this_environment_cannot_start_is_the_last_one(
    warm: HandlerProcess,
) -> None:
    """Its reason names the cause, Airflow is not notified, and the next process runs tasks."""
    seen(warm)
    (handler,) = map(int, Path(f"/proc/{warm.pid}/task/{warm.pid}/children").read_text().split())
    opened = len(list(Path(f"/proc/{handler}/fd").iterdir()))
    resource.prlimit(handler, resource.RLIMIT_NOFILE, (opened + 4, opened + 4))
    ends = warm.ends
    result, _ = warm.run(task("says"))
    assert result.outcome is Outcome.REJECTED
    assert "nothing was started: OSError: [Errno 24] Too many open files" in result.reason
    assert "the execution environment is given up" in result.reason
    assert warm.server.calls == []
    assert warm.ends == ends + 1
    seen(warm)


def test_dag_files_for_which_tasks_left_no_room_end_the_environment(
    tmp_path: Path, local_aws: LocalAws
) -> None:
    """The reason has the remedy, and in the next process the DAG files fit.

    If they fit into no environment, the process stays: the next one would reject its tasks too.
    """
    bucket, reach = Bucket(local_aws), {"AWS_ENDPOINT_URL_S3": local_aws.url}
    bucket.push({"handled.py": DAGS})
    process = environment(tmp_path, tmp_path / "none", **reach, **bucket.variables)
    seen(process)
    process.invoke(event("leaves_little"))
    assert process.ends == 0
    bucket.push({"handled.py": DAGS, "data.bin": "x" * 3 * 2**20})
    result, _ = process.run(task("says"))
    assert result.outcome is Outcome.REJECTED
    assert "give it more (a function: more ephemeral storage), or push less" in result.reason
    assert "the execution environment is given up" in result.reason
    assert process.ends == 1
    seen(process)
    bucket.push({"handled.py": DAGS, "data.bin": "x" * 9 * 2**20})
    result, _ = process.run(task("says"))
    assert result.outcome is Outcome.REJECTED
    assert "give it more (a function: more ephemeral storage), or push less" in result.reason
    assert "given up" not in result.reason
    assert process.ends == 1
    close(process)


def test_a_bad_environment_among_good_ones_fails_at_most_one_healthy_task(
    tmp_path: Path, dags: Path
) -> None:
    """Each environment takes the next event as soon as it is free, as Lambda hands them out."""
    fleet = [environment(tmp_path / str(number), dags) for number in range(ENVIRONMENTS)]
    for process in fleet:
        seen(process)
    fleet[0].invoke(event("fills_what_is_kept"))
    waiting: SimpleQueue[str] = SimpleQueue()
    for _ in range(TASKS):
        waiting.put("says")

    def work(process: HandlerProcess) -> list[Result]:
        done = []
        with suppress(Empty):
            while True:
                done.append(process.run(task(waiting.get_nowait()))[0])
        return done

    with ThreadPoolExecutor(ENVIRONMENTS) as threads:
        results = [result for done in threads.map(work, fleet) for result in done]
    for process in fleet:
        close(process)
    assert len(results) == TASKS
    failed = [r.reason for r in results if (r.outcome, r.return_code) != (Outcome.COMPLETED, 0)]
    assert len(failed) <= 1, failed


def event(task_id: str) -> object:
    """The event of a task."""
    invocation = Invocation.for_workload(InvocationId("id-1"), json.dumps(task(task_id)))
    return json.loads(invocation.encode())
