"""The task policy with each minor version of Airflow, installed as an entry point."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.distribution import airflow_variables, installed
from tests.support.minors import VENVS, python_of

OFFERS = {
    "default": {"timeout_s": 900, "memory_mb": 1769, "cpu": 1, "disk_gb": 0.5},
    "large": {"timeout_s": 900, "memory_mb": 10240, "cpu": 6, "disk_gb": 10},
    "long": {"memory_mb": 8192, "cpu": 2, "disk_gb": 20},
    "gpu": {"memory_mb": 65536, "cpu": 8, "gpu": 1, "disk_gb": 100},
}

#: Reads DAG files as the DAG processor does, and prints what the scheduler gets of them.
_READ = """
import json, sys
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
try:
    from airflow.serialization.serialized_objects import DagSerialization as Serialized
except ImportError:
    from airflow.serialization.serialized_objects import SerializedDAG as Serialized

bag = DagBag(sys.argv[1])
stored = [json.dumps(Serialized.to_dict(dag)) for dag in bag.dags.values()]
tasks = {}
for dag in [Serialized.from_dict(json.loads(each)) for each in stored]:
    for task in dag.tasks:
        ours = (task.executor_config or {}).get("lambda_executor", {})
        tasks[task.task_id] = [task.queue, ours.get("routed", "")]
slow = {"boto3", "botocore", "airflow.executors.executor_loader"} & set(sys.modules)
ours = {name for name in sys.modules if name.startswith("lambda_executor.policy")}
print(json.dumps({"tasks": tasks, "errors": bag.import_errors, "imported": sorted(slow | ours)}))
"""

_HEAD = """
from datetime import timedelta
from airflow.sdk import DAG, task, task_group
from airflow.providers.standard.operators.bash import BashOperator

hour = timedelta(hours=1)


def needs(**settings):
    return {{"lambda_executor": settings}}


with DAG("{dag_id}", schedule=None):
"""


@dataclass(frozen=True)
class Read:
    """What became of DAG files: queue and reason of each task, and the files' errors."""

    tasks: Mapping[str, tuple[str, str]]
    errors: Mapping[str, str]
    imported: Sequence[str]
    said: str

    @property
    def queues(self) -> Mapping[str, set[str]]:
        """The tasks of each queue."""
        found: dict[str, set[str]] = {}
        for name, (queue, _) in self.tasks.items():
            found.setdefault(queue, set()).add(name)
        return found


