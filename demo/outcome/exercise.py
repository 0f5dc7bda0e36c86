"""Runs every DAG of an environment once, to its end, and collects the results."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from demo.installation.environment import Environment
from demo.outcome import expectations, tries
from demo.outcome.airflow_api import Api, Progress, Run
from demo.outcome.events import Events
from demo.outcome.tries import Row

READ_TIMEOUT_S = 120.0
QUEUES = ("ResultsQueueUrl", "DeadLetterQueueUrl")
RUNS_TIMEOUT_S = 900.0
#: The log of an invocation may become readable, and its message be deleted, shortly after its end.
SETTLE_TIMEOUT_S = 30.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ended:
    """The results of the DAG runs, and the messages that the executor left, by queue."""

    runs: list[Run]
    rows: list[Row]
    messages_left: dict[str, int]
    wall_s: float

    def unexpected(self, environment: Environment) -> list[str]:
        """Every difference from what the DAG files expect."""
        return expectations.unexpected(
            environment.project.files, self.runs, self.rows, self.messages_left
        )


def run_all(environment: Environment) -> Ended:
    """Trigger every DAG at once, but those that assets start, and wait for the end of all runs.

    Raises:
        RunsError: Airflow refused a request, or a time-out has passed.
        ProcessError: A program of the environment ended.
    """
    with api_with_dags(environment) as api, environment.screen.phase("Running the DAGs") as phase:
        started_s = time.monotonic()
        dag_ids = environment.project.dag_ids
        by_assets = [dag_id for dag_id in dag_ids if api.is_started_by_assets(dag_id)]
        triggered = [dag_id for dag_id in dag_ids if dag_id not in by_assets]
        for dag_id in triggered:
            api.trigger(dag_id)
        # First the others: an update of an asset does not start a DAG that is paused.
        for dag_id in by_assets + triggered:
            api.unpause(dag_id)
        api.read_again(by_assets)
        events = Events(
            environment.project.outside,
            environment.aws,
            api,
            environment.outputs["ConfigParameterName"],
        )

        def watch(progress: Progress) -> None:
            phase.detail(str(progress))
            events.follow(progress)
            for child in environment.dead():
                raise child.failure("ended while the DAGs were running")

        progress = api.wait(dag_ids, RUNS_TIMEOUT_S, watch)
        wall_s = time.monotonic() - started_s
        phase.detail(str(progress))
        return Ended(progress.runs, _rows(environment, api), _messages_left(environment), wall_s)


@contextlib.contextmanager
def api_with_dags(environment: Environment) -> Iterator[Api]:
    """Airflow's REST API, once Airflow has read every DAG.

    Raises:
        RunsError: Airflow did not read all of them in time.
    """
    with Api(environment.airflow.url) as api:
        with environment.screen.phase("Waiting for Airflow to read the DAGs"):
            api.wait_for_dags(environment.project.dag_ids, READ_TIMEOUT_S)
        yield api


def log_groups(environment: Environment) -> list[str]:
    """What the names of the log groups of all functions and targets begin with."""
    _, _, prefix = environment.outputs["LogGroupName"].rpartition("/")
    return [f"/aws/{service}/{prefix}" for service in tries.SERVICES]


def _rows(environment: Environment, api: Api) -> list[Row]:
    groups = log_groups(environment)
    return _settled(
        lambda: tries.join(api.tries(), tries.read(environment.aws, groups)),
        lambda rows: not any(map(expectations.lacks_invocation, rows)),
    )


def _messages_left(environment: Environment) -> dict[str, int]:
    sqs = environment.aws.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def count(queue: str) -> int:
        url = environment.outputs[queue]
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    return _settled(
        lambda: {queue: count(queue) for queue in QUEUES}, lambda left: not any(left.values())
    )


def _settled(read: Callable[[], T], is_settled: Callable[[T], bool]) -> T:
    """Read until the answer is settled, or for `SETTLE_TIMEOUT_S`."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while not is_settled(found := read()) and time.monotonic() < deadline:
        time.sleep(1)
    return found
