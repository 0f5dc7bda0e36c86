"""The imports of DAG files that the init phase preloads."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import PRELOAD_DAG_IMPORTS
from lambda_image.dags import preload as dag_preload
from lambda_image.dags.preload import SKIP_VARIABLE, Import, imports_of, preload

Write = Callable[..., Path]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Install modules; uninstall them afterwards."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield lambda **modules: _write(folder, modules)
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def dags(tmp_path: Path) -> Write:
    """Write DAG files."""
    return lambda **files: _write(tmp_path / "dags", files)


def _write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


class Log:
    """Keeps the log lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, _level: str, event: str, /, **fields: Any) -> None:
        """Write one line."""
        self.lines.append((event, fields))


class BegunAgainError(Exception):
    """A second init phase was started."""


def restart(variable: str, value: str) -> NoReturn:
    """Stand in for the restart of the process."""
    raise BegunAgainError(variable, value)


def run(folder: Path, *, age_ms: float = 0.0) -> tuple[list[str], Log]:
    """Preload; returns the imported modules and the log."""
    log = Log()
    done = preload([folder], log, age_ms=lambda: age_ms, restart=restart)
    return [statement.module for statement in done], log


def test_only_what_runs_at_the_top_level_counts(dags: Write) -> None:
    """Imports of functions, relative ones and those for type checkers are left out."""
    folder = dags(
        a="""
import one.two, three as alias
from four.five import six, seven
from eight import *
from . import beside
from __future__ import annotations
if TYPE_CHECKING:
    import never
else:
    import nine
if typing.TYPE_CHECKING:
    import never
try:
    import ten
except ImportError:
    import never_either
with suppress(ImportError):
    import eleven
def function():
    import never
class Operator:
    import never
"""
    )
    assert {(each.module, each.names) for each in imports_of([folder])} == {
        ("one.two", ()),
        ("three", ()),
        ("four.five", ("seven", "six")),
        ("eight", ()),
        ("__future__", ("annotations",)),
        ("nine", ()),
        ("ten", ()),
        ("eleven", ()),
    }


def test_what_most_files_import_comes_first(dags: Write) -> None:
    """If time or memory runs out, only the least frequent imports are missing."""
    folder = dags(a="import rare\nimport common", b="import common", **{"deep/c": "import common"})
    assert imports_of([folder]) == [Import("common"), Import("rare")]


def test_a_file_that_does_not_parse_has_no_imports(dags: Write) -> None:
    """A file that does not parse is skipped: its task reports the error."""
    folder = dags(a="import one\n)", b="import two", c="x = '\0'", d="(" * 1000)
    assert imports_of([folder]) == [Import("two")]


def test_what_is_installed_is_imported_and_no_dag_file_is_run(
    installed: Write, dags: Write, tmp_path: Path
) -> None:
    """Installed modules and submodules are imported, and no DAG file runs."""
    package = {"package/__init__": "x = 1", "package/sub": "", "package/other": ""}
    installed(plain="", **package)
    ran = tmp_path / "ran"
    folder = dags(a=f"import plain\nfrom package import x, sub\nopen({str(ran)!r}, 'w')")
    assert sorted(run(folder)[0]) == ["package", "plain"]
    assert {"plain", "package.sub"} <= set(sys.modules)
    assert "package.other" not in sys.modules
    assert not ran.exists()