def read(
    python: Path, home: Path, *, offers: Any = OFFERS, dags: Mapping[str, str], **variables: str
) -> Read:
    """What the scheduler gets of DAG files with these tasks, by the files' names."""
    folder = home / "dags"
    folder.mkdir()
    for name, tasks in dags.items():
        lines = "".join(f"    {line}\n" for line in tasks.strip().splitlines())
        (folder / f"{name}.py").write_text(_HEAD.format(dag_id=name) + lines)
    environment = {
        **airflow_variables(home, installed(home / "site")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LAMBDA_EXECUTOR__OFFERS": json.dumps(offers) if offers else "",
        **variables,
    }
    done = subprocess.run(
        [python, "-c", _READ, str(folder)],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    errors = {Path(file).stem: message for file, message in found["errors"].items()}
    return Read(found["tasks"], errors, found["imported"], done.stderr + done.stdout)


@pytest.fixture(params=VENVS)
def python(request: pytest.FixtureRequest) -> Path:
    """An interpreter with each minor version."""
    return python_of(request.param)


#: What a user's own policy does.
_LOCAL_SETTINGS = """
def task_policy(task):
    if task.task_id == "of_own_policy":
        task.queue = "gpu"
"""

_TASKS = """
BashOperator(task_id="needs_nothing", bash_command="true")
BashOperator(task_id="short", bash_command="true", execution_timeout=timedelta(minutes=10))
BashOperator(task_id="too_long", bash_command="true", execution_timeout=hour)
BashOperator(task_id="large", bash_command="true", executor_config=needs(memory_mb=4096))
BashOperator(task_id="gpu", bash_command="true", executor_config=needs(gpu=1))
BashOperator(task_id="chosen", bash_command="true", queue="gpu", execution_timeout=hour)
BashOperator(
    task_id="overridden_job", bash_command="", queue="long", execution_timeout=hour,
    executor_config={"batch": {"jobDefinition": "own"}},
)
BashOperator(task_id="unknown", bash_command="true", queue="x", execution_timeout=hour)
BashOperator(task_id="of_own_policy", bash_command="true", execution_timeout=hour)
BashOperator.partial(
    task_id="mapped", bash_command="true", execution_timeout=hour, executor_config=needs(cpu=2)
).expand(env=[{}, {}])

@task(execution_timeout=timedelta(seconds=900))
def decorated(): ...
decorated()
decorated.override(task_id="overridden", execution_timeout=None)()

@task_group
def group():
    decorated()
group()
"""

#: Arguments of an operator, and a part of the error that they cause.
_REFUSED = {
    "nothing_offers_it": (
        "executor_config=needs(memory_mb=200_000)",
        "task 't': it needs memory_mb 200000. No target offers that. Offered: default (880 s",
    ),
    "the_chosen_queue_does_not": (
        "queue='large', execution_timeout=hour",
        "offers less: large (880 s, 10240 MB, 6 vCPU, 10 GB of disk). Remove its queue, or set it",
    ),
    "the_chosen_target_does_not": (
        "executor_config=needs(target='default', cpu=2)",
        "the target of its queue offers less: default (880 s",
    ),
    "unknown": ("executor_config=needs(ram=1)", "has 'ram'; allowed are target, function, memory"),
    "half_a_gpu": ("executor_config=needs(gpu=0.5)", "is 0.5; write a whole number above 0"),
    "overrides_of_a_service": (
        "execution_timeout=hour, executor_config={'batch': {'jobDefinition': 'own'}}",
        "has overrides for AWS Batch in executor_config",
    ),
    "overrides_beside_on_deadline": (
        "retries=1, executor_config={**needs(on_deadline='next_target'), 'ecs': {}}",
        "and overrides for Amazon ECS beside it",
    ),
    "no_retry": ("executor_config=needs(on_deadline='next_target')", "no retry: set retries"),
}


def test_a_task_goes_to_the_smallest_target_that_fits(python: Path, tmp_path: Path) -> None:
    """The scheduler sees the queue and the reason; what fits nowhere is an import error.

    The reason is there for mapped and decorated tasks too. A user's own policy comes first, and the
    queue that it sets is a choice that ours keeps.
    """
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "airflow_local_settings.py").write_text(_LOCAL_SETTINGS)
    refused = {
        name: f"BashOperator(task_id='t', bash_command='', {arguments})"
        for name, (arguments, _) in _REFUSED.items()
    }
    found = read(python, tmp_path, dags={"routed": _TASKS, **refused})
    assert found.queues == {
        "default": {"needs_nothing", "short", "overridden"},
        "large": {"large"},
        "long": {"too_long", "mapped", "decorated", "group.decorated", "overridden_job"},
        "gpu": {"gpu", "chosen", "of_own_policy"},
        "x": {"unknown"},
    }
    routed = {name for name, (_, reason) in found.tasks.items() if reason}
    assert routed == {"too_long", "large", "gpu", "mapped", "decorated", "group.decorated"}
    assert found.tasks["too_long"][1] == (
        "sent to the queue long (no time limit, 8192 MB, 2 vCPU, 20 GB of disk), because the task "
        "needs execution_timeout 3600 s, and default (880 s, 1769 MB, 1 vCPU, 0.5 GB of disk) "
        "offers less"
    )
    assert set(found.errors) == set(_REFUSED)
    for name, (_, error) in _REFUSED.items():
        assert error in found.errors[name]


def test_other_executors_tasks_are_left_alone(python: Path, tmp_path: Path) -> None:
    """Only what goes to ours is routed: by default, or by one of its names."""
    tasks = """
BashOperator(task_id="default", bash_command="", execution_timeout=hour)
BashOperator(task_id="alias", bash_command="", execution_timeout=hour, executor="ours")
BashOperator(task_id="other", bash_command="", execution_timeout=hour, executor="LocalExecutor")
BashOperator(task_id="not_ours", bash_command="", executor_config=needs(anything="goes"))
"""
    executors = "LocalExecutor,ours:lambda_executor.LambdaExecutor"
    found = read(python, tmp_path, dags={"a": tasks}, AIRFLOW__CORE__EXECUTOR=executors)
    assert found.errors == {}
    assert found.queues == {"default": {"default", "other", "not_ours"}, "long": {"alias"}}


_NEEDS_A_GPU = "BashOperator(task_id='gpu', bash_command='', executor_config=needs(gpu=1))"
_CHOSEN = (
    "BashOperator(task_id='chosen', bash_command='', queue='gpu', executor_config=needs(gpu=1))"
)
_TOO_LONG = "BashOperator(task_id='t', bash_command='', execution_timeout=hour)"


def test_without_our_executor_nothing_is_imported(tmp_path: Path) -> None:
    """An environment in which the package is only installed pays nothing for it."""
    found = read(
        Path(sys.executable),
        tmp_path,
        dags={"a": _TOO_LONG},
        AIRFLOW__CORE__EXECUTOR="LocalExecutor",
    )
    assert found.queues == {"default": {"t"}}
    assert "boto3" not in found.imported
    assert [name for name in found.imported if "policy" in name] == ["lambda_executor.policy"]


def test_offers_that_cannot_be_read_leave_tasks_where_they_are(tmp_path: Path) -> None:
    """To read DAG files needs no AWS. One read is tried, and one warning says what happened.

    A task that says what it needs, and chooses no target, would fail on that of the default queue.
    """
    found = read(
        Path(sys.executable),
        tmp_path,
        offers=None,
        dags={"a": _TOO_LONG, "b": _TOO_LONG, "chosen": _CHOSEN, "needs_a_gpu": _NEEDS_A_GPU},
        AIRFLOW__LAMBDA_EXECUTOR__CONFIG_PARAMETER="/no/such",
        AIRFLOW__LAMBDA_EXECUTOR__REGION_NAME="eu-west-1",
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="x",
        AWS_SECRET_ACCESS_KEY="x",
        TMPDIR=str(tmp_path),
    )
    assert set(found.errors) == {"needs_a_gpu"}
    assert "what the targets offer is not known here: set" in found.errors["needs_a_gpu"]
    assert found.queues == {"default": {"t"}, "gpu": {"chosen"}}
    assert found.said.count("The offers of the targets cannot be read; tasks stay") == 1


@pytest.mark.parametrize(
    ("variables", "is_slow"),
    [
        ({"AIRFLOW__LAMBDA_EXECUTOR__OFFERS": json.dumps(OFFERS)}, True),
        ({"AIRFLOW__LAMBDA_EXECUTOR__CONFIG_PARAMETER": "/p"}, True),
        ({"AIRFLOW__CORE__EXECUTOR": "LocalExecutor;a=lambda_executor.LambdaExecutor"}, True),
        ({}, False),
        (
            {
                "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
                "AIRFLOW__LAMBDA_EXECUTOR__CONFIG_PARAMETER": "/p",
            },
            False,
        ),
    ],
)
def test_only_where_retries_may_move_task_instances_are_created_one_by_one(
    tmp_path: Path, variables: Mapping[str, str], *, is_slow: bool
) -> None:
    """Since 3.4 a retry needs a hook to keep its queue, with which Airflow inserts no batches."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "airflow_local_settings.py").write_text(_LOCAL_SETTINGS)
    code = "from airflow import settings; print(settings.task_instance_mutation_hook.is_noop)"
    environment = {**airflow_variables(tmp_path, installed(tmp_path / "site")), **variables}
    done = subprocess.run(
        [python_of("3.4"), "-c", f"import airflow; {code}"],
        env={**environment, "PYTHONPATH": f"{tmp_path / 'config'}:{environment['PYTHONPATH']}"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.split()[-1] == str(not is_slow)
