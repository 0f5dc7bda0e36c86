"""The engine's state machine, at length: ten thousand histories in which every promise is kept."""

from __future__ import annotations

from hypothesis import settings

from tests.unit.executor.test_engine_machine import EngineMachine


class EngineMachineAtLength(EngineMachine):
    """The same machine: a class of its own, because its settings are its class's."""


TestEngineAtLength = EngineMachineAtLength.TestCase
TestEngineAtLength.settings = settings(
    max_examples=10_000,
    stateful_step_count=40,
    deadline=None,
)
