"""The names of resources as construct ids and outputs have them."""

from __future__ import annotations


def in_ids(name: str) -> str:
    """Return a name with hyphens without them: `large-memory` becomes `LargeMemory`."""
    return name.title().replace("-", "")
