"""The constructs in somebody else's app: installed from their wheels, without this repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[3]
UV = ROOT / "build/uv/bin/uv"

#: Synthesizes the app under cdk-nag and tells what there is to tell.
DRIVER = """
import json, pathlib, sys
import airflow_lambda_constructs, lambda_executor, aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks
from app import build
app = cdk.App(outdir=sys.argv[1])
cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
build(app)
try:
    app.synth()
except RuntimeError as e:
    print(e, file=sys.stderr)
report = json.loads((pathlib.Path(sys.argv[1]) / "validation-report.json").read_text())
print(json.dumps({
    "from": [airflow_lambda_constructs.__file__, lambda_executor.__file__],
    "repository": any("stacks" == name.partition(".")[0] for name in sys.modules),
    "findings": [
        f"{construct['constructPath']}: {violation['description']}"
        for plugin in report["pluginReports"]
        if plugin["pluginName"] == "AwsSolutions"
        for violation in plugin["violations"]
        for construct in violation["violatingConstructs"]
    ],
}))
"""


@dataclass(frozen=True)
class Synthesized:
    """The synthesized example.

    Attributes:
        installed: Where the wheels were unpacked.
        wheel: That of the constructs.
        told: What the driver printed.
        folder: Of the assembly.
    """

    installed: Path
    wheel: Path
    told: dict[str, Any]
    folder: Path

    def resources(self, stack: str, type_: str) -> list[dict[str, Any]]:
        """The properties of the resources of a type."""
        template = json.loads((self.folder / f"{stack}.template.json").read_text())
        return [r["Properties"] for r in template["Resources"].values() if r["Type"] == type_]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    """The example, synthesized with nothing on its path but wheels and the CDK."""
    folder = tmp_path_factory.mktemp("own")
    wheels, installed, assembly = (folder / name for name in ("wheels", "installed", "assembly"))
    for project in ("executor", "constructs"):
        _run(UV, "build", "--quiet", "--wheel", "--out-dir", wheels, ROOT / project)
    (wheel,) = wheels.glob("airflow_lambda_constructs-*.whl")
    _run(UV, "pip", "install", "--quiet", "--no-deps", "--target", installed, *wheels.glob("*.whl"))
    app = shutil.copytree(ROOT / "examples/own_cdk_app", folder / "app")
    ran = _run(
        sys.executable,
        "-S",  # no .pth file, by which the development environment finds the repository
        "-c",
        DRIVER,
        assembly,
        cwd=app,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(installed), sysconfig.get_path("purelib")]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    return Synthesized(installed, wheel, json.loads(ran.splitlines()[-1]), assembly)


def _run(*command: object, **how: Any) -> str:
    ran: subprocess.CompletedProcess[str] = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **how,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_app_knows_the_installed_package_only(example: Synthesized) -> None:
    """The example imports the wheels, and no module of the stacks."""
    assert all(path.startswith(str(example.installed)) for path in example.told["from"])
    assert example.told["repository"] is False


def test_the_package_asks_for_the_cdk_and_the_option_table(example: Synthesized) -> None:
    """The wheel has three dependencies, and types for those who check theirs."""
    with zipfile.ZipFile(example.wheel) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith("METADATA"))
        metadata = Parser().parsestr(wheel.read(name).decode())
        assert "airflow_lambda_constructs/py.typed" in wheel.namelist()
        assert {n.partition("/")[0].partition("-")[0] for n in wheel.namelist()} == {
            "airflow_lambda_constructs"
        }
    required = _requirements(metadata.get_all("Requires-Dist") or [])
    executor = tomllib.loads((ROOT / "executor/pyproject.toml").read_text())["project"]["version"]
    kit = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ours = _requirements(kit)
    assert required == {
        "airflow-lambda-executor": SpecifierSet(f"=={executor}"),
        "aws-cdk-lib": ours["aws-cdk-lib"],
        "constructs": ours["constructs"],
    }


def _requirements(lines: list[str]) -> dict[str, SpecifierSet]:
    return {r.name: r.specifier for r in map(Requirement, lines)}


def test_the_rule_pack_has_no_finding(example: Synthesized) -> None:
    """cdk-nag finds nothing in the example."""
    assert example.told["findings"] == []


def test_the_parameter_wires_both_functions(example: Synthesized) -> None:
    """The queue `large` uses the second function, all others the first."""
    (parameter,) = example.resources("AirflowWorkloads", "AWS::SSM::Parameter")
    assert parameter["Name"] == "/etl/executor"
    _, parts = parameter["Value"]["Fn::Join"]
    wired = json.loads("".join(p if isinstance(p, str) else p["Ref"] for p in parts))
    assert wired["function_name"].startswith("WorkloadsWorkloadFunction")
    (queue, target), *others = json.loads(wired["functions"]).items()
    assert (queue, others) == ("large", [])
    assert target.startswith("WorkloadsWorkloadLargeFunction")
    assert target.endswith(":live")
    functions = example.resources("AirflowWorkloads", "AWS::Lambda::Function")
    names = {f["FunctionName"] for f in functions}
    assert names == {"etl", "etl-large"}


def test_the_schedulers_role_gets_the_policy(example: Synthesized) -> None:
    """The existing role gets the scheduler's policy, and that one alone."""
    policies = example.resources("AirflowWorkloads", "AWS::IAM::ManagedPolicy")
    roles = {policy["Description"]: policy.get("Roles", []) for policy in policies}
    (of_scheduler,) = (name for name in roles if name.startswith("What an Airflow scheduler"))
    assert roles.pop(of_scheduler) == ["airflow-scheduler"]
    assert set(map(tuple, roles.values())) == {()}


def test_data_is_kept_as_the_app_says(example: Synthesized) -> None:
    """Every queue, bucket, log and the database have the given removal policy."""
    kinds = {"AWS::SQS::Queue", "AWS::S3::Bucket", "AWS::Logs::LogGroup", "AWS::RDS::DBInstance"}
    seen = set()
    for stack in ("AirflowWorkloads", "AirflowState"):
        template = json.loads((example.folder / f"{stack}.template.json").read_text())
        for name, resource in template["Resources"].items():
            if resource["Type"] in kinds:
                seen.add(resource["Type"])
                assert resource["DeletionPolicy"] == "Retain", name
    assert seen == kinds
