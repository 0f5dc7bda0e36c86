"""What Airflow finds in the plugin: the page and the links, or nothing where there are no pages."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from airflow import plugins_manager
from airflow.version import version

from lambda_executor.contract.names import EXECUTOR
from lambda_executor.plugin import LambdaExecutorPlugin

# What Airflow's API server imports warns.
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")

HAS_PAGES = tuple(map(int, version.split(".")[:2])) >= (3, 1)
PARTS = ("fastapi_apps", "external_views", "global_operator_extra_links")

#: Loads the plugins as a task's process does and asks for the links as the DAG processor does, and
#: tells what that imported.
LOADING = """
import json, sys
from airflow import plugins_manager
plugins_manager.ensure_plugins_loaded()
before = set(sys.modules)
from lambda_executor.plugin import LambdaExecutorPlugin
LambdaExecutorPlugin().global_operator_extra_links
added = [name for name in sys.modules if name not in before]
print(json.dumps([name for name in (*before, *added) if name.startswith("lambda_executor.plugin")]))
print(json.dumps(added))
"""


def test_airflow_finds_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its entry point, without an error."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", EXECUTOR)
    plugins_manager.ensure_plugins_loaded()
    found = [each["name"] for each in plugins_manager.get_plugin_info()]
    assert "lambda_executor" in found
    assert not getattr(plugins_manager, "import_errors", None)


@pytest.mark.parametrize("part", PARTS)
def test_an_airflow_with_pages_has_each_part(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since 3.1; an older one has none of them."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", EXECUTOR)
    assert bool(getattr(LambdaExecutorPlugin(), part, [])) is HAS_PAGES


@pytest.mark.parametrize("part", PARTS)
def test_an_airflow_without_the_executor_has_no_page(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package may be there for its DAG bundle alone."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    assert getattr(LambdaExecutorPlugin(), part, []) == []


def test_the_page_is_below_the_api_servers_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy may serve Airflow below a path of its own."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", EXECUTOR)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/airflow/")
    hrefs = [view["href"] for view in LambdaExecutorPlugin().external_views]
    assert hrefs == (["/airflow/lambda-executor/"] if HAS_PAGES else [])


def test_what_other_processes_ask_for_imports_nothing_of_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each task's process loads the plugin and waits for it."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", EXECUTOR)
    done = subprocess.run(
        [sys.executable, "-c", LOADING], capture_output=True, text=True, check=True
    )
    own, added = map(json.loads, done.stdout.splitlines()[-2:])
    links = ["lambda_executor.plugin.links"] if HAS_PAGES else []
    assert own == ["lambda_executor.plugin", *links]
    assert not {"boto3", "fastapi"} & set(added)
