"""The relations that must hold between the values of a stage: one function each, in one table.

A relation's name says what must hold, its docstring why; a paragraph that is a URL is the source.
It yields a sentence for each way in which it is broken, with both values, what is allowed and the
fix. It is asked only when every value is fine by itself. It must not know the CDK, nor where the
values come from.
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
    network,
    regions,
    surroundings,
)

if TYPE_CHECKING:
    from stacks.config.stage import StageConfig

Relation = Callable[["StageConfig"], Iterator[str]]

RELATIONS: tuple[Relation, ...] = (
    *functions.RELATIONS,
    *execution.RELATIONS,
    *image.RELATIONS,
    *network.RELATIONS,
    *database.RELATIONS,
    *control_plane.RELATIONS,
    *surroundings.RELATIONS,
    *regions.RELATIONS,
)


class BrokenRelationsError(ValueError):
    """Values that are fine by themselves but not together.

    Attributes:
        sentences: One for each way in which a relation is broken.
    """

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("; ".join(sentences))
        self.sentences = sentences


def broken(stage: StageConfig) -> list[str]:
    """A sentence for each way in which a relation does not hold."""
    return [sentence for relation in RELATIONS for sentence in relation(stage)]
