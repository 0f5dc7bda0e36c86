"""Runs Batch's jobs: one thread starts them in their order, and each attempt has its own thread."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import batch, ecs

from local_aws.batch_service import order
from local_aws.batch_service.attempt import Attempt, Ended, Stop
from local_aws.batch_service.retries import is_retried
from local_aws.images.store import ImageError
from local_aws.on_ministack import batch_queues, batch_records
from local_aws.on_ministack.batch_queues import Record, Refused
from local_aws.on_ministack.containers import Containers

logger = logging.getLogger("local_aws.on_ministack.batch_runner")

#: Environments and queues also change where this module does not see it (CloudFormation).
_LOOK_AGAIN_S = 0.5
_NOT_STARTED = ("SUBMITTED", "PENDING", "RUNNABLE")
#: What a container has only once an attempt has started.
_OF_ATTEMPT = ("exitCode", "reason", "taskArn", "logStreamName")


@dataclass(slots=True)
class _Job:
    """A job that has not ended.

    Attributes:
        record: Its description, which ministack keeps.
        vcpus: How many it needs.
        environment: Where its attempt runs; None: it waits.
    """

    record: Record
    vcpus: float
    account: str
    region: str
    environment: Record | None = None
    attempt: Attempt = field(default_factory=Attempt)

    @property
    def waits(self) -> bool:
        """Whether no attempt runs."""
        return self.record["status"] in _NOT_STARTED


class BatchRunner:
    """Runs jobs whose records ministack keeps.

    Attributes:
        changed: Held by whoever reads or changes a record, and notified of changes.
    """

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self.changed = threading.Condition()
        self._jobs: dict[str, _Job] = {}  # In the order of submission.
        self._closed = False

    def start(self) -> None:
        """Start the thread that starts jobs."""
        threading.Thread(target=self._schedule, name="batch", daemon=True).start()

    def close(self) -> None:
        """Start no more attempts."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    def add(self, record: Record) -> None:
        """Run a job as soon as it is its turn."""
        with self.changed:
            self._jobs[record["jobId"]] = _Job(
                record, batch_records.vcpus(record), get_account_id(), get_region()
            )
            self.changed.notify_all()

    def cancel(self, job_id: str, reason: str) -> None:
        """End a job as failed that has not started; another one goes on."""
        with self.changed:
            job = self._jobs.get(job_id)
            if job is not None and job.waits:
                job.record["isCancelled"] = True
                self._give_up(job, reason)

    def terminate(self, job_id: str, reason: str) -> None:
        """End a job as failed; one that has not started is cancelled."""
        with self.changed:
            self.cancel(job_id, reason)
            job = self._jobs.get(job_id)
            if job is not None:
                job.record["isTerminated"] = True
                job.attempt.stop(Stop(reason))

    def interrupt(self, job_arn: str) -> bool:
        """Take back the capacity of a running job, as Spot does; whether it runs.

        The words for an instance are those of
        https://aws.amazon.com/blogs/compute/introducing-retry-strategies-for-aws-batch/, those for
        Fargate of https://github.com/nextflow-io/nextflow/issues/5786.
        """
        with self.changed:
            job = self._jobs.get(job_arn.rpartition("/")[2])
            if job is None or job.record["status"] != "RUNNING" or job.environment is None:
                return False
            if batch_queues.on_fargate(job.environment):
                stop = Stop("Your Spot Task was interrupted.", retried=True)
            else:
                instance = f"i-{uuid.uuid4().hex[:17]}"
                reason = f"Host EC2 (instance {instance}) terminated."
                stop = Stop(reason, retried=True, with_host=True)
            job.attempt.stop(stop)
            return True

    def _give_up(self, job: _Job, reason: str) -> None:
        """End a job that waits as failed."""
        stopped_at = batch_records.now_ms()
        job.record.update(status="FAILED", statusReason=reason, stoppedAt=stopped_at)
        del self._jobs[job.record["jobId"]]
        self.changed.notify_all()

    def _schedule(self) -> None:
        with self.changed:
            while not self._closed:
                self._start_what_can()
                waits = any(job.waits for job in self._jobs.values())
                self.changed.wait(_LOOK_AGAIN_S if waits else None)

    def _start_what_can(self) -> None:
        queue_of = cache(batch_queues.queue_of)  # Each queue is looked up once.
        waiting = []
        used: dict[str, float] = {}
        for job_id, job in list(self._jobs.items()):
            if job.environment is not None:
                arn = job.environment["computeEnvironmentArn"]
                used[arn] = used.get(arn, 0.0) + job.vcpus
                continue
            with self._scheduling(job):
                queue = queue_of(job.record["jobQueue"])
                self._look_at_dependencies(job)
                if job.record["status"] == "RUNNABLE":
                    waiting.append(order.Waiting(job_id, job.vcpus, queue))
        for job_id, environment in order.placements(waiting, used):
            with self._scheduling(self._jobs[job_id]):
                self._start(self._jobs[job_id], environment)

    @contextmanager
    def _scheduling(self, job: _Job) -> Iterator[None]:
        """Give the job up if its queue was deleted or its record is invalid; the others go on.

        https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteJobQueue.html
        """
        try:
            with request_scope(job.account, job.region):
                yield
        except Refused as e:
            self._give_up(job, str(e))
        except Exception as e:
            logger.exception("the job %s cannot be scheduled", job.record["jobId"])
            self._give_up(job, f"the embedded AWS cannot schedule it: {e!r}")

    def _look_at_dependencies(self, job: _Job) -> None:
        """A job waits for the success of others, and fails with them.

        https://docs.aws.amazon.com/batch/latest/userguide/job_dependencies.html
        """
        others = [batch._jobs.get(other["jobId"]) for other in job.record["dependsOn"]]
        states = {other["status"] for other in others if other is not None}
        if "FAILED" in states:
            self._give_up(job, "Dependent Job failed")
        else:
            job.record["status"] = "PENDING" if states - {"SUCCEEDED"} else "RUNNABLE"

    def _start(self, job: _Job, environment_arn: str) -> None:
        job.environment = batch_queues.find_environment(environment_arn)
        job.attempt = Attempt()
        job.record["status"] = "STARTING"
        for name in _OF_ATTEMPT:
            job.record["container"].pop(name, None)
        threading.Thread(target=self._run, args=[job], name="batch-attempt", daemon=True).start()

    def _run(self, job: _Job) -> None:
        """Run an attempt to its end."""
        assert job.environment is not None  # noqa: S101 - `_start` has set it
        try:
            with request_scope(job.account, job.region):
                ended = self._attempt(job, job.environment)
        except Exception as e:
            logger.exception("an attempt of the job %s failed", job.record["jobId"])
            ended = Ended(f"the embedded AWS cannot run it: {e!r}")
        with self.changed:
            self._end(job, ended)
            self.changed.notify_all()

    def _attempt(self, job: _Job, environment: Record) -> Ended:
        record, task_id = job.record, uuid.uuid4().hex
        cluster = environment["ecsClusterArn"].replace(":cluster/", ":task/")
        with self.changed:
            record["container"]["taskArn"] = f"{cluster}/{task_id}"
        try:
            secrets = ecs._resolve_container_secrets(record["container"])
            spec = batch_records.container_spec(record, environment, secrets)
            container = self._containers.start(spec, task_id)
        except ImageError as e:
            return _not_started(environment, f"CannotPullContainerError: {e}")
        except (ecs._SecretResolutionError, LookupError, OSError, ValueError) as e:
            return _not_started(environment, f"ResourceInitializationError: {e}")
        try:
            with self.changed:
                record["status"], record["startedAt"] = "RUNNING", batch_records.now_ms()
                record["container"]["logStreamName"] = batch_records.log_stream(record, task_id)
            return job.attempt.follow(
                container, record.get("timeout", {}).get("attemptDurationSeconds")
            )
        finally:
            container.kill()

    def _end(self, job: _Job, ended: Ended) -> None:
        record, container = job.record, job.record["container"]
        stopped_at = batch_records.now_ms()
        if ended.exit_code is not None:
            container["exitCode"] = ended.exit_code
        if ended.reason is not None:
            container["reason"] = ended.reason
        attempt = {
            "container": {
                "networkInterfaces": [],
                **{name: container[name] for name in _OF_ATTEMPT if name in container},
            },
            "stoppedAt": stopped_at,
            "statusReason": ended.status_reason,
        }
        if record["status"] == "RUNNING":
            attempt["startedAt"] = record["startedAt"]
        record["attempts"].append(attempt)
        record["statusReason"] = ended.status_reason
        job.environment = None
        retried = is_retried(record["retryStrategy"], len(record["attempts"]), ended)
        if retried and not record["isTerminated"]:
            record["status"] = "RUNNABLE"
            return
        record["status"] = "SUCCEEDED" if ended.succeeded else "FAILED"
        record["stoppedAt"] = stopped_at
        del self._jobs[record["jobId"]]


def _not_started(environment: Record, reason: str) -> Ended:
    """How a job ends whose container cannot be started.

    On Fargate, Batch passes on the reason of the task; on instances it is the container's:
    https://github.com/nextflow-io/nextflow/issues/5099
    """
    if batch_queues.on_fargate(environment):
        return Ended(reason)
    return Ended("Task failed to start", reason=reason)
