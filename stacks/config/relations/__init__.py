"""The relations that must hold between the values of a stage: one function each, in one table.

The name of a relation says what must hold, its docstring the reason; a paragraph that is a URL is
the source. For each violation it yields a message with both values, what is allowed and the fix.
Relations are checked only if every value is valid on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from stacks.config.relations import (
    control_plane,
    database,
    execution,
    functions,
    image,
    micro_vms,
    network,
    regions,
    shared_files,
    snapshots,
    surroundings,
    targets,
    workloads,
)

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig

Relation = Callable[["StageConfig"], Iterator[str]]

RELATIONS: tuple[Relation, ...] = (
    *functions.RELATIONS,
    *targets.RELATIONS,
    *shared_files.RELATIONS,
    *snapshots.RELATIONS,
    *workloads.RELATIONS,
    *execution.RELATIONS,
    *image.RELATIONS,
    *micro_vms.RELATIONS,
    *network.RELATIONS,
    *database.RELATIONS,
    *control_plane.RELATIONS,
    *surroundings.RELATIONS,
    *regions.RELATIONS,
)


class BrokenRelationsError(ValueError):
    """Values that are valid on their own but not together; `messages` has one per violation."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


def broken(stage: StageConfig) -> list[str]:
    """Return a message for each violation of a relation."""
    return [message for relation in RELATIONS for message in relation(stage)]
