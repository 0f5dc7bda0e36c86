"""All pollers of one engine: of its results queue, the dead letters, and other results queues.

The result of an adopted invocation goes to the results queue of the scheduler that sent it. So the
other schedulers' queues are polled too while an adopted invocation is in flight.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import ClassVar

from lambda_executor.contract.wire import DeadLetter, InvocationId, Result
from lambda_executor.core.ports import Endpoints, Message, Queue
from lambda_executor.engine.poller import Arrival, Poller, Report
from lambda_executor.engine.unclaimed import Unclaimed

log = logging.getLogger(__name__)


class Listeners:
    """The pollers of one engine.

    Args:
        endpoints: Holds the queues.
        own: The index of this scheduler's own results queue.
        knows: Whether an invocation is the engine's; called on the pollers' threads.
        unclaimed: Knows which messages nobody will claim; None: nobody does.
        arrived: Called with each arrival, on the pollers' threads.
        threads: The most receives from its own results queue under way at once.
        clock: A monotonic clock, in seconds.

    Attributes:
        own: The pollers that always run.
        foreign: The pollers of the other schedulers' results queues, while there are any.
    """

    #: What receives from each queue; tests have one without threads.
    POLLER: ClassVar[type[Poller]] = Poller

    def __init__(  # noqa: PLR0913 - what pollers need, twice
        self,
        endpoints: Endpoints,
        own: int,
        *,
        knows: Callable[[InvocationId], bool],
        unclaimed: Unclaimed | None = None,
        arrived: Callable[[Arrival], None] | None = None,
        threads: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        results = endpoints.results[own]
        self._others = [queue for queue in endpoints.results if queue is not results]
        self._knows = knows
        self._unclaimed = unclaimed
        self._arrived = arrived
        self._clock = clock
        self.own = [self._poller(results, _decode_result, threads)]
        if endpoints.dead_letters is not None:
            self.own.append(self._poller(endpoints.dead_letters, _decode_dead_letter))
        self.foreign: list[Poller] = []

    def __iter__(self) -> Iterator[Poller]:
        yield from self.own
        yield from self.foreign

    def start(self) -> None:
        """Start the pollers that always run."""
        for poller in self.own:
            poller.start()

    def close(self, timeout_s: float) -> None:
        """Close all pollers; deletes under way get `timeout_s` seconds in all."""
        deadline_s = self._clock() + timeout_s
        for poller in self:
            poller.close(0)  # All send their last deletes before any of them is waited for.
        for poller in self:
            poller.close(max(0.0, deadline_s - self._clock()))

    def watch_others(self) -> None:
        """Poll the other schedulers' queues too; the next call starts what could not start."""
        for queue in self._others[len(self.foreign) :]:
            poller = self._poller(queue, _decode_result)
            try:
                poller.start()
            except RuntimeError as error:
                log.warning("Cannot poll %s yet: %s", queue.name, error)
                break
            self.foreign.append(poller)

    def close_others(self) -> None:
        """Stop polling the other schedulers' queues."""
        for poller in self.foreign:
            poller.close(0)
        self.foreign = []

    def counts(self) -> Counter[str]:
        """The sum of `Poller.counts`."""
        return sum((poller.counts() for poller in self), Counter())

    def _poller(
        self, queue: Queue, decode: Callable[[Message], Report], threads: int = 1
    ) -> Poller:
        return self.POLLER(
            queue,
            decode=decode,
            knows=self._knows,
            unclaimed=self._unclaimed,
            arrived=self._arrived,
            threads=threads,
        )


def _decode_result(message: Message) -> Result:
    return Result.decode(message.body)


def _decode_dead_letter(message: Message) -> DeadLetter:
    return DeadLetter.decode(message.body, message.attributes)
