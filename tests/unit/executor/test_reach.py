"""When boto3 makes the calls that awscrt could not."""

from __future__ import annotations

from lambda_executor.aws.reach import MOST_RESCUES, PAUSE_S, Reach


class Clock:
    """A time that is set."""

    now_s = 1000.0

    def __call__(self) -> float:
        """Return it."""
        return self.now_s


def outage(reach: Reach) -> bool:
    """AWS is not reached by awscrt, but by boto3; return whether boto3 makes all calls now."""
    attempt = reach.attempt()
    assert attempt is not None
    reach.not_sent(attempt)
    assert reach.attempt() is None
    return reach.rescued(succeeded=True)


def test_late_failures_of_one_outage_count_once() -> None:
    """After boto3 got through, what had begun before it says nothing."""
    reach = Reach(Clock())
    begun = reach.attempt()
    assert begun is not None
    assert not outage(reach)
    for _ in range(MOST_RESCUES):
        reach.not_sent(begun)
        assert reach.attempt() is not None
        assert not reach.rescued(succeeded=True)


def test_awscrt_is_tried_again_after_a_pause() -> None:
    """If it still reaches nothing, one more rescue is enough for the next pause."""
    clock = Clock()
    reach = Reach(clock)
    assert [outage(reach) for _ in range(MOST_RESCUES)] == [False] * (MOST_RESCUES - 1) + [True]
    clock.now_s += PAUSE_S - 1
    assert reach.attempt() is None
    clock.now_s += 1
    assert outage(reach)
    clock.now_s += PAUSE_S
    assert reach.attempt() is not None
    reach.answered()
    assert not outage(reach)


def test_an_outage_of_both_does_not_count() -> None:
    """boto3 did not get through either, so awscrt is not the reason."""
    reach = Reach(Clock())
    for _ in range(10):
        attempt = reach.attempt()
        assert attempt is not None
        reach.not_sent(attempt)
        assert not reach.rescued(succeeded=False)
