"""Makes the import of Airflow cheaper, without a part of Airflow or of a task missing.

`docs/reference/imports.md` has what the init phase imports, and what each part costs.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LIBCST = "libcst"


class CSTTransformer:
    """Base of a class that gets libcst's own base as well when an instance is made."""

    def __new__(cls, *_args: object, **_options: object) -> Any:  # noqa: ANN401 - a subclass
        """Make an instance of a class that derives from `cls` and from libcst's base."""
        real = importlib.import_module(_LIBCST).CSTTransformer
        return object.__new__(type(cls.__name__, (cls, real), {}))


class _DeferredLibcst(types.ModuleType):
    """Stands for libcst until one of its other names is used."""

    CSTTransformer = CSTTransformer

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever libcst has
        if sys.modules.get(_LIBCST) is self:
            del sys.modules[_LIBCST]
        return getattr(importlib.import_module(_LIBCST), name)


@contextmanager
def imports() -> Iterator[None]:
    """Import cheaply what is imported in the body.

    - PyYAML reads with libyaml. Airflow reads its list of metrics with the loader that is written
      in Python, for a tenth of a second.
    - libcst is imported when it is used: by a task that sends its source code to another Python,
      as `@task.virtualenv` does. Airflow derives a class from it in a module that every task needs.
    """
    import yaml  # type: ignore[import-untyped] # noqa: PLC0415 - only in the init phase

    in_python, yaml.SafeLoader = yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    deferred = _DeferredLibcst(_LIBCST)
    sys.modules.setdefault(_LIBCST, deferred)
    try:
        yield
    finally:
        yaml.SafeLoader = in_python
        if sys.modules.get(_LIBCST) is deferred:
            del sys.modules[_LIBCST]
