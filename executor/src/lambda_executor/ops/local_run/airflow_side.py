"""A program: an Airflow with a database of its own, which holds one run of one DAG.

`python -m lambda_executor.ops.local_run.airflow_side ANSWERS FOLDER`, with a descriptor to write
to, the folder of the run, and `[database] sql_alchemy_conn` set to a new file there. It reads a
`Request` as JSON from stdin, and writes a line of JSON: an `Answer`, or the `error`. Then it serves
the Execution API on 127.0.0.1, and answers each line of stdin with the state of the task. At the
end of stdin it removes the folder: the command was killed.

Only public commands of Airflow make the database and the run, because these are the same in all of
its versions.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from airflow.cli.cli_parser import get_parser
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads import ExecuteTask
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from sqlalchemy import select

from lambda_executor.contract.errors import LambdaExecutorError, LocalRunError
from lambda_executor.ops.local_run import execution_api, xcoms
from lambda_executor.ops.local_run.instances import instance
from lambda_executor.ops.local_run.real_database import RealDatabase, RealRun, copy_settings

#: Most DAG files with errors that are named.
_NAMED = 3
#: How long to try to remove a folder, in seconds.
_REMOVES_WITHIN_S = 10


@dataclass(frozen=True, slots=True)
class Request:
    """Which task is to run.

    Attributes:
        dag: The id of the DAG.
        task: The id of the task.
        run_id: The id of the run that is made.
        map_index: Which of a mapped task's instances; -1: it is not mapped.
        logical_date: The logical date, in ISO 8601; None: of `real_run`, or now.
        conf: The configuration of the run, as JSON; None: of `real_run`, or none.
        xcoms: What upstream tasks returned, by their ids.
        real_database: The URL of the database with connections, variables and runs; None: do not
            read it.
        real_connect_args: Where the arguments for its driver can be imported from; None: none.
        real_run: The run of it whose conf, dates and XComs this one gets; None: none.
    """

    dag: str
    task: str
    run_id: str
    map_index: int = -1
    logical_date: str | None = None
    conf: str | None = None
    xcoms: Mapping[str, Any] = field(default_factory=dict)
    real_database: str | None = None
    real_connect_args: str | None = None
    real_run: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the image's process needs.

    Attributes:
        url: The Execution API's URL.
        workload: The workload, as JSON.
        queue: The task's queue.
        executor_config: The part of the task's that the executor reads.
        folders: The folders of the DAG bundle.
        notes: What a person should know about the run.
    """

    url: str
    workload: str
    queue: str
    executor_config: Mapping[str, Any]
    folders: tuple[str, ...]
    notes: tuple[str, ...] = ()


def main(answers: int, folder: str) -> None:
    """Make the run, serve, and tell the task's state whenever a line of stdin asks for it.

    The command kills this process. The end of stdin means that the command itself is gone.

    Args:
        answers: The descriptor to write to.
        folder: The folder of the run, which is removed if the command is gone.
    """
    logging.captureWarnings(capture=True)
    try:
        ti_id = _prepare(Request(**json.loads(sys.stdin.readline())), answers)
        for _ in sys.stdin:
            _tell(answers, state=_state(ti_id))
    except LambdaExecutorError as e:
        _tell(answers, error=str(e))
    except BaseException:  # noqa: BLE001 - the command shows it, and the folder must be removed
        traceback.print_exc()
    os.close(answers)
    sys.stdin.read()
    _remove(Path(folder))
    os._exit(0)  # The server's threads have nothing to lose.


def _tell(answers: int, **answer: Any) -> None:  # noqa: ANN401 - what is JSON
    with suppress(BrokenPipeError):  # The command is gone.
        os.write(answers, f"{json.dumps(answer)}\n".encode())


def _remove(folder: Path) -> None:
    """Remove a folder to which processes that are ending may still write."""
    until_s = time.monotonic() + _REMOVES_WITHIN_S
    while folder.exists() and time.monotonic() < until_s:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


