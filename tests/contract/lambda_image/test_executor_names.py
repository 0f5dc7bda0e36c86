"""DAG files that name executors of the scheduler, with each minor version of Airflow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lambda_executor.contract.wire import Outcome
from tests.support.handler_process import HandlerProcess, running, task
from tests.support.minors import python_of

#: Each task by its id, and the executor that it names.
EXECUTORS = {
    "by_alias": "lambda",
    "by_class": "LambdaExecutor",
    "by_path": "lambda_executor.LambdaExecutor",
    "by_default": None,
}

#: What the executor's policy would import to choose a task's target.
_ROUTING = ("lambda_executor.policy.", "lambda_executor.core", "lambda_executor.setup")

DAGS = f"""
import sys
from datetime import timedelta
from airflow.sdk import DAG
from airflow.providers.standard.operators.python import PythonOperator

with DAG("handled", schedule=None):
    for task_id, executor in {EXECUTORS}.items():
        PythonOperator(task_id=task_id, executor=executor, python_callable=lambda: print("it runs"))
    PythonOperator(task_id="elsewhere", executor="CeleryExecutor", python_callable=print)
    PythonOperator.partial(task_id="mapped", executor="kubernetes", python_callable=print).expand(
        op_args=[[1], [2]]
    )
    PythonOperator(
        task_id="with_a_need",
        execution_timeout=timedelta(hours=1),
        executor_config={{"lambda_executor": {{"memory_mb": 4096}}}},
        python_callable=lambda: print(
            "lambda_executor.policy" in sys.modules,
            [name for name in sys.modules if name.startswith({_ROUTING})],
        ),
    )
"""


@pytest.fixture(scope="module")
def handler(minor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandlerProcess]:
    """A warm environment with each minor version, without any executor in its configuration."""
    folder = tmp_path_factory.mktemp("handler")
    (folder / "dags").mkdir()
    models = DAGS.replace("airflow.sdk", "airflow.models.dag")
    (folder / "dags" / "models.py").write_text(models)
    with running(folder, DAGS, program=[python_of(minor)]) as process:
        yield process


@pytest.mark.parametrize("task_id", EXECUTORS)
def test_a_task_that_names_its_executor_runs(handler: HandlerProcess, task_id: str) -> None:
    """No executor of the function has that name, nor those that the other tasks name."""
    result, log = handler.run(task(task_id))
    assert (result.reason, result.outcome, result.return_code) == ("", Outcome.COMPLETED, 0)
    assert "it runs" in log
    assert handler.server.told_states() == ["success"]


def test_a_dag_of_the_models_may_name_executors_too(handler: HandlerProcess) -> None:
    """The DAG of `airflow.models` of Airflow 3.0 validates executors by itself."""
    result, log = handler.run(task("by_alias", dag_rel_path="models.py"))
    assert (result.reason, result.outcome, result.return_code) == ("", Outcome.COMPLETED, 0)
    assert "it runs" in log


def test_the_validation_is_where_it_is_expected(handler: HandlerProcess) -> None:
    """No init phase has to warn that it found nothing to replace."""
    assert "validates the executors of tasks elsewhere" not in handler.output.read_text()


def test_a_function_chooses_no_target_for_tasks(handler: HandlerProcess) -> None:
    """The executor's policy is loaded, and leaves alone what the DAG processor has routed."""
    result, log = handler.run(task("with_a_need"))
    assert (result.reason, result.outcome, result.return_code) == ("", Outcome.COMPLETED, 0)
    assert "True []" in log
