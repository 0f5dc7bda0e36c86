"""The examples: finds `examples/<name>/` and makes a project of it."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from demo import paths
from demo.installation.dag_files import DagFile
from demo.installation.outside_world import Delivery, OutsideWorld
from demo.installation.project import Project

FOLDER = paths.ROOT / "examples"


class ExampleError(Exception):
    """There is no such example, or its folder is not well-formed."""


@dataclass(frozen=True, slots=True)
class Story:
    """The content of `demo.json`: what happens outside, and what does not simply succeed.

    Attributes:
        tries: The number of tries by task (`<DAG>.<task>`), if more than one.
        failed: The DAGs that end as failed.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    deliveries: tuple[Delivery, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    tries: Mapping[str, int] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()


_STORY = TypeAdapter(Story)


@dataclass(frozen=True, slots=True)
class Example:
    """One example."""

    folder: Path

    @property
    def name(self) -> str:
        """The name that `make demo EXAMPLE=` takes."""
        return self.folder.name

    @property
    def title(self) -> str:
        """The first line of its page."""
        first, _, _ = (self.folder / "README.md").read_text().partition("\n")
        return first.removeprefix("#").strip()

    @property
    def stage(self) -> Mapping[str, Any]:
        """Its values of a stage.

        Raises:
            ExampleError: `stage.json` is not a JSON object.
        """
        values = _json(self.folder / "stage.json")
        if not isinstance(values, Mapping):
            raise ExampleError(f"{self.folder / 'stage.json'} is not a JSON object: make it one")
        return values

    @property
    def story(self) -> Story:
        """What happens outside.

        Raises:
            ExampleError: `demo.json` has an unknown key or a wrong value.
        """
        file = self.folder / "demo.json"
        try:
            return _STORY.validate_python(_json(file))
        except ValidationError as e:
            raise ExampleError(f"{file} is not as `Story` in {Path(__file__).name}: {e}") from e

    def project(self) -> Project:
        """What the demo deploys and runs.

        Raises:
            ExampleError: A file of the example is wrong.
        """
        story, stage = self.story, self.stage
        # Of the stage `local`, Airflow is not a part: the demo itself gives its programs these.
        control_plane = stage.get("control_plane", {})
        files = [_dag_file(file, story) for file in sorted(self.folder.glob("dags/*.py"))]
        self._check(story, {dag_id for file in files for dag_id in file.dag_ids})
        requirements, resources, apps = (
            [file for file in [self.folder / name] if file.exists()]
            for name in ("requirements.txt", "resources.yaml", "app.py")
        )
        return Project(
            files=files,
            folder=self.folder / "dags",
            requirements=requirements[0] if requirements else None,
            override=stage,
            outside=OutsideWorld(
                resources=resources,
                apps=apps,
                airflow_environment=control_plane.get("environment", {}),
                airflow_statements=control_plane.get("statements", []),
                deliveries=[
                    Delivery(each.when_deferred, self.folder / each.file, each.to)
                    for each in story.deliveries
                ],
                answers=story.answers,
            ),
        )

    def _check(self, story: Story, dag_ids: set[str]) -> None:
        waiting = [each.when_deferred for each in story.deliveries]
        named = {task.partition(".")[0] for task in [*waiting, *story.answers, *story.tries]}
        if unknown := (named | story.failed) - dag_ids:
            raise ExampleError(
                f"{self.folder / 'demo.json'} names the DAGs {sorted(unknown)}, the DAGs of the "
                f"example are {sorted(dag_ids)}: write a task as <DAG>.<task>"
            )
        for each in story.deliveries:
            if not (self.folder / each.file).is_file():
                raise ExampleError(
                    f"{self.folder / 'demo.json'} delivers {str(each.file)!r}, which is no file "
                    f"in {self.folder}: add it"
                )


def find(name: str) -> Example:
    """The example of this name.

    Raises:
        ExampleError: There is none; the message lists those that there are.
    """
    known = {example.name: example for example in all_examples()}
    if name not in known:
        close = difflib.get_close_matches(name, list(known), n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        width = max(map(len, known))
        lines = [f"  {each.name:{width}}  {each.title}" for each in known.values()]
        raise ExampleError("\n".join([f"There is no example {name!r}{hint}. There are:", *lines]))
    return known[name]


def all_examples() -> Iterator[Example]:
    """Every example with DAGs, sorted by name."""
    return (Example(folder.parent) for folder in sorted(FOLDER.glob("*/dags")))


def _json(file: Path) -> object:
    """The content of a file, or an empty object if it is missing."""
    if not file.exists():
        return {}
    try:
        return json.loads(file.read_text())
    except ValueError as e:
        raise ExampleError(f"{file} is not JSON: {e}") from e


def _dag_file(file: Path, story: Story) -> DagFile:
    dag_ids = tuple(_dag_ids(file))

    def mine(tasks: Mapping[str, Any]) -> dict[str, Any]:
        split = {tuple(task.partition(".")[::2]): value for task, value in tasks.items()}
        return {task: value for (dag_id, task), value in split.items() if dag_id in dag_ids}

    waiting = [each.when_deferred for each in story.deliveries]
    return DagFile(
        file.stem,
        dag_ids,
        origin=file.parent,
        ends="failed" if story.failed & frozenset(dag_ids) else "success",
        tries=mine(story.tries),
        deferred=frozenset(mine(dict.fromkeys([*waiting, *story.answers]))),
    )


def _dag_ids(file: Path) -> Iterator[str]:
    """The functions with the decorator `dag`. Nothing is imported: Airflow takes seconds."""
    for function in ast.parse(file.read_text()).body:
        if isinstance(function, ast.FunctionDef):
            for decorator in function.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if isinstance(called, ast.Name) and called.id == "dag":
                    yield function.name
