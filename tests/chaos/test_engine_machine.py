"""The engine's machine with longer histories: 10,000 in `make chaos`, a few hundred elsewhere."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.unit.executor.test_engine_machine import EngineMachine


class EngineMachineAtLength(EngineMachine):
    """The same machine: a class of its own, because its settings are its class's."""


TestEngineAtLength = EngineMachineAtLength.TestCase
TestEngineAtLength.settings = settings(
    max_examples=int(os.environ.get("HISTORIES", "300")),
    derandomize="HISTORIES" not in os.environ,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
