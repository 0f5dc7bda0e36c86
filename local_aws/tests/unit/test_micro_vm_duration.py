"""How long a MicroVM lives, on a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from local_aws.micro_vm_service import micro_vm
from local_aws.micro_vm_service.micro_vm import EXPIRED, MicroVm, Run


def test_the_longest_duration_counts_from_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `startedAt` does: what the restore takes is not the workload's."""
    clock = SimpleNamespace(now_s=100.0)

    class Endless:
        """A process that is killed at the latest when somebody waits for its end."""

        exit_code = 137

        def wait(self, seconds: float | None) -> bool:
            clock.now_s += seconds or 0.0
            return seconds is None

        def kill(self) -> None:
            """Do nothing more."""

    def restore(*_: object) -> None:
        clock.now_s += 7

    image: Any = SimpleNamespace(
        hooks=SimpleNamespace(port=9000, enabled=lambda _: False),
        sandbox=lambda _: None,
        make_ready=restore,
    )
    monkeypatch.setattr(micro_vm, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    monkeypatch.setattr(micro_vm, "HookSocket", lambda _: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(micro_vm, "Container", lambda *_: Endless())
    states: list[tuple[str, str | None]] = []
    run = Run({"microvmId": "m"}, 60, {}, exit_delay_s=0)
    MicroVm(image, run, print, lambda *change: states.append(change)).live()
    assert states == [("RUNNING", None), ("TERMINATING", EXPIRED), ("TERMINATED", EXPIRED)]
    assert clock.now_s == 160
