"""What `airflow lambda-executor status` says about the targets of jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lambda_executor import aws
from lambda_executor.contract.errors import AwsError, RouteError
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import Target
from lambda_executor.ops import tasks as airflow_tasks


def read(routes: Routes, clients: aws.Clients) -> tuple[list[dict[str, Any]], list[str]]:
    """Return an answer for each target, and why some services could not be asked.

    What is in flight is what Airflow's database says of the queues that lead to the target. A task
    that chooses another target in its `executor_config` counts for its queue.

    Raises:
        DatabaseError: Airflow's database cannot be read.
    """
    in_flight = by_target(routes, airflow_tasks.active_by_queue())
    answers, reasons = list[dict[str, Any]](), list[str]()
    for target in routes.job_targets():
        answer: dict[str, Any] = {
            "target": str(target),
            "in_flight": in_flight.get(target, {}),
        }
        try:
            counts = aws.count_jobs(clients, target)
        except AwsError as e:
            reasons.append(f"target {target}: {e}")
        else:
            answer |= {
                "where": counts.where,
                "in_service": counts.by_state,
                "is_more": counts.is_more,
            }
        answers.append(answer)
    return answers, reasons


def by_target(
    routes: Routes, by_queue: Mapping[str, Mapping[str, int]]
) -> Mapping[Target, Mapping[str, int]]:
    """Return how many tasks each target has, by their states.

    Args:
        routes: The targets.
        by_queue: How many tasks each queue has, by their states.
    """
    found: dict[Target, Counter[str]] = {}
    for queue, by_state in by_queue.items():
        try:
            target = routes.target(queue)
        except RouteError:  # The queue had a target when its tasks were sent.
            continue
        found.setdefault(target, Counter()).update(by_state)
    return found


def rows(answers: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for a person on each target."""
    for answer in answers:
        line = f"{answer['target']}: {_told(answer['in_flight'])} in Airflow"
        if "where" in answer:
            more = ", and more" if answer["is_more"] else ""
            line += f"; {answer['where']}: {_told(answer['in_service'])}{more}"
        yield line


def _told(by_state: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in by_state.items()) or "nothing"
