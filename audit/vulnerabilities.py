"""Known vulnerabilities of `uv.lock` and `package-lock.json`.

`uv audit` asks OSV (https://osv.dev), `npm audit` the npm registry. A source that cannot be asked
is an error of its own: no answer must never look like an answer without findings.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.policy import Accepted
from audit.shipped import ROOT, UV

#: What of the lock is asked about: what is shipped or runs on a developer's machine. The other
#: groups are older Airflows, which the tests compare with and which nobody gets from here.
SELECTIONS: Mapping[str, tuple[str, ...]] = {
    "executor, constructs, stacks and development": (),
    "image": ("--only-group", "image"),
    "native client": ("--only-group", "native"),
    "embedded AWS": ("--only-group", "local-aws"),
    "fuzzer": ("--only-group", "fuzz"),
}


class SourceError(Exception):
    """A source of vulnerabilities gave no usable answer, so nothing is known."""


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """One known vulnerability of one package.

    Attributes:
        package: The name and version of the package.
        ids: Its ids: the source's own one and those of others.
        summary: What it is.
        fixed_in: The versions without it; empty: there is none yet.
    """

    package: str
    ids: tuple[str, ...]
    summary: str
    fixed_in: tuple[str, ...] = ()

    def __str__(self) -> str:
        fix = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "not fixed yet"
        return f"{self.package}: {', '.join(self.ids)}: {self.summary} ({fix})"


def of_uv(selection: Sequence[str], service_url: str | None = None) -> Sequence[Vulnerability]:
    """Ask about a part of `uv.lock`.

    Args:
        selection: The arguments of uv that select it.
        service_url: The address of OSV's API; None: the public one.

    Raises:
        SourceError: OSV cannot be asked, or uv is missing.
    """
    where = ("--service-url", service_url) if service_url else ()
    answer = _run(
        *(str(UV), "audit", "--frozen", "--preview-features", "audit-command,json-output"),
        *("--output-format", "json", *where, *selection),
    )
    if answer.returncode not in (0, 1):
        causes = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
        raise SourceError(f"OSV could not be asked about uv.lock: {'; '.join(causes)}")
    return parsed_uv(answer.stdout)


def of_npm() -> Sequence[Vulnerability]:
    """Ask about `package-lock.json`.

    Raises:
        SourceError: The registry cannot be asked, or npm is missing.
    """
    return parsed_npm(_run("npm", "audit", "--json").stdout)


def parsed_uv(text: str) -> Sequence[Vulnerability]:
    """Read the report of `uv audit`.

    Raises:
        SourceError: It is none.
    """
    try:
        report = json.loads(text)
        if not report["summary"]["audited_packages"]:
            raise SourceError("uv audit has asked about no package at all")
        return [_of_osv(entry) for entry in report["vulnerabilities"]]
    except (ValueError, KeyError, TypeError) as e:
        raise SourceError(f"uv audit has no report, or one of another version: {e!r}") from e


def parsed_npm(text: str) -> Sequence[Vulnerability]:
    """Read the report of `npm audit`.

    Raises:
        SourceError: It is none: npm writes the error of a registry as JSON, too.
    """
    try:
        report = json.loads(text)
    except ValueError:
        report = None
    report = report if isinstance(report, dict) else {}
    if "auditReportVersion" not in report or not isinstance(report.get("vulnerabilities"), dict):
        said = report.get("message") or "it gave no report"
        raise SourceError(f"npm's registry could not be asked about package-lock.json: {said}")
    try:
        return [
            Vulnerability(
                f"{found['name']} {found.get('range', '')}".strip(),
                (str(cause.get("url", "")).rpartition("/")[2] or str(cause.get("source")),),
                str(cause.get("title")),
            )
            for found in report["vulnerabilities"].values()
            for cause in found["via"]
            # A text is the name of another package, which is listed, too.
            if isinstance(cause, dict)
        ]
    except (KeyError, TypeError, AttributeError) as e:
        raise SourceError(
            "npm's registry could not be asked about package-lock.json: npm audit has a report of "
            f"another version: {e!r}"
        ) from e


def judged(
    found: Iterable[Vulnerability], accepted: Sequence[Accepted], today: dt.date
) -> Iterator[str]:
    """Yield what is to be done: vulnerabilities that nobody accepts (any more)."""
    valid = {each.id: each for each in accepted}
    for vulnerability in found:
        entry = next((valid[id] for id in vulnerability.ids if id in valid), None)
        if entry is None:
            yield str(vulnerability)
        elif entry.until < today:
            yield f"{vulnerability}; it was accepted until {entry.until}: {entry.reason}"


def _of_osv(entry: Mapping[str, Any]) -> Vulnerability:
    dependency = entry["dependency"]
    return Vulnerability(
        f"{dependency['name']} {dependency['version']}",
        (str(entry["id"]), *map(str, entry.get("aliases") or ())),
        str(entry.get("summary") or "no summary"),
        tuple(map(str, entry.get("fix_versions") or ())),
    )


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError as e:
        raise SourceError(f"{Path(command[0]).name} could not be run: {e}") from e
