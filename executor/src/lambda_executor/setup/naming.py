"""Which executor Airflow gives a workload to, by the name that a task or a callback carries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow.executors.executor_loader import ExecutorLoader
from airflow.version import version

if TYPE_CHECKING:
    from airflow.executors.executor_utils import ExecutorName

_PACKAGE = "lambda_executor."

#: Since 3.2 Airflow looks the teams up in its database, unless it is told not to, and a process
#: that reads DAG files has none.
_ARGUMENTS = {"validate_teams": False} if tuple(map(int, version.split(".")[:2])) >= (3, 2) else {}


def gets(executor: ExecutorName, name: str | None, team: str | None = None) -> bool:
    """Whether an executor gets the workloads that carry a name.

    Args:
        executor: One of those in `[core] executor`.
        name: An alias, a class name or a full path; None: the workload names no executor.
        team: The team of the workload's DAG, since Airflow 3.2.
    """
    found = _chosen(name, team)
    return found is not None and found == executor


def ours() -> set[str | None]:
    """Return the names of the tasks that executors of this package get; None: those without.

    For tasks without a name only the global default counts: a row does not say whose team it is.
    """
    configured = [
        each
        for each in ExecutorLoader.get_executor_names(**_ARGUMENTS)
        if each.module_path.startswith(_PACKAGE)
    ]
    names: set[str | None] = {name for each in configured for name in _spellings(each)}
    return names | {None} if any(gets(each, None) for each in configured) else names


def _chosen(name: str | None, team: str | None) -> ExecutorName | None:
    """Choose by the rules of the scheduler's `SchedulerJobRunner._try_to_load_executor`."""
    configured = ExecutorLoader.get_executor_names(**_ARGUMENTS)
    if name is None:
        of_team = [each for each in configured if _team(each) == team]
        return of_team[0] if of_team else configured[0]
    for each in configured:
        if name in _spellings(each) and _team(each) in (None, team):
            return each
    return None


def _spellings(executor: ExecutorName) -> Iterator[str]:
    """The names that a task may use for an executor."""
    if executor.alias:
        yield executor.alias
    yield executor.module_path
    yield executor.module_path.rpartition(".")[2]


def _team(executor: ExecutorName) -> str | None:
    return getattr(executor, "team_name", None)
