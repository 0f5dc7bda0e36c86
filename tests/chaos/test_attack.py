"""Three hundred tasks under every fault, on the deployed stage: none lost, stuck or run twice."""

from __future__ import annotations

import os

import pytest

from demo import paths
from demo.screen import Screen
from tests.chaos.attack import table
from tests.chaos.attack.__main__ import replay
from tests.chaos.attack.oracle import violations
from tests.chaos.attack.run import Settings, run

pytestmark = pytest.mark.timeout(1500)

#: The one of `make test`. `make chaos` takes ten.
SEED = int(os.environ.get("ATTACK_SEED", "15"))


def test_three_hundred_tasks_under_attack() -> None:
    """The violations, if any, are in the message, each with the command that repeats it."""
    settings = Settings(seed=SEED, tasks=300)
    evidence = run(paths.Home(paths.ROOT / "build" / "attack"), settings, Screen())
    found = violations(evidence)
    assert not found, "\n".join(table.lines(found, replay(settings)))
    # An attack that does nothing shows nothing.
    assert not evidence.not_done
