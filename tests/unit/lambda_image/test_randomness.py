"""Generators of random numbers that libraries have seeded once."""

from __future__ import annotations

import random
import sys
import types

import pytest

from lambda_image.machine import randomness


@pytest.mark.parametrize("name", ["numpy.random", "torch"])
def test_the_generator_of_a_library_is_seeded_anew(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Two copies of one state draw different numbers."""
    generator = random.Random(1)
    library = types.ModuleType(name)
    vars(library).update(seed=generator.seed)
    monkeypatch.setitem(sys.modules, name, library)
    drawn = []
    for _ in range(2):
        generator.seed(1)
        randomness.renew()
        drawn.append(generator.random())
    assert drawn[0] != drawn[1]


def test_a_module_that_only_has_the_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task begins with the renewal, and it would end every task."""
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    randomness.renew()
