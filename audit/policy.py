"""What is accepted: `audit/accepted.toml` and the licences of `[tool.audit]` in pyproject.toml."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class PolicyError(Exception):
    """What is written there cannot be used; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A known vulnerability that somebody has looked at and accepts for a while.

    Attributes:
        id: Its id, such as `GHSA-...`, `PYSEC-...` or `CVE-...`.
        reason: Why it is not mended now.
        until: The last day on which it is accepted.
    """

    id: str
    reason: str
    until: dt.date


@dataclass(frozen=True, slots=True)
class Licences:
    """Which licences may be shipped.

    Attributes:
        allowed: The identifiers of SPDX (https://spdx.org/licenses/).
        of_packages: The licence of packages whose metadata does not say it in a usable way.
    """

    allowed: frozenset[str]
    of_packages: Mapping[str, str]


def accepted(file: Path) -> Sequence[Accepted]:
    """Read the accepted vulnerabilities.

    Raises:
        PolicyError: An entry is incomplete.
    """
    found = []
    for entry in _read(file).get("accepted", []):
        match entry:
            case {"id": str(id), "reason": str(reason), "until": dt.date() as until} if reason:
                found.append(Accepted(id, reason, until))
            case _:
                raise PolicyError(
                    f"{file.name} has {entry!r}: an entry has an id, a reason and the date until "
                    "which it is accepted, such as until = 2026-12-31"
                )
    return found


def licences(file: Path) -> Licences:
    """Read the licences from pyproject.toml.

    Raises:
        PolicyError: There is no list.
    """
    table = _read(file).get("tool", {}).get("audit", {})
    allowed, of_packages = table.get("licences"), table.get("licence-of", {})
    if not isinstance(allowed, list) or not allowed or not isinstance(of_packages, dict):
        raise PolicyError(f"{file.name} has no list of licences in [tool.audit]")
    return Licences(frozenset(allowed), of_packages)


def _read(file: Path) -> dict[str, Any]:
    with file.open("rb") as source:
        return tomllib.load(source)
