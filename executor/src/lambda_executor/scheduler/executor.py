"""Airflow's executor interface on top of the engine.

`compat.py` has the differences between Airflow's versions.
"""

from __future__ import annotations

import functools
import gc
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.utils.state import TaskInstanceState
from airflow.version import version

from lambda_executor.contract.errors import ConfigError, LambdaExecutorError, RouteError
from lambda_executor.contract.help import help_link
from lambda_executor.contract.log_lines import about
from lambda_executor.contract.token_lifetime import token_lifetime_option
from lambda_executor.core.adoption import invocation_of, is_dispatch_id
from lambda_executor.core.metrics import Meter
from lambda_executor.core.outgoing import Outgoing
from lambda_executor.core.ports import Endpoints
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import JobTarget, Target
from lambda_executor.engine.engine import Engine, EngineSettings
from lambda_executor.scheduler.airflow_port import AirflowPort, take_over
from lambda_executor.scheduler.compat import (
    AirflowExecutor,
    WorkloadType,
    conf_of,
    external_id_of,
    show_log_fields,
    stats,
    task_of,
)
from lambda_executor.scheduler.live_log import PATIENCE, LiveLog, RunningTask
from lambda_executor.scheduler.signature import sign
from lambda_executor.scheduler.state import DatabaseState
from lambda_executor.setup.config import ExecutorConfig
from lambda_executor.setup.connection import Gateway, connect
from lambda_executor.setup.health import check

if TYPE_CHECKING:
    from airflow.executors.workloads import ExecutorWorkload
    from airflow.executors.workloads.types import WorkloadKey
    from airflow.models.connection_test import ConnectionTestKey
    from airflow.models.taskinstance import TaskInstance

log = logging.getLogger(__name__)

#: Seconds that an ending scheduler gives to invokes and deletes that are under way.
CLOSE_TIMEOUT_S = 10
#: The seconds of one heartbeat for taking workloads over, unless that is too few to send until the
#: next one. The rest stays in Airflow's queue, in order.
TAKE_OVER_S = 0.025


