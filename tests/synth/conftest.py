"""One app per stage and session, because the CDK's start is slow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.synth.assembly import Assembly, inspected
from tests.synth.judge.rendered import Rendering
from tests.synth.variants import VARIANTS


@pytest.fixture(scope="session")
def assembly_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Assembly]:
    """The assembly of a variant by its name, synthesized once."""
    folder: Path = tmp_path_factory.mktemp("cdk")
    made: dict[str, Assembly] = {}

    def get(variant: str) -> Assembly:
        if variant not in made:
            stage, override = VARIANTS[variant]
            made[variant] = inspected(folder / variant, stage, override)
        return made[variant]

    return get


@pytest.fixture(params=VARIANTS)
def assembly(request: pytest.FixtureRequest, assembly_of: Callable[[str], Assembly]) -> Assembly:
    """The assembly of every stage in turn."""
    return assembly_of(request.param)


@pytest.fixture
def dev(assembly_of: Callable[[str], Assembly]) -> Assembly:
    """The assembly of the stage `dev`."""
    return assembly_of("dev")


@pytest.fixture(scope="session")
def renderings(assembly_of: Callable[[str], Assembly]) -> dict[str, Rendering]:
    """Every variant by its name, with all references resolved."""
    return {variant: Rendering(assembly_of(variant)) for variant in VARIANTS}


@pytest.fixture(params=VARIANTS)
def rendering(request: pytest.FixtureRequest, renderings: dict[str, Rendering]) -> Rendering:
    """Every stage in turn, with all references resolved."""
    return renderings[request.param]
