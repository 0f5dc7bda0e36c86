"""The rate of sends, in a simulation of a whole minute: its clock is virtual, its chance seeded."""

from __future__ import annotations

import heapq
import itertools
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

from lambda_executor.contract.errors import ThrottledError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core import apis
from lambda_executor.core.apis import Api
from lambda_executor.core.backlog import Waiting
from lambda_executor.core.dispatch import Dispatch, Envelope
from lambda_executor.core.dispatch_queue import DispatchQueue
from lambda_executor.core.targets import FunctionTarget

#: Whether Lambda takes a call that arrives at a point in time.
Takes = Callable[[float], bool]

LATENCY_S = 0.02


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of a simulation.

    Attributes:
        per_s: The invocations that Lambda took, per second.
        throttled: The share of sends that Lambda throttled.
    """

    per_s: float
    throttled: float


class Bucket:
    """A hard limit as AWS has it: a token bucket, full at the beginning.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/throttling.html
    """

    def __init__(self, per_s: float, size: float) -> None:
        self._per_s = per_s
        self._size = self._tokens = size
        self._at_s = 0.0

    def __call__(self, now_s: float) -> bool:
        """Take a token, if there is one."""
        earned = (now_s - self._at_s) * self._per_s
        self._tokens, self._at_s = min(self._size, self._tokens + earned), now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def chance(share: float, seed: int) -> Takes:
    """Throttle a share of the calls, whatever their rate: others use up the account's limit."""
    drawn = random.Random(seed)
    return lambda _now_s: drawn.random() >= share


def simulate(  # noqa: PLR0913 - each is one condition of the sends
    takes: Takes,
    count: int,
    latency_s: float,
    seed: int = 0,
    *,
    api: Api = apis.LAMBDA,
    slowest: float = 4 / 3,
) -> Figures:
    """Send `count` invocations that are pending at second 0, each until the API takes it.

    Args:
        takes: The API.
        count: The number of invocations.
        latency_s: The fastest round trip.
        seed: Of the round trips and of the queue's jitter.
        api: What is known of the API.
        slowest: The slowest round trip, as a multiple of the fastest.
    """
    drawn, number = random.Random(seed), itertools.count()
    queue = DispatchQueue(1, most_under_way=256, api=api, uniform=drawn.uniform)
    for id in range(count):
        queue.push(Dispatch(InvocationId(str(id)), lambda: Envelope(FunctionTarget("f"), b"")), 0)
    #: By time: a send that arrives, or an answer that does (whether it was taken).
    under_way: list[tuple[float, int, bool | None, Waiting]] = []
    now_s, taken, throttled = 0.0, 0, 0
    while taken < count:
        while waiting := queue.pop(now_s):
            arrives_s = now_s + latency_s * drawn.uniform(1, slowest) / 2
            heapq.heappush(under_way, (arrives_s, next(number), None, waiting))
        wait_s = queue.wait_s(now_s)
        if wait_s is not None and (not under_way or now_s + wait_s < under_way[0][0]):
            now_s += max(wait_s, 1e-9)
            continue
        arrives_s, order, is_taken, waiting = heapq.heappop(under_way)
        if is_taken is None:
            answer_s = 2 * arrives_s - waiting.popped_s
            heapq.heappush(under_way, (answer_s, order, takes(arrives_s), waiting))
            now_s = arrives_s
            continue
        now_s = arrives_s
        if is_taken:
            queue.succeeded(waiting, now_s)
            taken += 1
        else:
            assert queue.failed(waiting, ThrottledError("429"), now_s) is None
            throttled += 1
    return Figures(taken / now_s, throttled / (taken + throttled))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep no log of thousands of throttles."""
    caplog.set_level(logging.CRITICAL, "lambda_executor")


def check_random_throttles(share: float, latency_s: float, seeds: Iterable[int]) -> None:
    """Throttles that a lower rate would not avoid leave at least a quarter of the rate."""
    free = simulate(chance(0, 0), 4000, latency_s)
    rates = [simulate(chance(share, seed), 4000, latency_s, seed).per_s for seed in seeds]
    print(f"{latency_s} s, {share:.0%} throttled: {min(rates):.0f}/s of {free.per_s:.0f}/s")  # noqa: T201 - shown by `pytest -s`
    assert min(rates) >= free.per_s / 4


def check_hard_limit(size: float, latency_s: float, seeds: Iterable[int]) -> None:
    """At 100 calls per second at most 5 % of the sends fail, and most of the limit is used."""
    runs = [simulate(Bucket(100, size), 3000, latency_s, seed) for seed in seeds]
    throttled, per_s = max(run.throttled for run in runs), min(run.per_s for run in runs)
    print(f"{latency_s} s, bucket of {size}: {throttled:.1%} failed, {per_s:.0f}/s of 100/s")  # noqa: T201 - shown by `pytest -s`
    assert throttled <= 0.05
    assert per_s >= 70


def test_random_throttles_leave_a_quarter_of_the_rate() -> None:
    """If 25 % of the sends are throttled at any rate, a quarter of the full rate is left."""
    check_random_throttles(0.25, LATENCY_S, range(2))


@pytest.mark.parametrize("size", [10, 100])
def test_a_hard_limit_is_used_and_kept(size: float) -> None:
    """At a limit of 100 calls per second at most 5 % of the sends fail, those of the start too."""
    check_hard_limit(size, LATENCY_S, range(2))


def test_a_limit_of_nothing_is_asked_ever_less_often() -> None:
    """While Lambda takes nothing, few sends are made; once it takes calls again, the rate rises."""
    calls: list[float] = []

    def takes(now_s: float) -> bool:
        calls.append(now_s)
        return now_s > 60

    run = simulate(takes, 2000, LATENCY_S)
    assert sum(30 <= now_s <= 60 for now_s in calls) <= 5
    assert run.per_s >= 2000 / 120


@pytest.mark.parametrize("latency_s", [0.045, 0.3])
@pytest.mark.parametrize("api", apis.JOBS.values(), ids=lambda api: api.name)
def test_launches_come_at_the_rate_of_their_service(api: Api, latency_s: float) -> None:
    """However much one takes longer than another: it must not hold up the next."""
    bucket = Bucket(api.most_per_s, api.most_per_s)
    # The last answers are counted too, so that a minute shows the rate.
    run = simulate(bucket, int(60 * api.most_per_s), latency_s, api=api, slowest=3)
    assert run.per_s >= 0.95 * api.most_per_s
    assert run.throttled <= 0.01
