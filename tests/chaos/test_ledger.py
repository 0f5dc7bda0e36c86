"""The ledger's state machine, at length: ten thousand histories without a double settlement."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.unit.executor.test_ledger import LedgerMachine


class LedgerMachineAtLength(LedgerMachine):
    """The same machine: a class of its own, because its settings are its class's."""


TestLedgerAtLength = LedgerMachineAtLength.TestCase
TestLedgerAtLength.settings = settings(
    max_examples=10_000,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
