"""The packages as a user installs them: built, and in a virtual environment that has no sources.

`make wheels` names the folder of what it built, so that what is tested is what is published.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from lambda_executor.contract.options import OPTIONS, SECTION
from tests.support.distribution import ROOT, airflow_variables

#: Installing packages may take as long as the network does.
pytestmark = pytest.mark.timeout(600)

UV = ROOT / "build" / "uv" / "bin" / "uv"
#: Each package with the folder of its code.
PACKAGES = {
    "executor": "airflow_lambda_executor",
    "constructs": "airflow_lambda_constructs",
    "local_aws": "airflow_lambda_local_aws",
}
#: What `airflow lambda-executor --help` lists.
COMMANDS = ("check", "status", "dead-letters", "dags")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each package, built from its source distribution."""
    folder = ROOT / os.environ["WHEELS"] if "WHEELS" in os.environ else None
    if folder is None:
        folder = tmp_path_factory.mktemp("wheels")
        for package in PACKAGES:
            _run([UV, "build", "--quiet", "--out-dir", folder, package], cwd=ROOT)
    found = {package: list(folder.glob(f"{name}-*.whl")) for package, name in PACKAGES.items()}
    assert {package: len(files) for package, files in found.items()} == dict.fromkeys(PACKAGES, 1)
    return {package: files[0] for package, files in found.items()}


@pytest.fixture(scope="module")
def airflow(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a user who installed Airflow, the executor and the constructs.

    The versions are those of uv.lock, so that the test is the same tomorrow.
    """
    wanted = [f"{wheels['executor']}[native]", str(wheels["constructs"]), "apache-airflow"]
    return _installed(tmp_path_factory.mktemp("airflow"), wanted, "--group", "airflow")


def _installed(folder: Path, wanted: list[str], *groups: str) -> Path:
    export = ["--quiet", "--frozen", "--no-hashes", "--no-header", "--no-annotate"]
    locked = _run([UV, "export", *export, "--no-emit-local", "--no-dev", *groups], cwd=ROOT)
    constraints = folder / "constraints.txt"
    constraints.write_text(locked)
    python = folder / "venv" / "bin" / "python"
    _run([UV, "venv", "--quiet", "--python", sys.executable, folder / "venv"], cwd=folder)
    options = ["--quiet", "--python", str(python), "--constraints", str(constraints)]
    _run([UV, "pip", "install", *options, *wanted], cwd=folder)
    return python


def _run(command: Sequence[str | Path], *, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=550, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _as_user(python: Path, home: Path, *words: str) -> str:
    """Run Python as somebody who has no sources: neither their path nor their folder."""
    variables = {**airflow_variables(home, python_path="")}
    del variables["PYTHONPATH"]
    return _run([python, *words], cwd=home, env=variables)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_has_all_its_code_and_its_licence(package: str, wheels: dict[str, Path]) -> None:
    """No module, marker of types or data file of the sources is missing, and nothing is added."""
    with zipfile.ZipFile(wheels[package]) as wheel:
        names = set(wheel.namelist())
    code = {name for name in names if ".dist-info/" not in name}
    sources = ROOT / package / "src"
    expected = {
        str(file.relative_to(sources))
        for file in sources.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert code == expected
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_the_projects_licence(package: str) -> None:
    """A source distribution cannot reach the file in the folder above it."""
    assert (ROOT / package / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_airflow_knows_the_provider(airflow: Path, tmp_path: Path) -> None:
    """`airflow providers get` shows its name, its executor and every option."""
    words = ("providers", "get", "airflow-lambda-executor", "--full", "--output", "json")
    (told,) = json.loads(_as_user(airflow, tmp_path, "-m", "airflow", *words))
    assert told["package-name"] == "airflow-lambda-executor"
    assert told["executors"] == ["lambda_executor.LambdaExecutor"]
    assert list(told["config"][SECTION]["options"]) == [option.name for option in OPTIONS]


def test_airflow_loads_the_executor(airflow: Path, tmp_path: Path) -> None:
    """By the one line of configuration, and from the installed package."""
    code = (
        "from airflow.executors.executor_loader import ExecutorLoader; import lambda_executor; "
        "print(ExecutorLoader.import_default_executor_cls()[0].__name__, lambda_executor.__file__)"
    )
    name, file = _as_user(airflow, tmp_path, "-c", code).split()
    assert name == "LambdaExecutor"
    assert Path(file).is_relative_to(airflow.parents[1])


def test_airflow_has_the_commands(airflow: Path, tmp_path: Path) -> None:
    """`airflow lambda-executor --help` lists them, and `check` reads its option."""
    told = _as_user(airflow, tmp_path, "-m", "airflow", "lambda-executor", "--help")
    assert [command for command in COMMANDS if command not in told] == []
    words = ("lambda-executor", "check", "--help")
    assert "--json" in _as_user(airflow, tmp_path, "-m", "airflow", *words)


def test_the_options_are_airflows(airflow: Path, tmp_path: Path) -> None:
    """`airflow config list` explains each of them to whoever looks for it."""
    words = ("config", "list", "--section", SECTION, "--include-descriptions")
    told = _as_user(airflow, tmp_path, "-m", "airflow", *words)
    assert [option.name for option in OPTIONS if f"# {option.name} = " not in told] == []


def test_the_constructs_make_a_stack(airflow: Path, tmp_path: Path) -> None:
    """In an app of somebody else, with the executor's package that they require."""
    code = (
        "import aws_cdk as cdk; from aws_cdk.assertions import Template; "
        "from airflow_lambda_constructs import PayloadBucket; "
        "stack = cdk.Stack(cdk.App(), 'Theirs'); removal = cdk.RemovalPolicy.DESTROY; "
        "PayloadBucket(stack, 'Payloads', prefix='theirs-', removal_policy=removal); "
        "print(Template.from_stack(stack).to_json())"
    )
    assert "AWS::S3::Bucket" in _as_user(airflow, tmp_path, "-c", code)


def test_the_embedded_aws_starts_its_command(wheels: dict[str, Path], tmp_path: Path) -> None:
    """Its package pins other versions, so it has a virtual environment of its own."""
    python = _installed(tmp_path, [str(wheels["local_aws"])], "--only-group", "local-aws")
    assert "--sandbox" in _as_user(python, tmp_path, "-m", "local_aws", "--help")
