"""Workloads as jobs of AWS Batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from lambda_executor.aws import job_ends
from lambda_executor.aws.clients import Clients
from lambda_executor.aws.job_requests import RequestKind, command, job_name, merged
from lambda_executor.aws.started_jobs import Described, StartedJobs, before_the_start
from lambda_executor.contract.errors import RejectedError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.targets import JobTarget, Service

#: https://docs.aws.amazon.com/batch/latest/APIReference/API_TerminateJob.html
_LONGEST_REASON = 1024
#: The states of jobs that have ended.
ENDED = ("SUCCEEDED", "FAILED")
_ONE_CONTAINER = "a workload runs in the one container of a job; set containerOverrides"

SUBMIT_JOB = RequestKind(
    Service.BATCH,
    "batch",
    "SubmitJob",
    required=("jobQueue", "jobDefinition"),
    refused={
        "arrayProperties": "a workload is one job",
        "containerOverrides.command": "the command is the workload",
        "ecsPropertiesOverride": _ONE_CONTAINER,
        "eksPropertiesOverride": "jobs on Amazon EKS are not supported",
        "jobName": "it is the dispatch id, by which the job is found again",
        "nodeOverrides": _ONE_CONTAINER,
    },
    fixed={"jobQueue": "choose another target, by the task's queue or its executor_config"},
    completion={"jobName": "a"},
)


class BatchJobs:
    """Runs workloads as jobs of AWS Batch; implements `ports.JobLauncher`.

    The name of a job is the dispatch id. Batch does not refuse a second job of the same name, and
    `SubmitJob` has no token: so after a submit in doubt the next one first looks for the job.
    Should there be two all the same, Airflow lets one of them start the task.
    https://github.com/aws/containers-roadmap/issues/2798
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._jobs = StartedJobs()

    def launch(
        self, target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
    ) -> None:
        """Submit a job, unless an earlier submit in doubt has done so."""
        request = submission(target, id, event, overrides)
        if self._jobs.is_in_doubt(id):
            with before_the_start():
                if find(self._clients, target, id):
                    return
        try:
            with self._jobs.starting(id), self._clients.errors():
                answer = self._clients.batch.submit_job(**request)
        except RejectedError as e:
            raise e.about(f"AWS Batch refused the job of target {target.name!r}") from e
        self._jobs.started(id, answer["jobId"])

    def ended(self, target: JobTarget, ids: Collection[InvocationId]) -> Mapping[InvocationId, str]:
        """Return why jobs have ended; Batch knows them for at least a week afterwards.

        https://docs.aws.amazon.com/batch/latest/userguide/job_states.html
        """
        return self._jobs.ended(ids, partial(find, self._clients, target), self._describe)

    def stop(self, target: JobTarget, id: InvocationId, reason: str) -> bool:
        """Terminate a job, which also cancels one that waits."""
        found = self._jobs.of(id, partial(find, self._clients, target))
        for job_id in found:
            with self._clients.errors():
                self._clients.batch.terminate_job(jobId=job_id, reason=reason[:_LONGEST_REASON])
        return bool(found)

    def _describe(self, job_ids: Sequence[str]) -> Iterator[Described]:
        with self._clients.errors():
            answer = self._clients.batch.describe_jobs(jobs=job_ids)
        for job in answer["jobs"]:
            has_ended = job["status"] in ENDED
            yield Described(job["jobId"], job_ends.of_batch_job(job) if has_ended else None)


def find(clients: Clients, target: JobTarget, id: InvocationId) -> list[str]:
    """Ask for the jobs with the name of an invocation, whatever their status."""
    queue = SUBMIT_JOB.overridden(target, {})["jobQueue"]
    with clients.errors():
        answer = clients.batch.list_jobs(
            jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [job_name(id)]}]
        )
    return [job["jobId"] for job in answer["jobSummaryList"]]


def submission(
    target: JobTarget, id: InvocationId, event: bytes, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the whole `SubmitJob`.

    Retries are Airflow's, which sees each of them. Another attempt of the same job, as the job
    definition may ask for, would start the same try again, and Airflow refuses that. A person may
    ask for attempts, for a job whose container did not start.
    https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html

    Raises:
        RouteError: The overrides are not those of a submission.
    """
    request = {"retryStrategy": {"attempts": 1}, **SUBMIT_JOB.overridden(target, overrides)}
    timeout_s = request.get("timeout", {}).get("attemptDurationSeconds")
    ours = {"jobName": job_name(id), "containerOverrides": {"command": command(event, timeout_s)}}
    return merged(request, ours)
