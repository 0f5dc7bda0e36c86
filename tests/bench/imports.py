"""`python -m tests.bench.imports` writes docs/reference/imports.md: what the init phase imports."""

from __future__ import annotations

import sys
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.report import ROOT
from tests.support import init_imports

PAGE = ROOT / "docs" / "reference" / "imports.md"
PYTHON = ROOT / "build" / "venv" / "image" / "bin" / "python"
RUNS = 5

PYTHONS_OWN = "Python's own library"

#: A package with less is only named.
LEAST_SHARE = 0.004

#: Whether an import could be left out, by package.
NO = {
    "airflow": "the task runtime, the DAG reader, and what they import of each other",
    "annotated_types": "part of pydantic",
    "attr": "Airflow's classes are made with it",
    "boto3": "remote logs in S3 need it; without them botocore alone would do",
    "botocore": "sends results; reads payloads, secrets and remote logs",
    "click": "httpx imports it for its command",
    "cryptography": "decrypts connections and variables",
    "email": "reads headers for Python's HTTP client",
    "h11": "calls the Execution API",
    "httpcore": "calls the Execution API",
    "httpx": "calls the Execution API",
    "jinja2": "renders templates",
    "jsonschema": "checks what providers say of themselves, and the params of a DAG",
    "lambda_executor": "the wire and the options",
    "lambda_image": "with botocore's models and the TLS context, which the first task needs",
    "packaging": "compares versions",
    "pathspec": "reads .airflowignore",
    "pendulum": "Airflow's dates",
    "psutil": "watches processes",
    "pydantic": "reads workloads and the API's answers",
    "pydantic_core": "reads workloads and the API's answers",
    "structlog": "writes logs",
    "urllib3": "sends results",
    "yaml": "reads the configuration's descriptions",
}
ONLY_IN_AIRFLOW = {
    "alembic": "its database manager imports it",
    "arrow": "isoduration imports it",
    "fsspec": "its object storage imports it, and every task that",
    "isoduration": "jsonschema imports it to check params of `format: duration`",
    "opentelemetry": "its traces import it, on or off",
    "pygments": "rich imports it",
    "referencing": "jsonschema imports it",
    "rich": "its command line imports it, and the base class of all executors that",
    "sqlalchemy": "its settings and models import it, and the DAG reader those",
    "upath": "its object storage imports it, and every task that",
}

HEAD = """# What the init phase imports

`python -m tests.bench.imports` writes this page. It imports `lambda_image.handler` with the
packages of the default image under `python -X importtime`, {runs} times, and shows medians. A run
before these fills the page cache. The times are shares of the whole init phase, which change less
from machine to machine than seconds do.

{modules} modules are imported. The [budget](../../tests/contract/lambda_image/import_budget.json)
counts them and their bytes for each supported Airflow, and `test_imports.py` names what is new.

Three things are avoided, and nothing of Airflow or of a task is missing for it
([decision 53](../decisions/0053-kept-connections.md)):

* Garbage collection is off during the init phase.
* libcst has 62 modules. Airflow derives a class from one of libcst's, in a module that every task
  imports. It is imported only when a task sends its source code to another Python.
* Airflow reads its list of metrics with PyYAML's loader in Python. Here libyaml reads it.

The columns: how many modules a package has; their share without what they import; the largest share
of one of its imports with all that it imports; who imports it first; whether it can be avoided.
"Only in Airflow" means that Airflow imports it at the top of a module, so that leaving it out would
need a change of Airflow.

| package | modules | share | with its imports | imported by | avoidable |
|---|---|---|---|---|---|
"""


@dataclass
class Package:
    """One row: modules, the shares without and with what they import, and who imports it first."""

    modules: int = 0
    share: float = 0.0
    whole: float = 0.0
    by: str = ""


def packages(run: list[init_imports.Timed], loaded: Collection[str]) -> dict[str, Package]:
    """The rows of one run; an import that failed is none."""
    total_us = sum(each.own_us for each in run)
    found: dict[str, Package] = defaultdict(Package)
    for each in run:
        name = init_imports.package_of(each.name)
        if name in sys.stdlib_module_names:
            name = PYTHONS_OWN
        elif each.name not in loaded:
            continue
        package = found[name]
        package.modules += 1
        package.share += each.own_us / total_us
        package.whole = max(package.whole, each.all_us / total_us)
        if not package.by and not each.by.startswith(name):
            package.by = each.by
    return found


def page(runs: list[dict[str, Package]]) -> str:
    """The page, from all runs but the first."""
    first, *counted = runs
    rows, others = [], []
    for name, package in first.items():
        share, whole = (
            median(getattr(run[name], of) for run in counted if name in run)
            for of in ("share", "whole")
        )
        if share < LEAST_SHARE:
            others.append((name, share))
            continue
        by = f"`{package.by}`" if package.by else ""
        cells = (name, str(package.modules), f"{share:.1%}", f"{whole:.1%}", by, verdict(name))
        rows.append((share, f"| {' | '.join(cells)} |"))
    head = HEAD.format(
        runs=len(counted), modules=sum(package.modules for package in first.values())
    )
    table = "\n".join(line for _, line in sorted(rows, reverse=True))
    rest = ", ".join(name for name, _ in sorted(others))
    share = sum(share for _, share in others)
    least = (
        f"{len(others)} more packages have less than {LEAST_SHARE:.1%} each, {share:.0%} together: "
        f"{rest}."
    )
    return f"{head}{table}\n\n{textwrap.fill(least, 120)}\n"


def verdict(package: str) -> str:
    """Whether a package can be avoided, for the table."""
    top = package.partition(".")[0]
    if top in ONLY_IN_AIRFLOW:
        return f"only in Airflow: {ONLY_IN_AIRFLOW[top]}"
    if top in NO:
        return f"no: {NO[top]}"
    return ""


def main() -> None:
    """Measure and write."""
    runs = []
    for _ in range(RUNS + 1):
        with tempfile.TemporaryDirectory() as folder:
            loaded = init_imports.loaded(PYTHON, Path(folder))
            runs.append(packages(init_imports.timed(PYTHON, Path(folder)), loaded))
    PAGE.write_text(page(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
