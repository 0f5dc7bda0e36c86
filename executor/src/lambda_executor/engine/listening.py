"""Every poller of one engine: of its own results queue, of the dead letters, of others' queues.

What was adopted answers to the results queue of the scheduler that sent it. So the other
schedulers' queues are read too, as long as something adopted is in flight, and left again then.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator

from lambda_executor.contract.wire import DeadLetter, InvocationId, Result
from lambda_executor.core.ports import Endpoints, Message, Queue
from lambda_executor.engine.poller import Poller, Report

log = logging.getLogger(__name__)


class Listeners:
    """The pollers of one engine.

    Args:
        endpoints: Where the queues are.
        own: Which of the results queues is this scheduler's own.
        knows: Whether an invocation is the engine's; called on the pollers' threads.
        threads: How many receives of the own results queue may be under way at once.

    Attributes:
        own: The pollers that are always there.
        foreign: Those of the other schedulers' results queues, while they are read.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        own: int,
        *,
        knows: Callable[[InvocationId], bool],
        threads: int,
    ) -> None:
        results, dead_letters = endpoints.results[own], endpoints.dead_letters
        self._others = [queue for queue in endpoints.results if queue is not results]
        self._knows = knows
        self.own = (
            self._poller(results, _decode_result, threads),
            self._poller(dead_letters, _decode_dead_letter),
        )
        self.foreign: list[Poller] = []

    def __iter__(self) -> Iterator[Poller]:
        yield from self.own
        yield from self.foreign

    def start(self) -> None:
        """Start to listen."""
        for poller in self.own:
            poller.start()

    def close(self, timeout_s: float) -> None:
        """Stop to listen; deletes under way get `timeout_s` seconds of each queue."""
        for poller in self:
            poller.close(timeout_s)

    def watch_others(self) -> None:
        """Read the other schedulers' queues too; the next call starts what has no thread yet."""
        for queue in self._others[len(self.foreign) :]:
            poller = self._poller(queue, _decode_result)
            try:
                poller.start()
            except RuntimeError as error:
                log.warning("Cannot poll %s yet: %s", queue.name, error)
                break
            self.foreign.append(poller)

    def leave_others(self) -> None:
        """Leave them to the others again."""
        for poller in self.foreign:
            poller.close(0)
        self.foreign = []

    def counts(self) -> Counter[str]:
        """What became of the messages since the last call; see `Poller.counts`."""
        return sum((poller.counts() for poller in self), Counter())

    def _poller(
        self, queue: Queue, decode: Callable[[Message], Report], threads: int = 1
    ) -> Poller:
        return Poller(queue, decode=decode, knows=self._knows, threads=threads)


def _decode_result(message: Message) -> Result:
    return Result.decode(message.body)


def _decode_dead_letter(message: Message) -> DeadLetter:
    return DeadLetter.decode(message.body, message.attributes)
