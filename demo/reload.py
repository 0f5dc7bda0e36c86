"""`python -m demo.reload`: brings changes of a DAG folder to the functions of `make local`.

Uploads the folder after each change, and afterwards asks Airflow which files it cannot import. Its
log has everything; the terminal of `make local` gets the errors and their ends, one line each.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import watchfiles

from demo.installation import dag_uploads
from demo.installation.own_project import ProjectError
from demo.outcome.airflow_api import Api, RunsError
from lambda_executor.contract.errors import LambdaExecutorError

#: How long after a change Airflow is asked for import errors. A large repository is read slowly.
LOOK_FOR_S = 60.0
TICK_MS = 1000


def news(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A line for each import error that is new, and for each that is gone; both by file."""
    broken = [
        f"{file} cannot be imported: {_reason(error)}"
        for file, error in sorted(now.items())
        if before.get(file) != error
    ]
    repaired = [
        f"{file} has no import error any more" for file in sorted(before.keys() - now.keys())
    ]
    return broken + repaired


def fingerprint(paths: Iterable[Path]) -> dict[str, int]:
    """The times of change of these files and of those below these folders."""
    found = {}
    for path in paths:
        for file in path.rglob("*.py") if path.is_dir() else (path,):
            with contextlib.suppress(OSError):
                found[str(file)] = file.stat().st_mtime_ns
    return found


@dataclass
class Reload:
    """Follows one folder.

    Attributes:
        fixed: Files and folders whose changes need a restart.
    """

    folder: Path
    uri: str
    airflow_url: str
    fixed: Sequence[Path]
    terminal: TextIO | None
    _errors: dict[str, str] = field(default_factory=dict, init=False)
    _failure: str = field(default="", init=False)

    def follow(self) -> None:
        """Upload and report until this process is ended."""
        look_until_s, is_uploaded, before = 0.0, False, fingerprint(self.fixed)
        ticks = watchfiles.watch(self.folder, rust_timeout=TICK_MS, yield_on_timeout=True)
        for changes in ticks:
            if changes or not is_uploaded:
                is_uploaded = self._upload()
                look_until_s = time.monotonic() + LOOK_FOR_S
            if time.monotonic() < look_until_s:
                self._look()
            if (now := fingerprint(self.fixed)) != before:
                changed = sorted(dict(now.items() ^ before.items()))
                before = now
                self._tell(
                    f"{', '.join(changed)} changed: `make local-down`, then `make local` again, "
                    "brings it to Airflow and to the functions"
                )

    def _upload(self) -> bool:
        try:
            for line in dag_uploads.upload(self.folder, self.uri):
                print(line, flush=True)
        except (OSError, ProjectError, LambdaExecutorError) as e:
            if str(e) != self._failure:
                self._failure = str(e)
                self._tell(f"not uploaded, the functions keep the last version: {e}")
            return False
        self._failure = ""
        return True

    def _look(self) -> None:
        try:
            with Api(self.airflow_url) as api:
                errors = api.import_errors()
        except (RunsError, OSError) as e:
            print(f"Airflow does not say which files it cannot import: {e}", flush=True)
            return
        for line in news(self._errors, errors):
            self._tell(line)
        self._errors = errors

    def _tell(self, line: str) -> None:
        print(line, flush=True)
        with contextlib.suppress(OSError):  # The terminal may be closed by now.
            if self.terminal:
                print(f"\r\n{line}\r", file=self.terminal, flush=True)


def command(folder: Path, uri: str, airflow_url: str, fixed: Iterable[Path]) -> list[str | Path]:
    """The arguments of a process that follows a folder and reports on this terminal, if any."""
    terminal = ("--terminal", os.ttyname(2)) if sys.stderr.isatty() else ()
    restart = [word for path in fixed for word in ("--fixed", str(path))]
    options = ["--folder", str(folder), "--uri", uri, "--airflow", airflow_url]
    return [sys.executable, "-m", "demo.reload", *options, *restart, *terminal]


def main() -> None:
    """Follow the folder of the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.reload")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--airflow", required=True)
    parser.add_argument("--fixed", type=Path, action="append", default=[])
    parser.add_argument("--terminal", type=Path)
    given = parser.parse_args()
    terminal = None
    if given.terminal:
        with contextlib.suppress(OSError):
            descriptor = os.open(given.terminal, os.O_WRONLY | os.O_NOCTTY)
            terminal = os.fdopen(descriptor, "w")
    Reload(given.folder, given.uri, given.airflow, given.fixed, terminal).follow()


def _reason(error: str) -> str:
    """The last line of a traceback."""
    return next((line.strip() for line in reversed(error.splitlines()) if line.strip()), "?")


if __name__ == "__main__":
    main()
