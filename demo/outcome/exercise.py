"""Runs every DAG of an environment once, to its end, and collects what became of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from demo.installation.environment import Environment
from demo.outcome import expectations, tries
from demo.outcome.airflow_api import Api, Progress, Run
from demo.outcome.tries import Row

READ_TIMEOUT_S = 120.0
QUEUES = ("ResultsQueueUrl", "DeadLetterQueueUrl")
RUNS_TIMEOUT_S = 900.0
#: The log of an invocation may be readable a moment after Airflow knows of its end, and the
#: executor deletes the message about it a moment later still.
SETTLE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of the DAG runs.

    Attributes:
        runs: The DAG runs.
        rows: Every try and its invocations.
        messages_left: Messages that the executor did not take, by the queue's output.
        wall_s: From the first trigger to the last end.
    """

    runs: list[Run]
    rows: list[Row]
    messages_left: dict[str, int]
    wall_s: float

    def unexpected(self, environment: Environment) -> list[str]:
        """What is not as expected."""
        return expectations.unexpected(environment.files, self.runs, self.rows, self.messages_left)


def run_all(environment: Environment) -> Ended:
    """Trigger every DAG at once and wait for all of them.

    Raises:
        RunsError: Airflow did not get as far in the time given.
        ProcessError: A program of the environment died.
    """
    dag_ids = [dag_id for file in environment.files for dag_id in file.dag_ids]
    with Api(environment.airflow.url) as api:
        with environment.screen.phase("Waiting for Airflow to read the DAGs"):
            api.wait_for_dags(dag_ids, READ_TIMEOUT_S)
        return _run(environment, api, dag_ids)


def _run(environment: Environment, api: Api, dag_ids: Sequence[str]) -> Ended:
    with environment.screen.phase("Running the DAGs") as phase:
        started_s = time.monotonic()
        for dag_id in dag_ids:
            api.trigger(dag_id)
        for dag_id in dag_ids:
            api.unpause(dag_id)

        def watch(progress: Progress) -> None:
            phase.detail(str(progress))
            for child in environment.dead():
                raise child.failure("ended while the DAGs were running")

        progress = api.wait(RUNS_TIMEOUT_S, watch)
        wall_s = time.monotonic() - started_s
        phase.detail(str(progress))
    return Ended(progress.runs, _rows(environment, api), _messages_left(environment), wall_s)


def _rows(environment: Environment, api: Api) -> list[Row]:
    log_group = environment.outputs["LogGroupName"]
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        rows = tries.join(api.tries(), tries.read(environment.aws, log_group))
        is_complete = not any(map(expectations.lacks_invocation, rows))
        if is_complete or time.monotonic() > deadline:
            return rows
        time.sleep(1)


def _messages_left(environment: Environment) -> dict[str, int]:
    sqs = environment.aws.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        left = {}
        for queue in QUEUES:
            answer = sqs.get_queue_attributes(
                QueueUrl=environment.outputs[queue], AttributeNames=names
            )
            left[queue] = sum(int(answer["Attributes"][name]) for name in names)
        if not any(left.values()) or time.monotonic() > deadline:
            return left
        time.sleep(1)
