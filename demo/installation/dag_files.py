"""The demo's DAGs: where their files come from, and how each is expected to end."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo import paths

#: Airflow's example DAGs: the distribution and the folder in it.
_CORE = ("apache-airflow-core", "airflow/example_dags")
_STANDARD = ("apache-airflow-providers-standard", "airflow/providers/standard/example_dags")
#: Our own for the demo's targets; `dags/` is also in the default image of every stage.
_DEMO = paths.ROOT / "demo" / "dags"


@dataclass(frozen=True, slots=True)
class DagFile:
    """One file of the DAG folder.

    Attributes:
        origin: The folder to copy it from, perhaps in a distribution; None: our own `dags/`.
        tries: The number of tries by task id, if more than one.
        deferred: Tasks that leave their target while they wait.
        waits_s: How long these wait from the beginning of their run on, so that one that begins
            late does not leave; None: they leave whenever they begin.
        stopped: Tasks whose tries are stopped by their target, but for the last one.
    """

    name: str
    dag_ids: tuple[str, ...]
    origin: tuple[str, str] | Path | None = None
    ends: str = "success"
    tries: Mapping[str, int] = field(default_factory=dict)
    deferred: frozenset[str] = frozenset()
    waits_s: float | None = None
    stopped: frozenset[str] = frozenset()

    @property
    def source(self) -> Path:
        """The path of the original file."""
        name = f"{self.name}.py"
        if self.origin is None:
            return paths.ROOT / "dags" / name
        if isinstance(self.origin, Path):
            return self.origin / name
        # Not importlib.resources: importing Airflow takes seconds and writes its configuration.
        distribution, folder = self.origin
        found = importlib.metadata.distribution(distribution).locate_file(f"{folder}/{name}")
        return Path(str(found))


MAPPED = DagFile("mapped_squares", ("mapped_squares",))
LARGE = DagFile("large_config", ("large_config",))
RETRY = DagFile("retry_once", ("retry_once",), tries={"fail_on_first_try": 2})
#: Needs the targets of `project.DEMO`.
ANY_LENGTH = DagFile(
    "any_length",
    ("any_length",),
    _DEMO,
    tries={"forty_minutes": 2, "interrupted": 2},
    stopped=frozenset({"forty_minutes", "interrupted"}),
)
TASKFLOW = DagFile("tutorial_taskflow_api", ("tutorial_taskflow_api",), _CORE)

#: Six of Airflow's examples, then our own: what runs on functions alone.
ON_FUNCTIONS: tuple[DagFile, ...] = (
    # The first to be started, as it is the only one that must begin soon.
    DagFile(
        "example_time_delta_sensor_async",
        ("example_time_delta_sensor_async",),
        _CORE,
        deferred=frozenset({"wait"}),
        waits_s=30.0,
    ),
    DagFile("example_bash_operator", ("example_bash_operator",), _STANDARD),
    TASKFLOW,
    DagFile("example_nested_branch_dag", ("example_nested_branch_dag",), _CORE),
    DagFile(
        "example_dynamic_task_mapping",
        (
            "example_dynamic_task_mapping",
            "example_task_mapping_second_order",
            "example_task_group_mapping",
        ),
        _CORE,
    ),
    DagFile("example_setup_teardown_taskflow", ("example_setup_teardown_taskflow",), _CORE),
    MAPPED,
    RETRY,
    LARGE,
    DagFile("fails_for_good", ("fails_for_good",), ends="failed"),
)


def stage(files: Iterable[DagFile], folder: Path) -> None:
    """Copy the files into the DAG folder of the scheduler and of the image."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file.source, folder / file.source.name)
