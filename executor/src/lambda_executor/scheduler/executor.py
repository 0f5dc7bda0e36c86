"""The executor as Airflow sees it: thin, on the scheduler's thread, never waiting for AWS.

It joins the pieces: workloads from Airflow enter the ledger and go to the dispatcher; what the
pollers bring is settled in the ledger and told to Airflow; a delivery is acknowledged once the
scheduler took the event, which is to say on a later `sync`. What differs between versions of
Airflow is in `airflow_compat.py`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.names import FAILURE_EVENT
from lambda_executor.contract.wire import DeadLetter, InvocationId, Result
from lambda_executor.core.adoption import invocation_of, is_dispatch_id
from lambda_executor.core.dispatch_queue import Dispatch, Refused, Sent
from lambda_executor.core.ledger import Ledger, Settlement, State
from lambda_executor.core.metrics import metric
from lambda_executor.core.outgoing import Outgoing
from lambda_executor.core.ports import FunctionInvoker, PayloadStore, Queue
from lambda_executor.core.reports import is_about_a_start, is_duplicate, kind, settle
from lambda_executor.engine.acknowledgements import Delivery, Handover
from lambda_executor.engine.poller import Arrival, Poller
from lambda_executor.engine.traffic import Traffic
from lambda_executor.scheduler.compat import (
    AirflowExecutor,
    conf_of,
    dequeue,
    external_id_of,
    key_of,
    running_state_of,
    stats,
    task_of,
    waiting,
)
from lambda_executor.scheduler.live_log import PATIENCE as LIVE_LOG_PATIENCE
from lambda_executor.scheduler.live_log import LiveLog, RunningTask
from lambda_executor.scheduler.state import DatabaseState, is_callback
from lambda_executor.setup.config import ExecutorConfig
from lambda_executor.setup.connection import Reach, connect
from lambda_executor.setup.health import check

if TYPE_CHECKING:
    from airflow.executors.workloads import ExecutorWorkload
    from airflow.executors.workloads.types import WorkloadKey
    from airflow.models.taskinstance import TaskInstance

#: Seconds that an ending scheduler gives invokes and deletes that are under way.
CLOSE_TIMEOUT_S = 10
#: Seconds of one heartbeat that taking workloads over may cost the scheduler. What is left stays
#: in Airflow's queue, in its order, until the next heartbeat.
TAKE_OVER_S = 0.025


class LambdaExecutor(AirflowExecutor):
    """Runs each workload as one asynchronous AWS Lambda invocation."""

    supports_callbacks: bool = True
    supports_connection_test: bool = True
    supports_multi_team: bool = True
    # The scheduler commits the dispatch id together with QUEUED, so that a scheduler that takes
    # over after a crash knows the id of whatever was sent.
    pre_assigns_external_executor_id: ClassVar[bool] = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's own
        super().__init__(*args, **kwargs)
        self._ledger: Ledger[WorkloadKey] = Ledger()
        self._handover: Handover[WorkloadKey] = Handover()
        self._airflow = DatabaseState()
        self._adopted: set[InvocationId] = set()
        self._parts: Traffic[WorkloadKey] | None = None
        self._live_log = LiveLog(lambda: Reach(conf_of(self), LIVE_LOG_PATIENCE))

    # ---- life ----

    def start(self) -> None:
        """Read the configuration, check that AWS can be reached, start the threads.

        Raises:
            ConfigError: An option is missing or wrong, or the health check failed.
        """
        connected = connect(conf_of(self))
        settings = connected.config
        if settings.check_health_on_startup:
            check(connected)
        self._start_parts(
            settings,
            connected.functions,
            connected.results,
            connected.dead_letters,
            connected.payloads,
        )
        self.log.info(
            "Workloads run on %s, results come from %s",
            settings.routes.default,
            self._require_parts().reply_to,
        )

    def _start_parts(
        self,
        settings: ExecutorConfig,
        functions: FunctionInvoker,
        results: Sequence[Queue],
        dead_letters: Queue,
        payloads: PayloadStore | None = None,
    ) -> None:
        parts = Traffic(
            settings,
            settings.own_queue(self.job_id),
            ledger=self._ledger,
            airflow=self._airflow,
            functions=functions,
            results=results,
            dead_letters=dead_letters,
            payloads=payloads,
        )
        parts.start()
        self._parts = parts

    def end(self) -> None:
        """Send what was accepted, wait for results as long as `end_wait_timeout` allows, stop.

        What is still in flight then stays in the queues; the scheduler that adopts it settles it.
        """
        if self._parts is None:
            return
        dispatcher, settings = self._parts.dispatcher, self._parts.config
        self._take_over_the_rest()
        if unsent := dispatcher.drain(CLOSE_TIMEOUT_S):
            self.log.warning("%d accepted workloads could not be sent before the end", unsent)
        deadline_s = time.monotonic() + settings.end_wait_timeout_s
        while len(self._ledger) and time.monotonic() < deadline_s:
            self._take(self._parts)
            time.sleep(min(1.0, max(0.0, deadline_s - time.monotonic())))
        self._close()

    def _take_over_the_rest(self) -> None:
        """Take over what one heartbeat had no time for: nobody else knows that it was not sent."""
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        while (rest := waiting(self)) and time.monotonic() < deadline_s:
            self.trigger_tasks(rest)

    def terminate(self) -> None:
        """Stop at once; what is in flight stays in flight, for the next scheduler to adopt."""
        self._close()

    def _close(self) -> None:
        if self._parts is None:
            return
        # What the scheduler has taken is acknowledged in its next loop, and there is none: whether
        # the last one was committed is not known here.
        self._handover.give_back()
        if len(self._ledger):
            self.log.info("%d invocations are left in flight", len(self._ledger))
        self._parts.close(CLOSE_TIMEOUT_S)
        self._parts = None

    # ---- from Airflow to Lambda ----

    def _process_workloads(self, workload_items: Sequence[ExecutorWorkload]) -> None:
        parts = self._require_parts()
        dispatches: list[Dispatch] = []
        ends_s = time.monotonic() + TAKE_OVER_S
        try:
            for workload in workload_items:
                if dispatches and time.monotonic() >= ends_s:
                    break
                dequeue(self, workload)
                dispatches.append(self._dispatch(self._enter(workload), workload, parts))
        finally:
            # Also when one of them fails: those before it were accepted.
            parts.dispatcher.submit(dispatches)

    def _dispatch(
        self, id: InvocationId, workload: ExecutorWorkload, parts: Traffic[WorkloadKey]
    ) -> Dispatch:
        task = task_of(workload)
        outgoing = Outgoing(
            id,
            workload,
            queue=task.queue if task else None,
            executor_config=task.executor_config if task else None,
            routes=parts.config.routes,
            reply_to=parts.reply_to,
            queued_at_s=time.time(),
            payloads=parts.payloads,
        )
        # Revoked, superseded or settled by another start of it: then it is not sent (again).
        return Dispatch(id, outgoing.envelope, wanted=lambda: self._ledger.is_live(id))

    def _enter(self, workload: ExecutorWorkload) -> InvocationId:
        """Take a workload over under a fresh id, and make sure that Airflow keeps the id."""
        key, task = key_of(workload), task_of(workload)
        # A callback's own id is random, and it is sent once: any scheduler can know it again.
        given = external_id_of(task) if task else str(key) if is_callback(key) else None
        if given and not self._ledger.knows(InvocationId(given)):
            id = InvocationId(given)
        else:
            id = InvocationId(str(uuid.uuid4()))
        if id != given or running_state_of(workload) is not None:
            self.running_state(key, id)
        self.running.add(key)
        self._ledger.add(id, key)
        self._handover.forget(key)
        return id

    # ---- from the queues to Airflow ----

    def sync(self) -> None:
        """Take what the threads brought since the last call; never raises, never waits."""
        if self._parts is None:
            return
        try:
            self._handover.acknowledge(self.event_buffer)
            self._take(self._parts)
        except Exception:
            self.log.exception("sync failed; the next one goes on")

    def _take(self, parts: Traffic[WorkloadKey]) -> None:
        for outcome in parts.dispatcher.outcomes():
            self._take_outcome(outcome)
        for poller in parts.all_pollers():
            self._take_arrivals(poller, poller.arrivals())
        self._reconcile(parts)
        self._handover.tell(self._tell)
        self._watch_or_leave_other_queues(parts)
        self._report_metrics(parts)

    def _take_outcome(self, outcome: Sent | Refused) -> None:
        if isinstance(outcome, Refused):
            reason = outcome.reason
            self._handover.settled(self._ledger.settle(outcome.id, succeeded=False, reason=reason))
        else:
            self._ledger.sent(outcome.id)
            self._measure(stats.timing, "dispatch_ms", outcome.waited_s * 1000)

    def _take_arrivals(self, poller: Poller, arrivals: Sequence[Arrival]) -> None:
        in_doubt = [a.report.id for a in arrivals if is_about_a_start(a.report)]
        keys = {id: key for id in in_doubt if (key := self._ledger.key(id)) is not None}
        try:
            started = self._airflow.started(keys) if keys else set()
        except Exception:
            self.log.exception("Could not ask for the state of %d tasks", len(keys))
            started = set()
            # They come again.
            arrivals = [
                a for a in arrivals if a.report.id not in keys or not is_about_a_start(a.report)
            ]
        for arrival in arrivals:
            duplicate = arrival.report.id in started and is_about_a_start(arrival.report)
            self._take_arrival(poller, arrival, duplicate=duplicate)

    def _take_arrival(self, poller: Poller, arrival: Arrival, *, duplicate: bool) -> None:
        report, now_s = arrival.report, time.time()
        self._handover.settled(None if duplicate else settle(self._ledger, report))
        self._handover.delivered(Delivery(poller, arrival.receipt, report.id, now_s))
        if isinstance(report, DeadLetter):
            self._measure(stats.incr, "dead_letters", tags={"reason": kind(report)})
        if duplicate or is_duplicate(report):
            self.log.info("Lambda has %s twice; one start of it does nothing", report.id)
            self._measure(stats.incr, "duplicates")
        elif isinstance(report, Result) and report.queue_to_start_ms is not None:
            self._measure(stats.timing, "queue_to_start_ms", report.queue_to_start_ms)
        if arrival.sent_at_s is not None:
            self._measure(stats.timing, "result_ms", max(0.0, now_s - arrival.sent_at_s) * 1000)

    def _reconcile(self, parts: Traffic[WorkloadKey]) -> None:
        """Free the slots of what Airflow does not wait for, adopt what nobody looks after."""
        for id in parts.reconciler.obsolete():
            settlement = self._ledger.settle(id, succeeded=True)
            if settlement is not None:
                self.running.discard(settlement.key)
                self._measure(stats.incr, "reconciled")
                self.log.warning(
                    "No result of %s (%s) came, and Airflow does not wait for one: slot freed",
                    settlement.key,
                    id,
                )
        for id, key in parts.reconciler.left_behind():
            if not self._ledger.knows(id):
                self._adopt(id, key)
                parts.reconciler.adopted(id)
                self.log.warning("Adopted %s: no scheduler looks after it", key)
        for id in parts.reconciler.lost():
            reason = "no result came, of whoever sent it, and none lies in a results queue"
            self._handover.settled(self._ledger.settle(id, succeeded=False, reason=reason))

    def _adopt(self, id: InvocationId, key: WorkloadKey) -> None:
        self._ledger.adopt(id, key)
        self.running.add(key)
        self._adopted.add(id)

    def _tell(self, settlement: Settlement[WorkloadKey]) -> None:
        if settlement.succeeded:
            self.success(settlement.key)
            return
        self.log.error("%s failed: %s", settlement.key, settlement.reason)
        self.fail(settlement.key, info=settlement.reason)
        self.log_task_event(event=FAILURE_EVENT, extra=settlement.reason, ti_key=settlement.key)

    def _report_metrics(self, parts: Traffic[WorkloadKey]) -> None:
        now_s = time.time()
        gauges = {
            "pending": self._ledger.count(State.PENDING),
            "in_flight": self._ledger.count(State.IN_FLIGHT),
            "oldest_unacknowledged_s": now_s - self._handover.oldest_at_s(now_s),
        }
        for name, value in gauges.items():
            self._measure(stats.gauge, name, value)
        counts = {f"messages_{name}": count for name, count in parts.message_counts().items()}
        for name, count in {**counts, "throttles": parts.dispatcher.throttles()}.items():
            if count:
                self._measure(stats.incr, name, count)

    def _measure(self, report: Callable[..., None], name: str, *args: float, **tags: Any) -> None:  # noqa: ANN401 - Airflow's tags
        """Report one figure; what receives the statistics must never hold a result back."""
        try:
            report(metric(name), *args, **tags)
        except Exception:
            self.log.exception("Could not report %s", name)

    # ---- taking over, taking back ----

    def try_adopt_task_instances(self, tis: Sequence[TaskInstance]) -> Sequence[TaskInstance]:
        """Adopt what a dead scheduler left in flight; returns what is not adopted."""
        refused = []
        for ti in tis:
            try:
                id = invocation_of(ti.external_executor_id, ti.key._asdict())
                self._adopt(id, ti.key)
            except ValueError as error:
                self.log.warning("Not adopted, Airflow resets it: %s: %s", ti.key, error)
                refused.append(ti)
        if adopted := len(tis) - len(refused):
            self.log.info("Adopted %d invocations of a scheduler that is gone", adopted)
        return refused

    def _watch_or_leave_other_queues(self, parts: Traffic[WorkloadKey]) -> None:
        """Watch them while something adopted is in flight or a delivery is not acknowledged."""
        self._adopted = {id for id in self._adopted if self._ledger.state(id) is State.IN_FLIGHT}
        if self._adopted:
            parts.watch_other_queues()
        elif not self._handover.uses(parts.heirs):
            parts.leave_other_queues()

    def revoke_task(self, *, ti: TaskInstance) -> None:
        """Forget a task: what was not sent is not sent, what comes for it settles nothing."""
        key = ti.key
        self.queued_tasks.pop(key, None)
        self.running.discard(key)
        self._handover.forget(key)
        if (id := self._ledger.revoke(key)) is not None:
            self.log.warning("Revoked %s (%s): its result, if one comes, settles nothing", key, id)

    def get_task_log(self, ti: TaskInstance, try_number: int) -> tuple[list[str], list[str]]:
        """What the function has logged of a running task so far.

        The API server asks, with an executor that it never starts.
        """
        id = ti.external_executor_id
        if not id or not is_dispatch_id(id) or ti.try_number != try_number:
            return [], []
        return self._live_log.read(RunningTask(id, ti.queue, ti.executor_config, ti.queued_dttm))

    def debug_dump(self) -> None:
        """Log what the executor holds, when the scheduler gets SIGUSR2."""
        super().debug_dump()  # type: ignore[no-untyped-call]
        self.log.info(
            "lambda executor: %d pending, %d in flight, %d deliveries not acknowledged",
            self._ledger.count(State.PENDING),
            self._ledger.count(State.IN_FLIGHT),
            len(self._handover),
        )

    def _require_parts(self) -> Traffic[WorkloadKey]:
        if self._parts is None:
            raise ConfigError("the executor was not started")
        return self._parts
