"""Audits what is shipped: `python -m audit [--prune PACKAGE]...`.

Writes a bill of materials for each part to `build/audit/`. The exit code is 1 if there is something
to do, and 2 if a source of vulnerabilities could not be asked, whatever else was found.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Sequence

from audit import licences, policy, vulnerabilities
from audit.shipped import ROOT, parts
from audit.vulnerabilities import SourceError, Vulnerability

BUILD = ROOT / "build" / "audit"


def main(arguments: Sequence[str]) -> int:
    """Audit, print what was found, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m audit", description=__doc__)
    parser.add_argument("--prune", action="append", default=[], metavar="PACKAGE")
    parser.add_argument("--service-url", help="another address of OSV's API")
    given = parser.parse_args(arguments)
    to_do = [*_licences(given.prune)]
    found, unasked = _vulnerabilities(given.service_url)
    accepted = policy.accepted(ROOT / "audit" / "accepted.toml")
    to_do += vulnerabilities.judged(found, accepted, dt.datetime.now(dt.UTC).date())
    for text in dict.fromkeys((*to_do, *unasked)):
        print(f"  * {text}")
    if unasked:
        print(
            "Not known: the vulnerabilities above could not be looked up. This is no clean audit."
        )
        return 2
    print(f"{len(to_do)} to do" if to_do else "Nothing to do")
    return 1 if to_do else 0


def _licences(pruned: Sequence[str]) -> Sequence[str]:
    """Write the bills of materials, and return what is wrong with licences."""
    allowed = policy.licences(ROOT / "pyproject.toml")
    faults = [*licences.npm_faults(ROOT / "package-lock.json", allowed)]
    BUILD.mkdir(parents=True, exist_ok=True)
    for part in parts(pruned):
        packages, bill = part.packages(), BUILD / f"{part.name}.cdx.json"
        bill.write_text(part.bill())
        count = len({package.name for package in packages})
        print(f"{part.name}: {count} packages, {bill.relative_to(ROOT)}")
        installed = licences.installed(ROOT / part.venv)
        faults += [
            f"{part.name}: {fault}" for fault in licences.faults(packages, installed, allowed)
        ]
    return faults


def _vulnerabilities(service_url: str | None) -> tuple[list[Vulnerability], list[str]]:
    """Return what is known, and what could not be asked."""
    found: list[Vulnerability] = []
    unasked = []
    try:
        for name, selection in vulnerabilities.SELECTIONS.items():
            found += _told(name, vulnerabilities.of_uv(selection, service_url))
    except SourceError as e:
        unasked.append(str(e))
    try:
        found += _told("CDK CLI", vulnerabilities.of_npm())
    except SourceError as e:
        unasked.append(str(e))
    return found, unasked


def _told(name: str, found: Sequence[Vulnerability]) -> Sequence[Vulnerability]:
    print(f"{name}: {len(found)} known vulnerabilities")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
