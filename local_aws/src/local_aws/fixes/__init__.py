"""Fixes for what ministack lacks or does differently from AWS.

Every module of the sub-packages is one fix. Its docstring says what AWS does and what ministack
does; its `apply` changes ministack before it serves. `tests/contract` shows for each fix that it
works and that ministack still needs it.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

#: The module of each fix, by the name that `--without-fix` takes.
_MODULES: dict[str, str] = {
    module.name.rpartition(".")[2]: module.name
    for module in pkgutil.walk_packages(__path__, f"{__name__}.")
    if not module.ispkg and "._" not in module.name
}
#: The fixes are applied in this order.
NAMES: tuple[str, ...] = tuple(sorted(_MODULES))


def apply(*, without: frozenset[str]) -> None:
    """Apply every fix but those named; `all` names all.

    Raises:
        ValueError: There is no fix of that name.
    """
    if unknown := without - {*NAMES, "all"}:
        raise ValueError(
            f"there is no fix {', '.join(sorted(unknown))}: choose from {', '.join(NAMES)}"
        )
    for name in NAMES:
        if name not in without and "all" not in without:
            import_module(_MODULES[name]).apply()
