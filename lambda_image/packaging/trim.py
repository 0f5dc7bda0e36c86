"""Removes files that no program reads from the installed packages, and compiles the rest.

Standard library only. `docs/decisions/0015-what-is-in-the-image.md` has the figures.
"""

from __future__ import annotations

import compileall
import functools
import importlib.util
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from py_compile import PycInvalidationMode

#: Folders that only tests import.
TESTS = frozenset({"tests", "testing"})

#: Sources of extension modules, and type stubs.
SOURCES = frozenset({".c", ".cpp", ".h", ".hpp", ".pxd", ".pxi", ".pyi", ".pyx"})

#: Many large modules of which a process imports one or two, or which run once.
NOT_COMPILED = re.compile(r"/pygments/lexers/|/airflow/migrations/versions/")

#: The flags of a file compiled with `UNCHECKED_HASH`, https://peps.python.org/pep-0552/
_UNCHECKED_HASH = b"\x01"


def trim(site: Path) -> None:
    """Remove tests, C sources and type stubs below a folder of packages."""
    for folder in [path for path in site.glob("*/*/**/") if path.name in TESTS]:
        shutil.rmtree(folder, ignore_errors=True)  # It may be gone with its parent folder.
    for file in [path for path in site.glob("*/**/*") if path.suffix in SOURCES]:
        file.unlink()


def compile_all(site: Path) -> bool:
    """Compile all modules so that imports do not compare time stamps; returns whether all compile.

    Image builders may set all time stamps to one value: every start would then compile again.
    """
    missing = [
        source
        for source in site.rglob("*.py")
        if not NOT_COMPILED.search(str(source)) and not _is_compiled(source)
    ]
    compiled = functools.partial(
        compileall.compile_file,
        force=True,
        quiet=1,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
    with ProcessPoolExecutor() as pool:
        return all(pool.map(compiled, missing, chunksize=64))


def _is_compiled(source: Path) -> bool:
    compiled = Path(importlib.util.cache_from_source(str(source)))
    return compiled.exists() and compiled.read_bytes()[4:5] == _UNCHECKED_HASH