class LambdaExecutor(AirflowExecutor):
    """Runs each workload as one invocation of an AWS Lambda function, or as one job.

    Attributes:
        engine: Sends and settles the invocations; None until `start`.
    """

    supported_workload_types: frozenset[WorkloadType] = frozenset(
        {
            WorkloadType.EXECUTE_TASK,
            WorkloadType.EXECUTE_CALLBACK,
            WorkloadType.TEST_CONNECTION,
        }
    )
    supports_multi_team: bool = True
    # In a loop, two tries may have the same names and differ in their UUIDs alone.
    supports_task_instance_uuid: ClassVar[bool] = True
    # The scheduler commits the dispatch id together with QUEUED, so after a crash another one
    # knows the id of every invocation that was sent.
    pre_assigns_external_executor_id: ClassVar[bool] = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's own
        super().__init__(*args, **kwargs)
        self.engine: Engine[WorkloadKey] | None = None
        self._outgoing: Callable[..., Outgoing] = Outgoing
        self._routes: Routes | None = None
        self._end_wait_timeout_s = 0
        self._live_log = LiveLog(lambda: Gateway(conf_of(self), PATIENCE))

    # ---- life ----

    def start(self) -> None:
        """Read the configuration, check that AWS can be reached, start the threads.

        Raises:
            ConfigError: An option is missing or wrong, or the health check failed.
        """
        show_log_fields()
        try:
            connected = connect(conf_of(self))
            settings = connected.config
            if settings.check_health_on_startup:
                check(connected)
        except LambdaExecutorError as error:
            if link := help_link(str(error)):
                error.add_note(f"See {link}")  # The scheduler logs the error with its notes.
            raise
        sign(self.job_id)
        self.start_on(settings, connected.endpoints)
        _freeze()

    def start_on(self, settings: ExecutorConfig, endpoints: Endpoints) -> None:
        """Start the threads on given endpoints, such as those of `lambda_executor.testing`.

        Args:
            settings: The options.
            endpoints: Lambda, the services that run jobs, and the queues in the order of
                `settings.queue_urls`.
        """
        own = settings.own_queue(self.job_id)
        reply_to = settings.queue_urls[own]
        self._routes = settings.routes
        self._outgoing = functools.partial(
            Outgoing,
            routes=settings.routes,
            reply_to=reply_to,
            payloads=endpoints.payloads,
            lifetime_option=token_lifetime_option(version),
        )
        self._end_wait_timeout_s = settings.end_wait_timeout_s
        database = DatabaseState(self.name)
        engine = Engine(
            AirflowPort(self, database, settings.offers),
            database,
            endpoints,
            EngineSettings(
                own_results=own,
                dispatch_threads=settings.dispatch_threads,
                poll_threads=settings.poll_threads,
                max_invoke_attempts=settings.max_invoke_attempts,
            ),
            meter=Meter(stats),
        )
        engine.start()
        self.engine = engine
        log.info("Workloads run on %s, results come from %s", settings.routes.default, reply_to)

    def end(self) -> None:
        """Send pending invocations, wait up to `end_wait_timeout` for results, and stop."""
        if self.engine is not None:
            self._take_over_the_rest()
            self.engine.drain(CLOSE_TIMEOUT_S)
            # Before the wait, in which other schedulers adopt what counts as sent.
            self._give_back(self.engine)
            self.engine.settle(self._end_wait_timeout_s)
            self.terminate()

    def terminate(self) -> None:
        """Stop, with no more sends; another scheduler adopts the in-flight invocations.

        What is being sent and deleted may end: its request would end with the process. The tasks
        that were not sent are given back to Airflow.
        """
        engine, self.engine = self.engine, None
        if engine is not None:
            self._give_back(engine)
            engine.close(CLOSE_TIMEOUT_S)

    def _give_back(self, engine: Engine[WorkloadKey]) -> None:
        """Send nothing more, and leave what was not sent to any scheduler; never raises."""
        unsent: dict[WorkloadKey, str | None] = {
            key: id for id, key in engine.stop_sending(CLOSE_TIMEOUT_S).items()
        }
        queue = self.executor_queues[WorkloadType.EXECUTE_TASK]
        for task in filter(None, map(task_of, queue.values())):
            unsent[self.get_task_key(task)] = external_id_of(task)
        queue.clear()
        if count := DatabaseState().give_back(unsent, self.job_id):
            log.info("Gave %d tasks that were not sent back to Airflow", count)

    def _take_over_the_rest(self) -> None:
        """Take over the rest of Airflow's queues, so that it is sent too."""
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        queues = self.executor_queues
        while (rest := sum(map(len, queues.values()))) and time.monotonic() < deadline_s:
            self.trigger_workloads(rest)

    # ---- workloads ----

    @property
    def slots_available(self) -> int:
        """How many more tasks Airflow should queue: as many as can start soon.

        The others stay scheduled in Airflow's database, which orders them by `priority_weight`, and
        their tokens do not exist yet. Airflow does not ask here before it queues a callback.
        """
        slots: int = super().slots_available
        if self.engine is None or (room := self.engine.room()) == math.inf:
            return slots
        return min(slots, max(0, int(room) - sum(map(len, self.executor_queues.values()))))

    def _process_workloads(self, workload_items: Sequence[ExecutorWorkload]) -> None:
        engine = self._require_engine()
        engine.dispatch(self._take_over(workload_items, engine))

    def _take_over(
        self, workloads: Sequence[ExecutorWorkload], engine: Engine[WorkloadKey]
    ) -> Iterator[tuple[WorkloadKey, Outgoing]]:
        """Take workloads out of Airflow's queue: as many as time allows, and never too few to send.

        So a scheduler with few heartbeats takes more in each of them.
        """
        ends_s, queues = time.monotonic() + TAKE_OVER_S, self.executor_queues.values()
        for number, workload in enumerate(workloads):
            if number and time.monotonic() >= ends_s and engine.has_enough():
                break
            yield take_over(self, queues, workload, engine.ledger.knows, self._outgoing)

    def sync(self) -> None:
        """Take in what the threads found since the last call; never raises, never waits."""
        try:
            if self.engine is not None:
                self.engine.step()
        except Exception:
            log.exception("sync failed; the next one goes on")

    # ---- adopting, revoking ----

    def try_adopt_task_instances(self, tis: Sequence[TaskInstance]) -> Sequence[TaskInstance]:
        """Adopt the tasks of a dead scheduler; return those that cannot be adopted."""
        engine, refused = self._require_engine(), []
        for ti in tis:
            try:
                id = invocation_of(ti.external_executor_id, ti.key._asdict())
                engine.adopt(id, self.get_task_key(ti), self._target_of(ti))
            except ValueError as error:
                extra = about(key=ti.key)
                log.warning("Not adopted, Airflow resets it: %s: %s", ti.key, error, extra=extra)
                refused.append(ti)
        if adopted := len(tis) - len(refused):
            log.info("Adopted %d invocations of a scheduler that is gone", adopted)
        return refused

    def _target_of(self, ti: TaskInstance) -> Target | None:
        """Return what an orphaned task was sent to.

        None: nobody knows, or it was sent to a function that does not run it yet. A job is looked
        after while it waits, too.
        """
        if self._routes is None:
            return None
        try:
            target = self._routes.target(ti.queue, ti.executor_config)
        except RouteError:
            return None
        is_known = isinstance(target, JobTarget) or ti.state == TaskInstanceState.RUNNING
        return target if is_known else None

    def revoke_task(self, *, ti: TaskInstance) -> None:
        """Forget a task: it is not sent any more, and a report about it settles nothing.

        Its job is stopped, if it has one.
        """
        self._revoke(WorkloadType.EXECUTE_TASK, self.get_task_key(ti))

    def fail_connection_test(self, key: ConnectionTestKey) -> None:
        """Forget a connection test that Airflow has given up."""
        self._revoke(WorkloadType.TEST_CONNECTION, key)

    def _revoke(self, type: WorkloadType, key: WorkloadKey) -> None:
        self.executor_queues[type].pop(key, None)
        if self.engine is not None:
            self.engine.revoke(key)

    def get_task_log(self, ti: TaskInstance, try_number: int) -> tuple[list[str], list[str]]:
        """Return what the function or the job of a running task has logged so far.

        The API server calls this on an executor that it never starts.
        """
        id = ti.external_executor_id
        if not id or not is_dispatch_id(id) or ti.try_number != try_number:
            return [], []
        return self._live_log.read(RunningTask(id, ti.queue, ti.executor_config, ti.queued_dttm))

    def debug_dump(self) -> None:
        """Log a summary of the executor when the scheduler gets SIGUSR2."""
        super().debug_dump()  # type: ignore[no-untyped-call]
        summary = self.engine.summary() if self.engine else "not started"
        self.log.info("lambda executor: %s", summary)

    def _require_engine(self) -> Engine[WorkloadKey]:
        if self.engine is None:
            raise ConfigError("the executor was not started")
        return self.engine


@functools.cache
def _freeze() -> None:
    """Exempt what Airflow has imported from garbage collection, at the first start of a process.

    It stays anyway. Python would look through every object of the process whenever a quarter of
    them are new, which stops the scheduler for 0.2 to 0.5 s. Later starts (of another team's
    executor) would freeze what the running scheduler needs only for a moment.
    """
    gc.collect()
    gc.freeze()