def test_the_users_own_modules_are_not_imported(
    installed: Write, dags: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of a DAG folder is not imported, even if an installed one has its name."""
    installed(shared="")
    folder = dags(a="import beside\nimport shared\nimport dags.beside", beside="", shared="")
    monkeypatch.syspath_prepend(folder.parent)  # As /var/task is, which holds the DAG folder.
    done, log = run(folder)
    assert (done, log.lines) == ([], [])
    assert {"beside", "shared", "dags", "dags.beside"}.isdisjoint(sys.modules)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('broken')", "ValueError: broken"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("import not_installed_anywhere", "ModuleNotFoundError"),
    ],
)
def test_a_module_that_fails_is_skipped_and_told(
    installed: Write, dags: Write, body: str, says: str
) -> None:
    """A failing module is logged, and the others are imported."""
    installed(fine="", faulty=body)
    done, log = run(dags(a="import faulty\nimport fine"))
    assert done == ["fine"]
    ((event, fields),) = log.lines
    assert event == "DAG imports not preloaded: tasks start slower"
    assert says in fields["modules"]["faulty"]


def test_what_is_not_installed_is_told(dags: Write) -> None:
    """A missing module is logged: the task that needs it will fail."""
    _, log = run(dags(a="import not_installed_anywhere"))
    assert "No module named" in log.lines[0][1]["modules"]["not_installed_anywhere"]


def test_a_module_that_prints_is_not_heard(
    installed: Write, dags: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output of an import is discarded: every line of the log is JSON."""
    installed(noisy="print('hello')\nimport sys; sys.stderr.write('you')")
    assert run(dags(a="import noisy"))[0] == ["noisy"]
    assert capsys.readouterr() == ("", "")


def test_a_module_that_takes_too_long_is_given_up(
    installed: Write, dags: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second init phase starts without it, even if the module catches the interrupt."""
    monkeypatch.setattr(dag_preload, "TOO_LONG_S", 0.05)
    # A line between the two: an exception at the start of a loop is looked up one instruction too
    # early on Python 3.12 (https://github.com/python/cpython/issues/108214).
    installed(
        slow="import threading\ntry:\n  threading.Event().wait(60)\nexcept: pass\n"
        "over = False\nwhile not over: pass"
    )
    with pytest.raises(BegunAgainError, match=f"{SKIP_VARIABLE}.*slow"):
        run(dags(a="import slow"))


def test_a_module_that_leaves_a_thread_is_given_up(
    installed: Write, dags: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second init phase starts without it and without the modules given up before."""
    monkeypatch.setenv(SKIP_VARIABLE, "earlier")
    installed(
        threaded="import threading\nover = threading.Event()\n"
        "threading.Thread(target=over.wait, daemon=True).start()"
    )
    with pytest.raises(BegunAgainError, match="earlier,threaded"):
        run(dags(a="import threaded"))
    sys.modules["threaded"].over.set()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and thread.daemon:
            thread.join(5)


def test_the_second_init_phase_leaves_out_what_the_first_gave_up(
    installed: Write, dags: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start logs the modules, and the variable does not reach the tasks."""
    monkeypatch.setenv(SKIP_VARIABLE, "slow")
    installed(slow="raise AssertionError", fine="")
    done, log = run(dags(a="import slow\nimport fine"))
    assert done == ["fine"]
    assert list(log.lines[0][1]["modules"]) == ["slow"]
    assert SKIP_VARIABLE not in os.environ


def test_an_init_phase_that_has_taken_long_imports_nothing_more(
    installed: Write, dags: Write
) -> None:
    """Imports stop in time, because Lambda ends an init phase after ten seconds."""
    installed(fine="")
    done, log = run(dags(a="import fine"), age_ms=dag_preload.ENOUGH_S * 1000 + 1)
    assert done == []
    assert "fine" not in sys.modules
    assert "the init phase has taken 6.0 s" in log.lines[0][1]["reason"]


def test_a_small_function_keeps_its_memory_for_the_task(
    installed: Write, dags: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No import starts once half of the memory is in use."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "16")
    installed(fine="")
    done, log = run(dags(a="import fine"))
    assert done == []
    assert log.lines[0][1]["reason"].endswith("of 16 MB are in use")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        *[(None, True), ("", True), ("True", True), ("1", True), ("yes", True)],
        *[("false", False), ("0", False), ("off", False)],
    ],
)
def test_it_can_be_switched_off(value: str | None, wanted: bool) -> None:
    """One of the function's variables switches preloading off."""
    environ = {} if value is None else {PRELOAD_DAG_IMPORTS.environment_variable: value}
    assert dag_preload.is_wanted(environ) is wanted


def test_a_switch_that_is_neither_is_named() -> None:
    """A value that is not a boolean fails the init phase with the allowed values."""
    with pytest.raises(ConfigError, match="is 'maybe': set it to True or False"):
        dag_preload.is_wanted({PRELOAD_DAG_IMPORTS.environment_variable: "maybe"})
