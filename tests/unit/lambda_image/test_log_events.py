"""The events that a task's log file becomes in CloudWatch Logs."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lambda_image.logs.log_events import batches, events


def line(at: str, text: str = "x") -> bytes:
    """A line as Airflow writes it."""
    return json.dumps({"timestamp": at, "event": text}).encode() + b"\n"


def test_each_line_has_its_own_time() -> None:
    """A line without a time gets that of the line before; an empty line is dropped."""
    file = [line("2026-01-01T00:00:00.500Z"), b"Traceback\n", b"\n", line("2026-01-01T00:00:01Z")]
    assert [event["timestamp"] - 1_767_225_600_000 for event in events(file)] == [500, 500, 1000]


def test_time_never_goes_back() -> None:
    """Events are in order even if lines are not: CloudWatch refuses others."""
    file = [line("2026-01-01T00:00:02Z"), line("2026-01-01T00:00:01Z")]
    first, second = events(file)
    assert first["timestamp"] == second["timestamp"]


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=20))
def test_any_bytes_are_events(file: list[bytes]) -> None:
    """Events of any bytes are in order and never empty."""
    found = list(events(file))
    assert all(event["message"] for event in found)
    assert all(a["timestamp"] <= b["timestamp"] for a, b in pairwise(found))


def test_a_batch_is_as_large_as_allowed() -> None:
    """A batch has at most 10,000 events and 1 MiB, with 26 bytes added to each event."""
    many = list(batches(events([line("2026-01-01T00:00:00Z", str(n)) for n in range(10_001)])))
    assert [len(batch) for batch in many] == [10_000, 1]
    large = list(batches(events([b"x" * 300_000] * 9)))
    assert all(sum(len(event["message"]) + 26 for event in batch) <= 1_048_576 for batch in large)
    assert sum(len(batch) for batch in large) == 9
    assert max(len(event["message"]) for batch in large for event in batch) == 256 * 1024 - 26


def test_an_empty_log_is_no_call() -> None:
    """An empty log makes no batch: CloudWatch refuses one without events."""
    assert list(batches(events([]))) == []
