"""The distribution's entry points, and the modules that need neither Airflow nor boto3."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from airflow.settings import get_policy_plugin_manager

from lambda_executor import policy
from lambda_executor.contract.options import OPTIONS
from lambda_executor.provider_info import get_provider_info
from tests.support.distribution import EXECUTOR


@pytest.mark.parametrize(
    "module",
    ["contract.wire", "contract.options", "contract.errors", "core.ledger", "provider_info"],
)
def test_the_plain_modules_import_neither_airflow_nor_boto3(module: str) -> None:
    """The image and the stacks can import these modules without Airflow and boto3."""
    code = (
        f"import lambda_executor.{module}, sys; "
        "print(sorted({'airflow', 'boto3', 'botocore', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_airflow_2_is_refused_by_name(tmp_path: Path) -> None:
    """The error has what is needed, what was found and what to do; no module is missing."""
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "__init__.py").touch()
    (tmp_path / "airflow" / "version.py").write_text('version = "2.11.2"')
    done = subprocess.run(
        [sys.executable, "-c", "from lambda_executor import LambdaExecutor"],
        env={"PYTHONPATH": f"{tmp_path}:{EXECUTOR / 'src'}"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.stderr.splitlines()[-1] == (
        "lambda_executor.contract.errors.ConfigError: airflow-lambda-executor needs Airflow 3.0.6 "
        "or newer, and this is Airflow 2.11.2: upgrade Airflow, or set [core] executor to one that "
        "this Airflow has"
    )


def test_the_metadata_fits_airflows_schema() -> None:
    """Airflow's provider discovery accepts the metadata."""
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_every_option_is_in_the_metadata_without_a_default() -> None:
    """An unset option stays unset for Airflow, so that the SSM parameter can set it."""
    options = get_provider_info()["config"]["lambda_executor"]["options"]
    assert list(options) == [option.name for option in OPTIONS]
    assert {option["default"] for option in options.values()} == {None}


def test_airflow_finds_the_provider() -> None:
    """The entry point is installed and loads; the distribution's name is a module too."""
    (entry_point,) = [
        e for e in entry_points(group="apache_airflow_provider") if "lambda_executor" in e.value
    ]
    name = entry_point.load()()["package-name"]
    assert name == "airflow-lambda-executor"
    importlib.import_module(name.replace("-", "_"))


def test_airflow_finds_the_policies() -> None:
    """Their module is a plugin of Airflow's, which loads it in each process."""
    (entry_point,) = [
        e for e in entry_points(group="airflow.policy") if e.module in policy.__name__
    ]
    assert entry_point.load() is policy
    plugin = get_policy_plugin_manager().get_plugin(entry_point.name)
    assert plugin is policy


def test_the_wheel_has_every_package() -> None:
    """No package of the source folder is forgotten in the wheel."""
    project = tomllib.loads((EXECUTOR / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packages) == sorted(
        str(file.parent.relative_to(EXECUTOR)) for file in EXECUTOR.glob("src/*/__init__.py")
    )
