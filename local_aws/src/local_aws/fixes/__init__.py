"""What ministack lacks or does unlike AWS, closed one small fix at a time.

Every module here is one fix. Its docstring says what AWS does and what ministack does; its
`apply` changes ministack in place, once, before it serves. `tests/contract` shows for each that
it works, and that ministack without it still needs it.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from local_aws.images.store import ImageStore

#: As `--without-fix` takes them; they are applied in this order.
NAMES: tuple[str, ...] = tuple(
    sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_")
)


def apply(images: ImageStore, *, without: frozenset[str]) -> None:
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
            import_module(f"{__name__}.{name}").apply(images)
