"""The licences of what is shipped, from the metadata of installed packages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from license_expression import ExpressionError, Licensing, get_spdx_licensing
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from audit.policy import Licences

#: Names that packages use in the fields that are not SPDX, and classifiers: what they mean.
_NAMES = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
_CLASSIFIER = "License :: OSI Approved :: "


def faults(
    packages: Iterable[Requirement], installed: Mapping[str, Distribution], licences: Licences
) -> Iterator[str]:
    """Yield what is wrong with the licences of packages.

    Args:
        packages: What is shipped, with its versions. Those are left out that their markers make
            packages of other systems, or of other versions of Python: they are not installed here.
        installed: What is installed here, by normalised name.
        licences: What may be shipped.
    """
    for package in packages:
        name = package.name
        if package.marker and not package.marker.evaluate():
            continue
        found = installed.get(canonicalize_name(name))
        if found is None or not package.specifier.contains(found.version, prereleases=True):
            here = f"{found.version} is" if found else "no version is"
            version = str(package.specifier).removeprefix("==")
            yield f"{name}: the licence of {version} was not looked at, because {here} installed"
            continue
        licence = licences.of_packages.get(name) or of(found)
        if not licence:
            yield f"{name}: its metadata does not say its licence: add it to licence-of"
        elif not is_allowed(licence, licences.allowed):
            yield f"{name}: its licence is {licence!r}, which is not allowed"


def of(package: Distribution) -> str:
    """Return the licence of an installed package, as an expression of SPDX if it can be one."""
    metadata = package.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classifiers = [
        text.removeprefix(_CLASSIFIER)
        for text in metadata.get_all("Classifier") or ()
        if text.startswith(_CLASSIFIER)
    ]
    given = metadata["License"].strip() if "License" in metadata else ""
    is_name = given and "\n" not in given  # Some have the whole text there.
    names = [given] if is_name and given.upper() != "UNKNOWN" else classifiers
    # Several classifiers do not say whether one may choose, so that all of them count.
    return " AND ".join(_NAMES.get(name.lower(), name) for name in names)


def is_allowed(expression: str, allowed: frozenset[str]) -> bool:
    """Whether an expression of SPDX allows what it covers to be shipped.

    A licence with an exception is one of its own, such as `Apache-2.0 WITH LLVM-exception`. What is
    no expression is not allowed.
    """
    try:
        parsed = _spdx().parse(expression)
    except ExpressionError:
        return False
    return parsed is not None and _is_allowed(parsed, allowed)


@cache
def _spdx() -> Licensing:
    return get_spdx_licensing()


def _is_allowed(parsed: Any, allowed: frozenset[str]) -> bool:  # noqa: ANN401 - its classes have no types
    if isinstance(parsed, _spdx().OR):
        return any(_is_allowed(each, allowed) for each in parsed.args)
    if isinstance(parsed, _spdx().AND):
        return all(_is_allowed(each, allowed) for each in parsed.args)
    return str(parsed) in allowed


def installed(venv: Path) -> Mapping[str, Distribution]:
    """Return what a virtual environment has, by normalised name."""
    folders = [str(path) for path in venv.glob("lib/python3*/site-packages")]
    return {canonicalize_name(each.name): each for each in distributions(path=folders)}


def npm_faults(lock: Path, licences: Licences) -> Iterator[str]:
    """Yield what is wrong with the licences of `package-lock.json`, which has them itself."""
    for path, entry in json.loads(lock.read_text())["packages"].items():
        if path and not is_allowed(str(entry.get("license", "")), licences.allowed):
            yield f"{path}: its licence is {entry.get('license')!r}, which is not allowed"
