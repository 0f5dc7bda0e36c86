"""What follows from the reports that have arrived. It runs on the scheduler's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from lambda_executor.contract.log_lines import about
from lambda_executor.contract.wire import DeadLetter, InvocationId, Result
from lambda_executor.core.ledger import Ledger, Settlement
from lambda_executor.core.metrics import Meter
from lambda_executor.core.reports import (
    JobEnd,
    Meaning,
    Report,
    is_out_of_time,
    kind,
    leaves_state_open,
    meaning,
    settle,
)
from lambda_executor.engine.acknowledgements import Acknowledgements, Delivery
from lambda_executor.engine.poller import Arrival, Poller
from lambda_executor.engine.ports import Airflow

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


class Arrivals(Generic[Key]):
    """Takes in the reports of one engine.

    Args:
        airflow: The scheduler, for the states of tasks and the slots of those that continue.
        ledger: Settles the invocations.
        acknowledgements: Keeps the settlements and the deliveries.
        meter: Receives the metrics.
    """

    def __init__(
        self,
        airflow: Airflow[Key],
        ledger: Ledger[Key],
        acknowledgements: Acknowledgements[Key],
        meter: Meter,
    ) -> None:
        self._airflow = airflow
        self._ledger = ledger
        self._acknowledgements = acknowledgements
        self._meter = meter
        #: Why a start of an invocation did nothing.
        self._did_nothing: dict[InvocationId, str] = {}

    def take(self, arrivals: Sequence[tuple[Poller, Arrival]]) -> None:
        """Take in the reports of one step, each with the poller that received it.

        If Airflow cannot be asked, the reports that need its answer wait for their next delivery.
        """
        open_reports = [a.report for _, a in arrivals if leaves_state_open(a.report)]
        states: Mapping[InvocationId, str] = {}
        try:
            states = self._states(open_reports)
        except Exception:
            log.exception("Could not read the state of the tasks of %d reports", len(open_reports))
            arrivals = [one for one in arrivals if not leaves_state_open(one[1].report)]
        out_of_time = []
        for poller, arrival in arrivals:
            report = arrival.report
            key = self._ledger.key(report.id)
            was_live = self._take(poller, arrival, meaning(report, states.get(report.id)))
            if was_live and key is not None and is_out_of_time(report):
                out_of_time.append(key)
        self._airflow.out_of_time(out_of_time)

    def take_ends(self, ends: Sequence[JobEnd]) -> None:
        """Take in the ends of jobs that sent no result.

        The end of a job that had nothing to do says nothing of the one that runs its task: a second
        attempt, or the job of an earlier invocation that could not be stopped. Airflow's heartbeat
        ends that task.
        If Airflow cannot be asked, they wait until they are found again.
        """
        try:
            states = self._states(ends)
        except Exception:
            log.exception("Could not read the state of the tasks of %d jobs", len(ends))
            return
        for end in ends:
            why = self._did_nothing.get(end.id)
            means = meaning(end, states.get(end.id), was_started_twice=why is not None)
            told = replace(end, reason=f"{end.reason}. It ran nothing: {why}") if why else end
            if means is not Meaning.DUPLICATE and self._settle(told, means):
                self._meter.count("job_ends", service=end.service.value)

    def drop(self, ids: Iterable[InvocationId]) -> None:
        """Forget invocations that are not live any more."""
        for id in ids:
            self._did_nothing.pop(id, None)

    def _states(self, reports: Iterable[Report]) -> Mapping[InvocationId, str]:
        """Ask Airflow once for the states of the tasks of live invocations."""
        keys = {r.id: key for r in reports if (key := self._ledger.key(r.id)) is not None}
        return self._airflow.states(keys) if keys else {}

    def _take(self, poller: Poller, arrival: Arrival, means: Meaning) -> bool:
        """Take in one report; return whether it settled its invocation."""
        report, now_s = arrival.report, time.time()
        key = self._ledger.key(report.id)
        was_live = means is not Meaning.DUPLICATE and self._settle(report, means)
        self._acknowledgements.delivered(Delivery(poller, arrival.receipt, report.id, now_s))
        if isinstance(report, DeadLetter):
            self._meter.count("dead_letters", reason=kind(report))
        if means is Meaning.DUPLICATE:
            if key is not None:
                self._did_nothing[report.id] = report.reason
            log.info(
                "%s was started twice; one of the starts does nothing",
                report.id,
                extra=about(report.id, key),
            )
            self._meter.count("duplicates")
        elif isinstance(report, Result) and report.queue_to_start_ms is not None:
            self._meter.time("queue_to_start_ms", report.queue_to_start_ms)
        if arrival.sent_at_s is not None:
            self._meter.time("result_ms", max(0.0, now_s - arrival.sent_at_s) * 1000)
        return was_live

    def _settle(self, report: Report, means: Meaning) -> bool:
        """Settle an invocation; return whether it was live."""
        settlement = settle(self._ledger, report)
        if means is Meaning.END:
            self._acknowledgements.settled(settlement)
        elif settlement is not None:
            self._free_slot(settlement, means)
        return settlement is not None

    def _free_slot(self, settlement: Settlement[Key], means: Meaning) -> None:
        """End an invocation without an event.

        Airflow would take the event of a task that continues, if it comes late, for the end of the
        next part. https://github.com/apache/airflow/issues/71172
        """
        self._airflow.free_slot(settlement.key)
        if means is Meaning.CONTINUED and not settlement.succeeded:
            log.warning(
                "%s continues later, although this invocation of it failed: %s",
                settlement.key,
                settlement.reason,
                extra=about(settlement.id, settlement.key),
            )
