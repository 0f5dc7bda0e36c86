"""Does what happens outside while the DAGs run: deliveries arrive, people answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from demo.installation.outside_world import Delivery, OutsideWorld
from demo.machine.embedded_aws import EmbeddedAws
from demo.outcome.airflow_api import Api, Progress, TryKey

#: The state of a task that waits for a person; before Airflow 3.3 it is deferred.
AWAITING_INPUT = "awaiting_input"


@dataclass(frozen=True, slots=True)
class Events:
    """The events of one set of DAG runs; each happens once."""

    world: OutsideWorld
    aws: EmbeddedAws
    api: Api
    _delivered: set[Delivery] = field(default_factory=set)
    _answered: set[TryKey] = field(default_factory=set)

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

    def _deliver(self, delivery: Delivery) -> None:
        bucket, _, key = delivery.to.removeprefix("s3://").partition("/")
        self.aws.client("s3").upload_file(str(delivery.file), bucket, key)
        self._delivered.add(delivery)

    def _answer(self, key: TryKey, choice: str) -> None:
        if key not in self._answered:
            self.api.answer(key, choice)
            self._answered.add(key)
