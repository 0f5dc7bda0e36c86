"""The init phase imports no more than its budget allows, and what it leaves out is there for tasks.

Modules and the bytes of their files are counted, so that the speed of a machine changes nothing.
`python -m tests.contract.lambda_image.test_imports` writes the budget anew.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.support import init_imports
from tests.support.handler_process import ROOT
from tests.support.minors import VENVS, python_of

#: By minor version of Airflow: bytes of all modules, and the number of modules of each package.
BUDGET = Path(__file__).with_name("import_budget.json")

#: Some packages import more on other versions of Python: backports, or another implementation.
SPARE = 1.02


def image_python(minor: str) -> Path:
    """The interpreter whose packages are those of the image, if they have been installed."""
    image = ROOT / "build" / "venv" / "image" / "bin" / "python"
    return image if VENVS[minor] is None and image.exists() else python_of(minor)


def newcomers(now: dict[str, int], budget: dict[str, int]) -> list[str]:
    """The packages of which more modules are imported than the budget has, as a person reads it."""
    return [
        f"{name}: {count} modules, the budget has {budget.get(name, 0)}"
        for name, count in sorted(now.items())
        if count > budget.get(name, 0)
    ]


def test_the_init_phase_keeps_to_its_budget(minor: str, tmp_path: Path) -> None:
    """A package that is new in the init phase, or imports more, is named."""
    modules = init_imports.loaded(image_python(minor), tmp_path)
    budget = json.loads(BUDGET.read_text())[minor]
    allowed = sum(budget["modules"].values()) * SPARE
    more = newcomers(init_imports.packages(modules), budget["modules"])
    size = sum(modules.values())
    assert len(modules) <= allowed, f"{len(modules)} modules, {allowed:.0f} allowed: {more}"
    assert size <= budget["bytes"] * SPARE, f"{size} bytes, {budget['bytes']} allowed: {more}"
    unknown = [line for line in more if line.endswith(" 0")]
    assert not unknown, "avoid them, or write the budget anew and say why"


def test_an_import_that_is_new_is_named(tmp_path: Path) -> None:
    """The budget sees a package that comes back, and says how many modules it has."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "handled.py").write_text("import libcst\n")
    modules = init_imports.loaded(image_python("3.3"), tmp_path)
    budget = json.loads(BUDGET.read_text())["3.3"]["modules"]
    more = newcomers(init_imports.packages(modules), budget)
    count = sum(init_imports.package_of(name) == "libcst" for name in modules)
    assert f"libcst: {count} modules, the budget has 0" in more  # Ours may have grown, too.


#: What a task does that sends its source code elsewhere, with and without the init phase before.
_REMOVES = """
import os, sys
{first}
try:
    from airflow.sdk.definitions._internal.decorators import remove_task_decorator
except ImportError:
    from airflow.utils.decorators import remove_task_decorator
is_loaded = "libcst" in sys.modules
source = "@task.virtualenv(requirements=[])\\n@setup\\n@kept\\ndef f():\\n    return 1\\n"
removed = remove_task_decorator(source, "@task.virtualenv")
import libcst.matchers, yaml
line = repr([is_loaded, removed, libcst.matchers.__name__, yaml.SafeLoader.__mro__[1].__name__])
os.write(1, b"\\n" + line.encode() + b"\\n")  # Not printed, which makes a line of the log of it.
os._exit(0)
"""


def test_what_is_not_imported_is_there_when_a_task_uses_it(minor: str, tmp_path: Path) -> None:
    """Airflow removes decorators as ever, with libcst imported only then; YAML is read as ever."""
    python = python_of(minor)
    warm, stock = (
        init_imports.run(python, tmp_path, "-c", _REMOVES.format(first=first)).stdout
        for first in ("import lambda_image.handler", "")
    )
    removed = "@kept\\ndef f():\\n    return 1\\n"
    assert stock.splitlines()[-1] == f"[True, '{removed}', 'libcst.matchers', 'Reader']"
    assert warm.splitlines()[-1] == f"[False, '{removed}', 'libcst.matchers', 'Reader']"


def write_budget() -> None:
    """Measure every version that is installed."""
    budget = {}
    for minor in VENVS:
        with tempfile.TemporaryDirectory() as folder:
            modules = init_imports.loaded(image_python(minor), Path(folder))
        budget[minor] = {"bytes": sum(modules.values()), "modules": init_imports.packages(modules)}
    BUDGET.write_text(json.dumps(budget, indent=1) + "\n")


if __name__ == "__main__":
    write_budget()
