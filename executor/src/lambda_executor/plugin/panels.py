"""What is in the panels of the page: Airflow's database, and at most one call of AWS each.

A panel whose call is refused says which permission of the API server's role is missing. Nothing
here is from a scheduler's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from airflow.configuration import conf

from lambda_executor.aws import count_starts
from lambda_executor.contract.errors import AwsError, LambdaExecutorError, RouteError
from lambda_executor.contract.options import CONFIG_PARAMETER, SECTION
from lambda_executor.core.findings import Finding, Status
from lambda_executor.core.routing import Routes
from lambda_executor.ops import dead_letter_actions, tasks
from lambda_executor.ops.dead_letter_actions import May
from lambda_executor.ops.dead_letters import Entry
from lambda_executor.ops.missing_rights import missing_right, refused_call
from lambda_executor.plugin import times
from lambda_executor.plugin.wiring import WIRING
from lambda_executor.setup.config import ExecutorConfig
from lambda_executor.setup.connection import Connected

Answer = dict[str, Any]

#: The most tasks whose times are read.
MOST_TASKS = 5000
#: The most failures that are listed.
MOST_FAILURES = 10


def answer(service: str, question: Callable[[], Answer]) -> Answer:
    """Return what a panel shows; if it cannot be read, why, and which permission is missing.

    Args:
        service: The beginning of IAM's names of the service's actions.
        question: Reads it.
    """
    try:
        return question()
    except LambdaExecutorError as e:
        right = missing_right(e, service) if isinstance(e, AwsError) else None
        return {"problem": str(e), "missing": asdict(right) if right else None}


def with_wiring(service: str, question: Callable[[Connected], Answer]) -> Answer:
    """Return what a panel shows that needs the configuration; otherwise as `answer`."""
    found: Connected | None = None

    def read() -> Answer:
        nonlocal found
        found = WIRING.current()
        return {}

    problem = answer("ssm", read)
    return problem if found is None else answer(service, partial(question, found))


def wiring() -> Answer:
    """Return the wiring in use, read now: the SSM parameter's, or that of Airflow's options."""

    def read() -> Answer:
        found = WIRING.read()
        return {"wiring": _described(found.config)}

    return answer("ssm", read)


def queues() -> Answer:
    """Return the names of the queues, in the order of their numbers."""
    return with_wiring(
        "ssm",
        lambda found: {
            "rows": [
                {"subject": queue["subject"], "name": queue["name"]}
                for queue in _queues(found.config)
            ]
        },
    )


def in_flight() -> Answer:
    """Return the in-flight tasks of each target and queue, and how many wait for a place."""

    def read() -> Answer:
        by_queue = tasks.active_by_queue()
        routes = _routes_if_known()
        return {
            "rows": [
                {"target": _target(routes, queue), "queue": queue, "states": by_state}
                for queue, by_state in by_queue.items()
            ],
            "oldest": [asdict(each) for each in tasks.active()],
            "scheduled": tasks.scheduled(),
        }

    return answer("", read)


def failures(dag_ids: Collection[str], may: May) -> Answer:
    """Return the latest failures with the executor's reasons, of the DAGs that a person may read.

    Args:
        dag_ids: The DAGs that the person may read.
        may: Whether the person may read the tasks of a DAG.
    """

    def read() -> Answer:
        found = tasks.failures(MOST_FAILURES, dag_ids)
        return {
            "rows": [
                {"at": each.at, "task": str(each.task or ""), "reason": each.reason}
                for each in found
                if may(each.task.dag_id if each.task else None)
            ]
        }

    return answer("", read)


def durations(hours: int) -> Answer:
    """Return percentiles of waiting and running, in seconds, by target and queue."""

    def read() -> Answer:
        found = tasks.ended(datetime.now(UTC) - timedelta(hours=hours), MOST_TASKS)
        routes = _routes_if_known()
        return {
            "shares": times.SHARES,
            "is_cut": len(found) == MOST_TASKS,
            "rows": [
                {
                    "target": _target(routes, queue),
                    "queue": queue,
                    "tasks": len(of.runs_s),
                    "waits_s": times.percentiles(of.waits_s),
                    "runs_s": times.percentiles(of.runs_s),
                }
                for queue, of in times.by_queue(found).items()
            ],
        }

    return answer("", read)


def starts(hours: int) -> Answer:
    """Return how many invocations of each function began cold, restored or throttled."""

    def read(found: Connected) -> Answer:
        functions = _functions(found.config.routes)
        if not functions:
            return {"rows": []}
        until = datetime.now(UTC)
        starts = count_starts(found.clients, functions, until - timedelta(hours=hours), until)
        return {"rows": [asdict(each) for each in starts.counts], "is_cut": starts.is_cut}

    return with_wiring("cloudwatch", read)


def queue_depth(number: int) -> Answer:
    """Return the depth of one of `queues`."""

    def read(found: Connected) -> Answer:
        queues = _queues(found.config)
        if number >= len(queues):
            return {"problem": f"there is no queue {number} any more", "missing": None}
        facts = found.inspection.queue(queues[number]["url"])
        return {"visible": facts.visible, "hidden": facts.hidden}

    return with_wiring("sqs", read)


def dead_letters(may: May) -> Answer:
    """Return up to ten dead letters that a person may see; schedulers can take them meanwhile.

    Args:
        may: Whether the person may see those of a DAG.
    """

    def read(found: Connected) -> Answer:
        queue, _ = found.existing_dead_letters()
        entries = [Entry.read(message) for message in queue.receive(1, 0)]
        rows = dead_letter_actions.rows(entries, may)
        return {"rows": [asdict(row) for row in rows], "withheld": len(entries) - len(rows)}

    return with_wiring("sqs", read)


def as_seen_here(finding: Finding) -> dict[str, str]:
    """Return a finding of the doctor, who has the permissions of the API server here."""
    found = finding.as_json()
    if call := refused_call(finding.detail):
        found["verdict"] = Status.UNKNOWN.value
        found["fix"] = (
            f"nothing, if a scheduler may make this call ({call}), which the role of this API "
            "server may not: ask where a scheduler runs"
        )
        found["command"] = "airflow lambda-executor check"
    return found


def _routes_if_known() -> Routes | None:
    """Return the targets, whose names are not worth waiting for AWS; None: not read yet."""
    known = WIRING.known()
    return known.config.routes if known else None


def _target(routes: Routes | None, queue: str) -> str:
    if routes is None:
        return ""
    try:
        return str(routes.target(queue))
    except RouteError:  # The queue had a target when its tasks were sent.
        return ""


def _functions(routes: Routes) -> list[str]:
    return list(dict.fromkeys(each.function.rpartition(":")[2] for each in routes.targets()))


def _queues(config: ExecutorConfig) -> list[dict[str, str]]:
    urls = [
        *(("results queue", url) for url in config.queue_urls),
        ("dead-letter queue", config.dead_letter_queue_url),
    ]
    return [
        {"subject": subject, "url": url, "name": url.rpartition("/")[2]}
        for subject, url in urls
        if url is not None
    ]


def _described(config: ExecutorConfig) -> Mapping[str, Any]:
    parameter = conf.get(SECTION, CONFIG_PARAMETER.name, fallback=None)
    return {
        "source": f"SSM parameter {parameter}" if parameter else "Airflow's own options",
        "region": config.region_name or "that of the API server",
        "targets": [
            {"queue": queue, "target": str(config.routes.target(queue))}
            for queue in config.routes.queues()
        ],
        "max_in_flight": dict(config.max_in_flight),
        "payload_bucket": config.payload_bucket or "",
        "log_groups": list(_log_groups(config)),
    }


def _log_groups(config: ExecutorConfig) -> Iterator[str]:
    for target in config.routes.targets():
        yield config.log_group_of(target)
