"""Sampling of what a workload needs on a developer's machine."""

from __future__ import annotations

from typing import NoReturn

import pytest

from lambda_image.machine import consumption
from lambda_image.machine.consumption import Consumption


def test_a_failure_of_the_sampler_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise limits that nobody enforces any more would look as if they were kept."""

    def fail(_: Consumption) -> NoReturn:
        raise OSError("no more descriptors")

    monkeypatch.setattr(consumption, "_PERIOD_S", 0)
    monkeypatch.setattr(Consumption, "_sample", fail)
    with Consumption(512, is_enforced=True) as measured:
        measured._thread.join()
    assert measured.failure == "OSError: no more descriptors"