def _state(ti_id: Any) -> str | None:  # noqa: ANN401 - the id of a task instance
    with create_session() as session:
        found = session.scalar(select(TaskInstance.state).where(TaskInstance.id == ti_id))
    return None if found is None else str(found)


def _prepare(request: Request, answers: int) -> Any:  # noqa: ANN401 - the id of a task instance
    """Make the run and tell what the image's process needs; returns the id of the instance."""
    _airflow("db", "migrate")
    real = _real_database(request)
    notes = tuple(copy_settings(real)) if real else ()
    _airflow("dags", "reserialize")
    _require(request)
    known = real.run(request.dag, request.real_run) if real and request.real_run else RealRun()
    conf = request.conf or known.conf
    date = request.logical_date
    _airflow(
        *("dags", "trigger", request.dag, "--run-id", request.run_id),
        *(("--conf", conf) if conf else ()),
        *(("--logical-date", date) if date else ()),
    )
    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.run_id == request.run_id))
        if run is None:
            raise LocalRunError(f"Airflow made no run of the DAG {request.dag!r}")
        run.state = DagRunState.RUNNING
        if date is None:
            known.copy_dates(run)
        known.copy_xcoms(run, session)
        for task, value in request.xcoms.items():
            xcoms.store(run, task, value, session)
        ti = instance(run, request.task, request.map_index, session)
        ti.state, ti.try_number = TaskInstanceState.QUEUED, max(ti.try_number or 0, 1)
        session.flush()
        workload = ExecuteTask.make(ti, generator=BaseExecutor().jwt_generator)
        manager = DagBundlesManager()  # type: ignore[no-untyped-call]
        bundle = manager.get_bundle(ti.dag_model.bundle_name)
        answer = Answer(
            execution_api.serve(),
            workload.model_dump_json(),
            str(ti.queue),
            _jsonable(ti.executor_config),
            (str(bundle.path),),
            (*notes, *known.notes),
        )
        ti_id = ti.id
    _tell(answers, **asdict(answer))
    return ti_id


def _real_database(request: Request) -> RealDatabase | None:
    if request.real_database is None:
        return None
    return RealDatabase(request.real_database, request.real_connect_args)


def _airflow(*words: str) -> None:
    """Run a command of Airflow in this process.

    Raises:
        LocalRunError: It fails.
    """
    args = get_parser().parse_args(words)
    try:
        args.func(args)
    except (Exception, SystemExit) as e:
        raise LocalRunError(
            f"`airflow {' '.join(words[:2])}` failed: {type(e).__name__}: {e}"
        ) from e


def _require(request: Request) -> None:
    """Require that there is this DAG with this task.

    Raises:
        LocalRunError: There is not.
    """
    with create_session() as session:
        known = sorted(session.scalars(select(DagModel.dag_id)))
    if request.dag not in known:
        broken = "".join(f". The file {error}" for error in _import_errors()[:_NAMED])
        names = ", ".join(known) or "none"
        raise LocalRunError(f"there is no DAG {request.dag!r}; the DAGs are {names}{broken}")


def _import_errors() -> list[str]:
    """The DAG files that cannot be imported, each with the last line of its error."""
    found: list[str] = []
    manager = DagBundlesManager()  # type: ignore[no-untyped-call]
    for bundle in manager.get_all_dag_bundles():
        bundle.initialize()
        errors = _dag_bag()(bundle.path).import_errors
        found += [f"{file}: {text.strip().splitlines()[-1]}" for file, text in errors.items()]
    return found


def _dag_bag() -> Any:  # noqa: ANN401 - a class of Airflow's
    try:
        module = importlib.import_module("airflow.dag_processing.dagbag")  # since Airflow 3.2
    except ImportError:
        module = importlib.import_module("airflow.models.dagbag")
    return module.DagBag


def _jsonable(value: Any) -> dict[str, Any]:  # noqa: ANN401 - what a DAG file gave
    """The part of `executor_config` that the executor reads."""
    own = (value or {}).get("lambda_executor")
    try:
        json.dumps(own)
    except (TypeError, ValueError):
        own = None
    return {"lambda_executor": own} if own else {}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
