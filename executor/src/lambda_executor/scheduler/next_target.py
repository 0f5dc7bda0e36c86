"""Sends the retry of a task that ran out of time to the next larger target, if it asks for that.

Airflow's row of the task keeps the decision: a retry is queued with the queue of its row, by
whichever scheduler queues it. While Airflow has not stored the end of the try before, the row is
that one's, and Airflow would copy a decision into its history; so the decision waits.

Since 3.4 Airflow resets the row to the DAG file before it queues it, and `policy/kept_moves.py`
sets it again. A person who clears the task gets the DAG file's queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import and_, select, update
from sqlalchemy.orm import aliased

from lambda_executor.contract.errors import RouteError
from lambda_executor.core.offers import Offer, next_longer, of_queue
from lambda_executor.core.task_settings import TaskSettings, with_routed
from lambda_executor.scheduler.keys import in_chunks, is_task, rows_of
from lambda_executor.scheduler.version import AIRFLOW

if TYPE_CHECKING:
    from airflow.executors.workloads.types import WorkloadKey
    from sqlalchemy.orm import Session

#: The states of a row whose next try can still go elsewhere, each with the number of tries that the
#: row is ahead of the one that ended. Since 3.4 the next try gets its row with `up_for_retry`, and
#: before that its number with `scheduled`.
_CAN_MOVE = frozenset(
    {
        (TaskInstanceState.UP_FOR_RETRY, 1 if AIRFLOW >= (3, 4) else 0),
        (TaskInstanceState.SCHEDULED, 1),
    }
)

#: The state of the row of a try whose end Airflow has not stored.
_IS_OPEN = (TaskInstanceState.RUNNING, 0)


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the next try of a task goes, and why; `queue` is None if it stays."""

    reason: str
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """What a decision needs of the row of a task, and what finds the row again."""

    key: WorkloadKey
    id: Any
    state: str
    is_open: bool
    queue: str
    executor_config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Moves:
    """What became of tries that ran out of time.

    Those that do not ask for a move, and those without another try, are left out.

    Attributes:
        decided: The tries of which a decision is stored, each with where the next one goes.
        open: The tries whose end Airflow has not stored, so that nothing could be.
    """

    decided: list[tuple[WorkloadKey, Decision]] = field(default_factory=list)
    open: list[WorkloadKey] = field(default_factory=list)


def move(keys: Sequence[WorkloadKey], offers: Sequence[Offer]) -> Moves:
    """Set the queues of the next tries of tasks that ran out of time.

    Args:
        keys: The tries that ran out of time.
        offers: What the targets offer, the smallest first.
    """
    moves = Moves()
    with create_session() as session:
        for chunk in in_chunks(key for key in keys if is_task(key)):
            for row in _rows(session, chunk):
                if (decision := decide(row.queue, row.executor_config, offers)) is None:
                    continue
                if row.is_open:
                    moves.open.append(row.key)
                elif decision.queue is None or _store(session, row, decision):
                    moves.decided.append((row.key, decision))
    return moves


def decide(
    queue: str, executor_config: Mapping[str, Any], offers: Sequence[Offer]
) -> Decision | None:
    """Return where the next try of a task goes; None: its author does not ask for a move."""
    try:
        settings = TaskSettings.read(executor_config)
    except RouteError:  # An older version of the package let it pass.
        return None
    if not settings.moves_on_deadline:
        return None
    current = of_queue(offers, queue)
    if current is None:
        return Decision(
            f"the task ran out of time, and its next try stays on the queue {queue}: "
            "[lambda_executor] offers does not say what its target gives"
        )
    longer = next_longer(offers, current, settings.need)
    if longer is None:
        return Decision(
            f"the task ran out of time on the queue {current}, and its next try stays there: no "
            "larger target leaves it more time"
        )
    return Decision(
        f"sent to the queue {longer}, because the try before ran out of time on {current}",
        longer.queue,
    )


def _rows(session: Session, keys: Sequence[WorkloadKey]) -> Iterable[_Row]:
    """Return the rows of the next tries that can still move, and of those that are open.

    They are not locked: most of these tasks do not ask for a move, and other schedulers need them.
    """
    ended, row = TaskInstance, cast("Any", TaskInstance)
    query = select(ended)
    if AIRFLOW >= (3, 4):  # The next try has a row of its own, perhaps already.
        row = aliased(TaskInstance)
        same = ("dag_id", "task_id", "run_id", "region_id", "region_index")
        is_next = and_(*(getattr(row, name) == getattr(ended, name) for name in same))
        query = query.join(row, and_(is_next, row.working_set.is_(True)))
    columns = (row.id, row.state, row.queue, row.executor_config, row.try_number)
    names = (ended.dag_id, ended.task_id, ended.run_id, ended.map_index)
    found = session.execute(
        query.with_only_columns(ended.id, *names, *columns)
        .where(rows_of(keys))
        .execution_options(include_all_attempts=True)  # The one that ended, since 3.4.
    )
    tries = {_identity(key): key for key in keys}
    for ended_id, *names_of, id, state, queue, config, try_number in found:
        key = tries.get(ended_id if AIRFLOW >= (3, 4) else tuple(names_of))
        if key is None:
            continue
        is_at = (state, try_number - cast("Any", key).try_number)
        if is_at == _IS_OPEN or is_at in _CAN_MOVE:
            yield _Row(key, id, state, is_at == _IS_OPEN, queue, config or {})


def _identity(key: Any) -> object:  # noqa: ANN401 - one of Airflow's, by its version
    """What a row has in common with the key of its try."""
    return key.id if AIRFLOW >= (3, 4) else (key.dag_id, key.task_id, key.run_id, key.map_index)


def _store(session: Session, row: _Row, decision: Decision) -> bool:
    """Set the queue of a row; return whether it was still there in the same state."""
    changed = session.execute(
        update(TaskInstance)
        .where(TaskInstance.id == row.id, TaskInstance.state == row.state)
        .values(
            queue=decision.queue,
            executor_config=with_routed(row.executor_config, decision.reason, decision.queue or ""),
        )
        .execution_options(synchronize_session=False)
    )
    return bool(cast("Any", changed).rowcount)
