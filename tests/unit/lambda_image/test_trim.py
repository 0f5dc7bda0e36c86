"""Which files of the image's packages are removed, and how the rest is compiled."""

from __future__ import annotations

import compileall
import importlib.util
from pathlib import Path

import pytest

from lambda_image.packaging import build, trim

UNCHECKED_HASH = 1


def write(site: Path, *files: str) -> None:
    """Make empty files and their folders."""
    for name in files:
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text("")


def test_tests_sources_and_stubs_go_and_all_else_stays(tmp_path: Path) -> None:
    """Nested tests are removed too; a package that is itself called tests stays."""
    kept = ("p/__init__.py", "p/data.json", "p/py.typed", "tests/__init__.py", "p/attests/a.py")
    gone = ("p/tests/a.py", "p/tests/testing/b.py", "p/testing/c.py", "p/x.pyx", "p/x.c", "p/x.pyi")
    write(tmp_path, *kept, *gone)
    trim.trim(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(kept)


def test_an_import_looks_at_no_time_stamp(tmp_path: Path) -> None:
    """Every module has an unchecked hash, except for those that are rarely imported."""
    write(tmp_path, "p/__init__.py", "pygments/lexers/python.py")
    assert trim.compile_all(tmp_path)
    compiled = Path(importlib.util.cache_from_source(str(tmp_path / "p/__init__.py")))
    assert compiled.read_bytes()[4] == UNCHECKED_HASH
    assert not list(tmp_path.glob("pygments/**/*.pyc"))


def test_a_module_that_is_not_python_fails_the_build(tmp_path: Path) -> None:
    """The caller learns of a module that does not compile."""
    write(tmp_path, "p/__init__.py")
    (tmp_path / "p" / "broken.py").write_text("def:\n")
    assert not trim.compile_all(tmp_path)


def test_what_is_added_later_is_compiled_and_nothing_twice(tmp_path: Path) -> None:
    """A second layer compiles only the packages that it adds."""
    write(tmp_path, "p/__init__.py", "q/__init__.py")
    compileall.compile_file(tmp_path / "q" / "__init__.py", quiet=1)  # By its time stamp.
    assert trim.compile_all(tmp_path / "p")
    first = Path(importlib.util.cache_from_source(str(tmp_path / "p/__init__.py"))).stat()
    assert trim.compile_all(tmp_path)
    again, added = (
        Path(importlib.util.cache_from_source(str(tmp_path / name / "__init__.py")))
        for name in ("p", "q")
    )
    assert again.stat().st_ino == first.st_ino
    assert added.read_bytes()[4] == UNCHECKED_HASH


def test_packages_of_the_user_are_compiled_and_stay_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's packages keep their tests and may hold templates; ours may not."""
    monkeypatch.setattr("sysconfig.get_path", lambda _kind: str(tmp_path))
    monkeypatch.setenv("INSTALLER", "true")
    write(tmp_path, "p/testing/a.py")
    (tmp_path / "p" / "template.py").write_text("{{ name }} = :\n")
    build.requirements()
    assert list(tmp_path.glob("p/testing/__pycache__/a.*.pyc"))
    with pytest.raises(SystemExit, match=f"not every module in {tmp_path} compiles"):
        build.airflow("3.3.2")
    assert not (tmp_path / "p" / "testing").exists()
