"""What the handler's init phase imports, counted in a process of its own.

Modules of Python itself are not counted: they differ between its versions.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.distribution import installed
from tests.support.handler_process import ROOT, image_variables

#: The tests of the executor run with the same packages. In the image, the function does not find
#: this one, which botocore would import.
_AS_IN_THE_IMAGE = "import sys; sys.modules['awscrt'] = None"
#: Prints each module that is loaded after the init phase, with the bytes of its file.
_COUNT = f"""
{_AS_IN_THE_IMAGE}
import json, os, sys
from lambda_image.dags import preload
preload.ENOUGH_S = preload.TOO_LONG_S = 600  # However slow this machine is.
import lambda_image.handler
files = {{}}
for name, module in list(sys.modules.items()):
    path = getattr(getattr(module, "__spec__", None), "origin", None)
    if name.partition(".")[0] not in sys.stdlib_module_names and path and os.path.isfile(path):
        files[name] = os.path.getsize(path)
os.write(1, b"\\n" + json.dumps(files).encode() + b"\\n")
os._exit(0)
"""
_IMPORT = f"{_AS_IN_THE_IMAGE}; import lambda_image.handler, os; os._exit(0)"
_TIMED = re.compile(r"import time: +(\d+) \| +(\d+) \|( +)(\S+)")


@dataclass(frozen=True)
class Timed:
    """The import of one module.

    Attributes:
        own_us: Without what it imported itself, in microseconds.
        all_us: With that.
        by: The module that imported it; empty for the first ones.
    """

    name: str
    own_us: int
    all_us: int
    by: str


def package_of(module: str) -> str:
    """What a module is counted under: its distribution's package, or its part of Airflow."""
    names = module.split(".")
    return ".".join(names[:2]) if names[0] == "airflow" else names[0]


def loaded(python: Path, folder: Path) -> dict[str, int]:
    """Every module that the init phase leaves loaded, with the bytes of its file."""
    return dict(json.loads(run(python, folder, "-c", _COUNT).stdout.splitlines()[-1]))


def packages(modules: Mapping[str, int]) -> dict[str, int]:
    """How many modules each package has."""
    return dict(sorted(Counter(map(package_of, modules)).items()))


def timed(python: Path, folder: Path) -> list[Timed]:
    """Every import of the init phase, in the order in which they began."""
    lines = run(python, folder, "-X", "importtime", "-c", _IMPORT).stderr.splitlines()
    stack: list[str] = []
    found = []
    # A module follows what it imports, and is indented less.
    for own, whole, indent, name in map(
        re.Match.groups, filter(None, map(_TIMED.match, lines[::-1]))
    ):
        del stack[(len(indent) - 1) // 2 :]
        found.append(Timed(name, int(own), int(whole), stack[-1] if stack else ""))
        stack.append(name)
    return found[::-1]


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the image's Python as Lambda does, in an environment without tasks."""
    (folder / "dags").mkdir(exist_ok=True)
    return subprocess.run(
        [python, *arguments],
        env={
            **image_variables(),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "https://localhost:1/execution/",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_REGION": "eu-west-1",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{installed(folder / 'site')}",
            "TMPDIR": str(folder),
        },
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )
