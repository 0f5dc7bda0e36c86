"""A rate lets through a second's worth at once, and then as much as refills."""

from __future__ import annotations

from local_aws.batch_service.rate import Rate


def test_a_burst_is_as_large_as_a_second() -> None:
    """However long nothing was taken."""
    now_s = 0.0
    rate = Rate(2, lambda: now_s)
    now_s = 100.0
    assert [rate.take() for _ in range(3)] == [True, True, False]


def test_the_bucket_refills_continuously() -> None:
    """Half a second later there is half as much."""
    now_s = 0.0
    rate = Rate(2, lambda: now_s)
    assert [rate.take() for _ in range(3)] == [True, True, False]
    now_s = 0.5
    assert [rate.take(), rate.take()] == [True, False]
