"""What the demo deploys and runs: DAG files, and the packages and settings that they need."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.installation import dag_files
from demo.installation.dag_files import DagFile
from demo.installation.outside_world import OutsideWorld


@dataclass(frozen=True, slots=True)
class Project:
    """DAGs and what they need; the paths are absolute and may be outside of this repository.

    Attributes:
        files: The DAG files whose DAGs are known, with their expected ends.
        folder: The DAG folder; None: it consists of `files`.
        requirements: More Python packages, in pip's format, for the image and for Airflow.
        override: Values that are merged over those of the stage `local`.
        variables: Variables of Airflow's programs and of the functions; they may hold secrets.
        plugins: Airflow's plugins folder.
        is_watched: Whether changes of `folder` reach Airflow and the functions while they run.
        needs_restart: Files and folders whose changes do not.
        outside: What the project meets outside of its stage and of Airflow.
    """

    files: Sequence[DagFile] = ()
    folder: Path | None = None
    requirements: Path | None = None
    override: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    plugins: Path | None = None
    is_watched: bool = False
    needs_restart: Sequence[Path] = ()
    outside: OutsideWorld = field(default_factory=OutsideWorld)

    @property
    def dag_ids(self) -> list[str]:
        """The DAGs of `files`."""
        return [dag_id for file in self.files for dag_id in file.dag_ids]

    def copy_dags(self, to: Path) -> None:
        """Copy the DAG files into an existing or new folder, without compiled Python files."""
        if self.folder is None:
            dag_files.stage(self.files, to)
        else:
            ignored = shutil.ignore_patterns("__pycache__", ".git")
            shutil.copytree(self.folder, to, ignore=ignored, dirs_exist_ok=True)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge as the stages do with an override: objects by key, functions by their `name`."""
    result = dict(base)
    for key, value in over.items():
        under = result.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            result[key] = merged(under, value)
        elif key == "functions":
            names = (
                {each["name"]: each for each in functions} for functions in (under or [], value)
            )
            result[key] = list(merged(*names).values())
        else:
            result[key] = value
    return result


#: A target of each kind, for the DAG `any_length`, which explains the function `quarter-hour`. All
#: have the architecture of MicroVMs, so that the demo builds one image; this machine's processes
#: run whatever its name is.
_TARGETS: Mapping[str, Any] = {
    "functions": [
        {"name": "default", "architecture": "arm64"},
        {
            "name": "quarter-hour",
            "architecture": "arm64",
            "queues": ["quarter-hour"],
            "memory_mb": 2048,
            "timeout_s": 5,
        },
    ],
    "targets": [
        {"kind": "microvm", "name": "microvm", "queues": ["microvm"]},
        {"kind": "batch", "name": "batch", "queues": ["batch"], "architecture": "arm64"},
        {
            "kind": "batch",
            "name": "spot",
            "queues": ["spot"],
            "architecture": "arm64",
            "capacity": "fargate_spot",
        },
        {"kind": "ecs", "name": "ecs", "queues": ["ecs"], "architecture": "arm64"},
    ],
}

#: The demo's own: `make demo`, and `make local` without a DAG folder.
DEMO = Project(
    (*dag_files.ON_FUNCTIONS, dag_files.ANY_LENGTH),
    override=_TARGETS,
    outside=OutsideWorld(interruptions={"any_length.interrupted": "spot"}),
)
