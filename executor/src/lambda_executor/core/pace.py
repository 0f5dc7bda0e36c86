"""How fast to send, given the latency of an API's answers and how many of them are throttles.

The rate rises with every answer. When too many sends are throttled, it falls to the rate at which
the API took them. There it shows whether that was right: at a limit on our rate the throttles end.
If their share stays, the rate is not their reason (others use up the account's limit, for example),
so the rate rises again, and that share counts as usual.

An answer counts only if its send began after the last fall or rise of this kind, so there is at
most one in a round trip, as in TCP. By Little's law, calls under way = rate x latency. More calls
than that would only wait for a processor, and make the scheduler's thread wait too. That latency is
the fastest answer's, so with slower answers fewer calls begin than the rate allows. An API that
takes only a few calls a second keeps no processor busy: there the rate alone limits them.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from lambda_executor.core.apis import LAMBDA, Api

#: Invokes per second that are expected to be taken for each invocation that may run.
INVOKES_PER_PLACE = 10
#: Added to the rate by one answer: before the first throttle, and after it. At 100 calls per second
#: they add 500 and 5 each second.
RISE_PER_S = 5.0
SLOW_RISE_PER_S = 0.05
#: The share of throttles that is tolerated: this, and this many times the usual share.
TOLERATED = 0.03
TOLERATED_OF_USUAL = 1.5
#: Throttles beyond the tolerated share that make the rate fall. Fewer may be chance.
EXCESS = 6
#: The rate falls to a little less than was taken: a token bucket that is empty has to recover.
MARGIN = 0.9
#: Answers that show whether a lower rate helped. It did if next to no sends are throttled any more.
#: It did not if the share of throttles is the same but for chance; above a half it is never usual.
SAMPLE = 64
SAME = 0.6
MOST_USUAL = 0.5
#: The rate after the first fall that did not help, as a multiple of the rate before it.
LEAP = 3
#: The fastest of this many answers is the latency. The others also waited for a connection or a
#: processor.
WINDOW = 64
#: Seconds by which sends may be late without lowering the rate, if that is more than the time
#: between two of them: a thread does not wake in time.
LATE_S = 0.02


@dataclass(slots=True)
class _Sample:
    """Answers to sends that began since a point in time."""

    since_s: float = -math.inf
    answers: int = 0
    throttles: int = 0

    @property
    def share(self) -> float:
        """The share of throttles."""
        return self.throttles / self.answers


@dataclass(frozen=True, slots=True)
class _Fall:
    """The rate before it fell, and the share of throttles if the fall does not help."""

    per_s: float
    share: float


class Pace:
    """The rate of sends, and how many to keep under way.

    Args:
        most: The most calls under way.
        api: What takes them.

    Attributes:
        limit: The number of calls to keep under way, 1 to `most`.
        per_s: The rate, in calls per second.
    """

    def __init__(self, most: int, api: Api = LAMBDA) -> None:
        self._most = most
        self._most_per_s, self._least_per_s = api.most_per_s, api.least_per_s
        self._first_s = api.first_s
        self._latencies_s: deque[float] = deque(maxlen=WINDOW)
        self._next_s = -math.inf
        self._rise_per_s = RISE_PER_S
        self._sample = _Sample()
        self._fall: _Fall | None = None
        self._usual = 0.0
        self.per_s = api.first_per_s
        self.limit = self._limit()

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until the next call may begin."""
        return max(0.0, self._next_s - now_s)

    def began(self, now_s: float) -> None:
        """Record that a call begins."""
        interval_s = 1 / self.per_s
        # After a pause there is nothing to make up for.
        is_late = now_s - self._next_s <= max(LATE_S, interval_s)
        self._next_s = (self._next_s if is_late else now_s - LATE_S) + interval_s

    def expect(self, at_once: int) -> None:
        """Start faster if the functions may run so many invocations at once, until a throttle.

        Lambda's quota of synchronous invokes is ten a second for each of them, and it has none of
        asynchronous ones.
        https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
        """
        if self._rise_per_s == RISE_PER_S and self._fall is None:
            self._set(max(self.per_s, INVOKES_PER_PLACE * at_once))

    def answered(self, began_s: float, now_s: float) -> None:
        """Record the answer to a call that was not throttled."""
        self._latencies_s.append(now_s - began_s)
        self._set(self.per_s + self._rise_per_s)
        self._judge(began_s, now_s, is_throttled=False)

    def throttled(self, began_s: float, now_s: float) -> bool:
        """Record a throttle; return whether nothing at all is taken any more."""
        self._rise_per_s = SLOW_RISE_PER_S
        return self._judge(began_s, now_s, is_throttled=True)

    def _judge(self, began_s: float, now_s: float, *, is_throttled: bool) -> bool:
        sample = self._sample
        if began_s < sample.since_s:
            return False
        sample.answers += 1
        sample.throttles += is_throttled
        if self._fall:
            if sample.answers >= SAMPLE:
                self._judge_fall(self._fall, sample.share, now_s)
            return False
        excess = sample.throttles - sample.answers * (TOLERATED + TOLERATED_OF_USUAL * self._usual)
        if excess <= 0:
            self._sample = _Sample(sample.since_s)
        elif excess >= EXCESS:
            if sample.throttles == sample.answers:
                self._change(self.per_s / 2, now_s)
                return True
            self._fall = _Fall(self.per_s, self._usual or sample.share)
            self._lower(sample.share, now_s)
        return False

    def _judge_fall(self, fall: _Fall, share: float, now_s: float) -> None:
        if share <= TOLERATED:
            self._fall, self._usual = None, 0.0
            self._sample = _Sample(now_s)
        elif SAME <= share / fall.share <= 1 / SAME and share <= MOST_USUAL:
            self._change(fall.per_s if self._usual else fall.per_s * LEAP, now_s)
            self._fall, self._usual = None, share
        else:
            # It helped, but not enough: the first sample was small, or the bucket was full then.
            self._fall = _Fall(fall.per_s, share) if share <= MOST_USUAL else None
            self._lower(share, now_s)

    def _lower(self, share: float, now_s: float) -> None:
        self._change(self.per_s * (1 - share) * MARGIN, now_s)

    def _change(self, per_s: float, now_s: float) -> None:
        self._set(per_s)
        self._sample = _Sample(now_s)
        if self.per_s == self._least_per_s:
            self._rise_per_s = RISE_PER_S  # Nothing is known about the limit any more.

    def _set(self, per_s: float) -> None:
        self.per_s = max(self._least_per_s, min(self._most_per_s, per_s))
        self.limit = self._limit()

    def _limit(self) -> int:
        if self._first_s is None:
            return self._most
        latency_s = min(self._latencies_s, default=self._first_s)
        return max(1, min(self._most, math.ceil(self.per_s * latency_s)))
