"""Everything that runs beside the scheduler's thread, between an executor's start and its end.

One dispatcher, pollers for this scheduler's own results queue and for the dead letters, and a
reconciler. While something adopted is in flight there are also pollers for the other schedulers'
results queues: what is adopted answers to the queue of the scheduler that sent it. It must not
know Airflow or boto3.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from lambda_executor.contract.wire import DeadLetter, Result
from lambda_executor.core.ledger import Ledger
from lambda_executor.engine.dispatcher import Dispatcher
from lambda_executor.engine.poller import Poller
from lambda_executor.engine.reconciliation import AirflowState, Reconciler

if TYPE_CHECKING:
    from lambda_executor.core.ports import FunctionInvoker, Message, PayloadStore, Queue
    from lambda_executor.setup.config import ExecutorConfig

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


class Traffic(Generic[Key]):
    """The threads of one executor, and what they reach.

    Args:
        config: The executor's options.
        own: Which of the results queues is this scheduler's own.
        ledger: What is known and in flight; asked, never changed.
        airflow: Airflow's own state.
        functions: Invokes.
        results: The results queues, in the order of `config.queue_urls`.
        dead_letters: The dead-letter queue.
        payloads: Takes what is too large for one event; None: there is no such place.

    Attributes:
        reply_to: URL of this scheduler's own results queue.
        pollers: Of the own results queue and of the dead-letter queue.
        heirs: Of the other schedulers' results queues, as long as they are watched.
    """

    def __init__(  # noqa: PLR0913 - everything that an executor reaches
        self,
        config: ExecutorConfig,
        own: int,
        *,
        ledger: Ledger[Key],
        airflow: AirflowState[Key],
        functions: FunctionInvoker,
        results: Sequence[Queue],
        dead_letters: Queue,
        payloads: PayloadStore | None = None,
    ) -> None:
        self.config = config
        self.payloads = payloads
        self.reply_to = config.queue_urls[own]
        self.dispatcher = Dispatcher(
            functions, threads=config.dispatch_threads, max_attempts=config.max_invoke_attempts
        )
        self.reconciler = Reconciler(ledger.in_flight, ledger.knows, airflow)
        self._ledger = ledger
        self._others = [queue for n, queue in enumerate(results) if n != own]
        self.pollers = (
            self._results_poller(results[own], config.poll_threads),
            Poller(dead_letters, decode=_decode_dead_letter, knows=ledger.knows),
        )
        self.heirs: list[Poller] = []

    def start(self) -> None:
        """Start the threads.

        Raises:
            RuntimeError: The machine gives no thread for one of the parts, so none of them runs.
        """
        try:
            for part in (self.dispatcher, *self.pollers, self.reconciler):
                part.start()
        except RuntimeError:
            self.close(0)
            raise

    def close(self, timeout_s: float) -> None:
        """End the threads: invokes and deletes under way get `timeout_s` seconds."""
        self.reconciler.close(0)
        self.dispatcher.close(timeout_s)
        for poller in self.all_pollers():
            poller.close(timeout_s)

    def all_pollers(self) -> tuple[Poller, ...]:
        """Every poller there is now."""
        return (*self.pollers, *self.heirs)

    def watch_other_queues(self) -> None:
        """Poll the other schedulers' results queues too.

        Each call starts the pollers that the machine had no threads for at the calls before it.
        """
        for queue in self._others[len(self.heirs) :]:
            poller = self._results_poller(queue)
            try:
                poller.start()
            except RuntimeError as error:
                log.warning("Cannot poll %s yet: %s", queue.name, error)
                return
            self.heirs.append(poller)

    def leave_other_queues(self) -> None:
        """Leave them to the others again."""
        for poller in self.heirs:
            poller.close(0)
        self.heirs = []

    def message_counts(self) -> Counter[str]:
        """What became of the messages since the last call; see `Poller.counts`."""
        return sum((poller.counts() for poller in self.all_pollers()), Counter())

    def _results_poller(self, queue: Queue, threads: int = 1) -> Poller:
        return Poller(queue, decode=_decode_result, knows=self._ledger.knows, threads=threads)


def _decode_result(message: Message) -> Result:
    return Result.decode(message.body)


def _decode_dead_letter(message: Message) -> DeadLetter:
    return DeadLetter.decode(message.body, message.attributes)
