"""What must not be in a snapshot, and how much time an init phase has that ends in one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lambda_image.dags import preload
from lambda_image.machine import snapshot


def test_a_function_without_snapshots_begins_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is registered, and nothing was restored."""
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    begun: list[str] = []
    taken = snapshot.Snapshot()
    taken.then(lambda: begun.append("init"), lambda: begun.append("restored"))
    assert begun == ["init"]
    assert taken.restore_ms() is None


def test_an_init_phase_that_ends_in_a_snapshot_has_more_time() -> None:
    """More of the DAG files' imports are in the snapshot than a cold start has time for."""
    program = "from lambda_image.dags import preload; print(preload.TOO_LONG_S)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start", "PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    assert preload.TOO_LONG_S < 10
    assert 10 < float(done.stdout) < snapshot.INIT_LIMIT_S
