"""Imports in the init phase what the DAG files import, so that the tasks' processes need not.

The DAG files are parsed, never run, and only installed modules are imported. A module in a DAG
folder may do anything on import and may change later, so it is left alone
(`docs/decisions/0014-preloading-dag-modules.md`). An import that fails is skipped. One that takes
too long or leaves a thread behind costs a second init phase without it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import io
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from lambda_executor.contract.options import PRELOAD_DAG_IMPORTS
from lambda_image.logs.invocation_log import WriteLog
from lambda_image.machine import environment, memory, snapshot, time_limit

#: Lambda ends an init phase after 10 s, unless it ends in a snapshot.
#: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
_INIT_LIMIT_S = snapshot.INIT_LIMIT_S if snapshot.is_taken() else 10.0
#: The process age at which no further import starts.
ENOUGH_S = 0.6 * _INIT_LIMIT_S
#: The process age at which a running import is given up.
TOO_LONG_S = 0.75 * _INIT_LIMIT_S

#: The share of the function's memory that this process may fill: a task needs the rest.
_MEMORY_SHARE = 0.5

#: Names the modules that the first init phase gave up, for the second one.
SKIP_VARIABLE = "_LAMBDA_IMAGE_SKIP_IMPORTS"

#: How many files of a DAG folder are parsed; one takes about 0.2 ms.
_MAX_FILES = 2000
#: Larger files are not parsed.
_MAX_FILE_BYTES = 1_000_000


class _HarmError(BaseException):
    """An import has left this process in a state that tasks must not inherit."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement: `import module`, or `from module import names`."""

    module: str
    names: tuple[str, ...] = ()


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the function's variables ask for preloading.

    Raises:
        ConfigError: The variable is not a boolean.
    """
    given = PRELOAD_DAG_IMPORTS.from_environment(environ)
    return PRELOAD_DAG_IMPORTS.default if given is None else given


def preload(
    folders: Sequence[Path],
    write_log: WriteLog,
    *,
    age_ms: Callable[[], float] = environment.process_age_ms,
    restart: Callable[[str, str], NoReturn] = environment.restart,
) -> list[Import]:
    """Import what the DAG files import at their top level; returns what was imported."""
    given_up = [name for name in os.environ.pop(SKIP_VARIABLE, "").split(",") if name]
    skipped = dict.fromkeys(given_up, "given up by the init phase before this one")
    done = []
    for statement in imports_of(folders):
        if reason := _reason_to_stop(age_ms()):
            write_log("info", "DAG imports not all preloaded: tasks start slower", reason=reason)
            break
        if statement.module in skipped or _is_in_a_folder(statement.module, folders):
            continue
        try:
            _load(statement, TOO_LONG_S - age_ms() / 1000)
        except _HarmError as e:
            write_log(
                "warning",
                "DAG import given up: the init phase begins again without it",
                module=statement.module,
                reason=str(e),
            )
            restart(SKIP_VARIABLE, ",".join([*given_up, statement.module]))
        except (Exception, SystemExit) as e:  # noqa: BLE001 - a module may raise anything
            skipped[statement.module] = f"{type(e).__name__}: {e}"
        else:
            done.append(statement)
    if skipped:
        write_log("warning", "DAG imports not preloaded: tasks start slower", modules=skipped)
    return done


def imports_of(folders: Sequence[Path]) -> list[Import]:
    """The top-level imports of the files in these folders, the most frequent first."""
    count: Counter[Import] = Counter()
    for folder in folders:
        for file in sorted(folder.rglob("*.py"))[:_MAX_FILES]:
            with contextlib.suppress(OSError, SyntaxError, ValueError, RecursionError, MemoryError):
                if file.stat().st_size <= _MAX_FILE_BYTES:
                    count.update(set(_statements(ast.parse(file.read_bytes()).body)))
    return [statement for statement, _ in count.most_common()]


def _statements(body: Sequence[ast.stmt]) -> Iterator[Import]:
    """The imports that run with the module; not those of functions or for type checkers."""
    for node in body:
        match node:
            case ast.Import(names=names):
                yield from (Import(alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                yield Import(module, tuple(sorted(a.name for a in names if a.name != "*")))
            case ast.If(test=test, body=then, orelse=otherwise):
                if "TYPE_CHECKING" not in ast.dump(test):
                    yield from _statements(then)
                yield from _statements(otherwise)
            case ast.Try(body=body_, orelse=otherwise, finalbody=finally_):
                yield from _statements([*body_, *otherwise, *finally_])
            case ast.With(body=body_):
                yield from _statements(body_)


def _reason_to_stop(age_ms: float) -> str | None:
    if age_ms > ENOUGH_S * 1000:
        return f"the init phase has taken {age_ms / 1000:.1f} s"
    limit_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    used_mb = memory.resident_mb()
    if limit_mb.isdigit() and used_mb > _MEMORY_SHARE * int(limit_mb):
        return f"{used_mb:.0f} of {limit_mb} MB are in use"
    return None


def _is_in_a_folder(module: str, folders: Sequence[Path]) -> bool:
    """Whether a module lies in a DAG folder, or contains one."""
    top = module.partition(".")[0]
    if any((folder / top).is_dir() or (folder / f"{top}.py").is_file() for folder in folders):
        return True
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return True
    if spec is None:
        return False
    origins = list(spec.submodule_search_locations or (spec.origin,))
    return any(
        Path(origin).is_relative_to(folder) or folder.is_relative_to(origin)
        for origin in origins
        if origin is not None
        for folder in folders
    )


def _load(statement: Import, seconds: float) -> None:
    """Import as the statement would, without output.

    Raises:
        _HarmError: The import took too long or left a thread behind.
    """
    threads = threading.active_count()
    discarded = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(discarded),
            contextlib.redirect_stderr(discarded),
            time_limit.until(time.monotonic() + seconds),
        ):
            module = importlib.import_module(statement.module)
            for name in statement.names:
                if not hasattr(module, name):
                    importlib.import_module(f"{statement.module}.{name}")
    except time_limit.OutOfTime:
        # A half-imported extension module cannot be imported again in the same process.
        raise _HarmError("it takes too long") from None
    finally:
        if threading.active_count() > threads:
            raise _HarmError("it leaves a thread, which a forked process would not have")
