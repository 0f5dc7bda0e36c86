"""Removes from the installed packages what no program reads, and compiles the rest.

Part of the image's build; standard library only. It must not know which packages there are, except
two whose compiled files are not worth their size. Decision 15 has the figures.
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

#: Tests of packages, and what packages offer for tests of others: imported by tests alone.
TESTS = frozenset({"tests", "testing"})

#: What the extension modules beside them were compiled from, and type stubs.
SOURCES = frozenset({".c", ".cpp", ".h", ".hpp", ".pxd", ".pxi", ".pyi", ".pyx"})

#: Hundreds of languages, of which a process highlights one or two, and steps of the database that
#: run once: these compile when they are imported.
NOT_COMPILED = re.compile(r"/pygments/lexers/|/airflow/migrations/versions/")

#: The flags of such a file, https://peps.python.org/pep-0552/
_UNCHECKED_HASH = b"\x01"


def trim(site: Path) -> None:
    """Remove tests, C sources and type stubs below a folder of packages."""
    for folder in [path for path in site.glob("*/*/**/") if path.name in TESTS]:
        shutil.rmtree(folder, ignore_errors=True)  # It may be inside one that is gone already.
    for file in [path for path in site.glob("*/**/*") if path.suffix in SOURCES]:
        file.unlink()


def compile_all(site: Path) -> bool:
    """Compile what is not yet compiled so, that an import looks at no time stamp.

    Builders may set every time stamp in an image to the same one; files compiled the usual way
    would all be out of date then, and every start would compile them again.
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
