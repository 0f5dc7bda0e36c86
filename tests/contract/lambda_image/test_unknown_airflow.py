"""An Airflow without the private parts: tasks run as in stock Airflow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lambda_executor.contract.wire import Outcome
from tests.support.handler_process import ROOT, HandlerProcess, running, task

SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

DAGS = """
from airflow.sdk import dag, task

@dag(schedule=None)
def handled():
    @task
    def works():
        print("it works")
    @task
    def prints():
        import os
        print(dict(os.environ))
    @task
    def fails():
        import os
        os._exit(3)
    @task
    def loops():
        while True:
            pass
    works(), prints(), fails(), loops()

handled()
"""

#: Python runs it at its start: one of the functions that we use takes other parameters then.
MOVE = """
import importlib.abc, importlib.util, sys

class Moved(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "airflow.sdk.execution_time.supervisor":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def execute_and_move(module):
            execute(module)
            stock = module._fork_main
            module._fork_main = lambda *arguments: stock(*arguments)
        spec.loader.exec_module = execute_and_move
        return spec

sys.meta_path.insert(0, Moved())
"""


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """An environment with such an Airflow."""
    folder = tmp_path_factory.mktemp("unknown")
    moved = folder / "moved"
    moved.mkdir()
    (moved / "sitecustomize.py").write_text(MOVE)
    variables = {
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "PYTHONPATH": f"{moved}:{ROOT}:{ROOT / 'executor/src'}",
    }
    with running(folder, DAGS, variables) as process:
        yield process


def test_tasks_run_and_the_log_tells_what_is_missing(handler: HandlerProcess) -> None:
    """The task succeeds, and one line of the init phase names the missing parts."""
    result, log = handler.run(task("works"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 0)
    assert handler.server.told_states() == ["success"] or '"success"' in log
    assert "it works" in log
    told = handler.output.read_text()
    assert told.count("this Airflow's supervisor is not one that the image knows") == 1
    assert "_fork_main" in told


def test_neither_log_holds_the_functions_credentials(handler: HandlerProcess) -> None:
    """The part that masks them is there, and used."""
    workload = task("prints")
    _, log = handler.run(workload)
    own = (handler.output.parent / "logs" / workload["log_path"]).read_text()
    for each in (log, own):
        assert "'AWS_SECRET_ACCESS_KEY': '***'" in each
        assert SECRET_KEY not in each


def test_a_failed_process_is_told(handler: HandlerProcess) -> None:
    """The result has the exit code of the task's process."""
    result, _ = handler.run(task("fails"))
    assert (result.outcome, result.return_code) == (Outcome.COMPLETED, 3)


def test_no_task_outlives_the_time_out(handler: HandlerProcess) -> None:
    """A task is killed before the time-out with that reason; the next task runs."""
    result, _ = handler.run(task("loops"), time_out_s=4)
    assert result.outcome is Outcome.DEADLINE
    assert "before the end of the function's time-out" in result.reason
    result, _ = handler.run(task("works"))
    assert result.outcome is Outcome.COMPLETED
