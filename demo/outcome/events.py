"""Does what happens outside while the DAGs run.

Deliveries arrive, people answer, and AWS takes back Spot capacity.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from demo.installation.outside_world import Delivery, OutsideWorld
from demo.machine.embedded_aws import EmbeddedAws
from demo.outcome.airflow_api import Api, Progress, TryKey
from lambda_executor.contract.options import TARGETS

#: The state of a task that waits for a person; before Airflow 3.3 it is deferred.
AWAITING_INPUT = "awaiting_input"


@dataclass(frozen=True, slots=True)
class Events:
    """The events of one set of DAG runs; each happens once.

    Attributes:
        parameter: The name of the SSM parameter that wires the executor.
    """

    world: OutsideWorld
    aws: EmbeddedAws
    api: Api
    parameter: str
    _delivered: set[Delivery] = field(default_factory=set)
    _answered: set[TryKey] = field(default_factory=set)
    _interrupted: set[TryKey] = field(default_factory=set)

    def follow(self, progress: Progress) -> None:
        """Do what the tasks wait for by now."""
        waiting = {
            each.key: each.state
            for each in progress.tries
            if each.state in {"deferred", AWAITING_INPUT}
        }
        for key, state in waiting.items():
            name = f"{key.dag_id}.{key.task_id}"
            for delivery in self.world.deliveries:
                if delivery.when_deferred == name and delivery not in self._delivered:
                    self._deliver(delivery)
            if state == AWAITING_INPUT and name in self.world.answers:
                self._answer(key, self.world.answers[name])

        for each in progress.tries:
            name = f"{each.key.dag_id}.{each.key.task_id}"
            queue = self.world.interruptions.get(name)
            if queue and each.state == "running" and each.key.try_number == 1:
                self._interrupt(each.key, queue)

    def _deliver(self, delivery: Delivery) -> None:
        bucket, _, key = delivery.to.removeprefix("s3://").partition("/")
        self.aws.client("s3").upload_file(str(delivery.file), bucket, key)
        self._delivered.add(delivery)

    def _interrupt(self, key: TryKey, queue: str) -> None:
        """Take back the capacity of every job in the job queue that serves an Airflow queue."""
        if key in self._interrupted:
            return
        wired = self.aws.client("ssm").get_parameter(Name=self.parameter)["Parameter"]["Value"]
        targets = json.loads(json.loads(wired)[TARGETS.name])
        batch, job_queue = self.aws.client("batch"), targets[queue]["batch"]["jobQueue"]
        running = batch.list_jobs(jobQueue=job_queue, jobStatus="RUNNING")["jobSummaryList"]
        if any(self.aws.interrupt(job["jobArn"]) for job in running):
            self._interrupted.add(key)

    def _answer(self, key: TryKey, choice: str) -> None:
        if key not in self._answered:
            self.api.answer(key, choice)
            self._answered.add(key)
