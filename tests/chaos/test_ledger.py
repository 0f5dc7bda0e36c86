"""The ledger's state machine, at length: ten thousand histories without a double settlement."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.unit.test_ledger import LedgerMachine

TestLedgerAtLength = LedgerMachine.TestCase
TestLedgerAtLength.settings = settings(
    max_examples=10_000,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
