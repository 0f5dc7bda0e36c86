"""One synthesized stage, as the tests read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk.assertions import Template
from cdk_nag import AwsSolutionsChecks

from stacks.composition import build
from stacks.config import StageConfig
from stacks.config.loading import load
from tests.synth.variants import CONTEXT, ROOT

#: Every stack that a stage may have, in the order of a deploy.
PARTS = (
    "encryption",
    "registry",
    "network",
    "database",
    "storage",
    "execution",
    "control-plane",
    "observability",
)


@dataclass(frozen=True)
class Resource:
    """One resource of a template."""

    part: str
    logical_id: str
    type: str
    body: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Any]:
        """Its CloudFormation properties."""
        found: Mapping[str, Any] = self.body.get("Properties", {})
        return found

    def __str__(self) -> str:
        return f"{self.part}/{self.logical_id} ({self.type})"


@dataclass(frozen=True)
class Assembly:
    """The cloud assembly of one stage."""

    stage: str
    config: StageConfig
    folder: Path

    @property
    def parts(self) -> tuple[str, ...]:
        """The stacks that this stage has."""
        return tuple(part for part in PARTS if self._template(part).exists())

    def json(self, part: str) -> dict[str, Any]:
        """The template of one stack."""
        template: dict[str, Any] = json.loads(self._template(part).read_text())
        return template

    def template(self, part: str) -> Template:
        """The template of one stack, for `aws_cdk.assertions`."""
        return Template.from_json(self.json(part))

    def metadata(self, part: str) -> dict[str, Any]:
        """The metadata of one stack: construct path to its entries."""
        path = self.folder / f"airflow-lambda-{self.stage}-{part}.metadata.json"
        metadata: dict[str, Any] = json.loads(path.read_text())
        return metadata

    def manifest(self) -> dict[str, Any]:
        """The manifest of the assembly."""
        manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text())
        return manifest

    def findings(self) -> list[str]:
        """The findings of cdk-nag's AwsSolutions that are not acknowledged."""
        return findings_in(self.folder)

    def resources(self, *types: str) -> list[Resource]:
        """The resources of all stacks that have one of these types; without types: all."""
        return [r for r in self._resources() if not types or r.type in types]

    def has(self, part: str) -> bool:
        """Whether this stage has a stack."""
        return part in self.parts

    def only(self, type_: str, name: str = "") -> Resource:
        """The one resource of a type whose logical id starts with a name."""
        (found,) = (r for r in self.resources(type_) if r.logical_id.startswith(name))
        return found

    def _template(self, part: str) -> Path:
        return self.folder / f"airflow-lambda-{self.stage}-{part}.template.json"

    def _resources(self) -> Iterator[Resource]:
        for part in self.parts:
            for logical_id, body in self.json(part)["Resources"].items():
                yield Resource(part, logical_id, body["Type"], body)


def findings_in(folder: Path) -> list[str]:
    """The findings of cdk-nag's AwsSolutions in the report of a synthesis."""
    reports = json.loads((folder / "validation-report.json").read_text())["pluginReports"]
    return [
        f"{construct['constructPath']}: {violation['description']}"
        for report in reports
        if report["pluginName"] == "AwsSolutions"
        for violation in report["violations"]
        for construct in violation["violatingConstructs"]
    ]


def config_of(stage: str, override: Mapping[str, Any] | None = None) -> StageConfig:
    """The configuration of a stage of `cdk.json`."""
    return load(CONTEXT["stages"], stage, override)


def new_app(
    folder: Path, stage: str, override: Mapping[str, Any] | None = None, *, root: Path = ROOT
) -> cdk.App:
    """The app of a stage, not synthesized yet."""
    app = cdk.App(context=dict(CONTEXT), outdir=str(folder))
    build(app, stage, config_of(stage, override), root=root)
    return app


def inspected(folder: Path, stage: str, override: Mapping[str, Any] | None = None) -> Assembly:
    """Synthesize a stage under cdk-nag's AwsSolutions.

    Raises:
        RuntimeError: The synthesis failed, and not because of that rule pack.
    """
    app = new_app(folder, stage, override)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    assembly = Assembly(stage, config_of(stage, override), folder)
    try:
        app.synth()
    except RuntimeError:
        if not assembly.findings():
            raise
    return assembly


def synthesize(
    folder: Path, stage: str, override: Mapping[str, Any] | None = None, *, root: Path = ROOT
) -> Assembly:
    """Build and synthesize a stage into a folder."""
    new_app(folder, stage, override, root=root).synth()
    return Assembly(stage, config_of(stage, override), folder)
