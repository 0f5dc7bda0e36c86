"""Removes from the installed packages what no program reads, and compiles the rest.

Runs once, while the image is built, right after the packages are installed; a program of its own,
standard library only. It must not know which packages there are, except two whose compiled files
are not worth their size. Decision 15 has the figures.
"""

from __future__ import annotations

import compileall
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from py_compile import PycInvalidationMode

#: Tests of packages, and what packages offer for tests of others: imported by tests alone.
TESTS = frozenset({"tests", "testing"})

#: What the extension modules beside them were compiled from, and type stubs.
SOURCES = frozenset({".c", ".cpp", ".h", ".hpp", ".pxd", ".pxi", ".pyi", ".pyx"})

#: Hundreds of languages, of which a process highlights one or two, and steps of the database that
#: run once: these compile when they are imported.
NOT_COMPILED = re.compile(r"/pygments/lexers/|/airflow/migrations/versions/")


def trim(site: Path) -> None:
    """Remove tests, C sources and type stubs below a folder of packages."""
    for folder in [path for path in site.glob("*/*/**/") if path.name in TESTS]:
        shutil.rmtree(folder, ignore_errors=True)  # It may be inside one that is gone already.
    for file in [path for path in site.glob("*/**/*") if path.suffix in SOURCES]:
        file.unlink()


def compile_all(site: Path) -> bool:
    """Compile what is left, so that an import looks at no time stamp.

    Builders may set every time stamp in an image to the same one; files compiled the usual way
    would all be out of date then, and every start would compile them again.
    """
    return bool(
        compileall.compile_dir(
            site,
            maxlevels=99,
            quiet=1,
            workers=0,  # as many as there are processors
            rx=NOT_COMPILED,
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
    )


def main() -> int:
    """Do both where this Python has its packages."""
    compiled = True
    for site in {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}:
        trim(site)
        compiled &= compile_all(site)
    return 0 if compiled else 1


if __name__ == "__main__":
    sys.exit(main())
