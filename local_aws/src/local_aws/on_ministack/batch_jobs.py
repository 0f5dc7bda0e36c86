"""Batch's operations on jobs: SubmitJob and what follows from it.

ministack keeps compute environments, job queues, job definitions and jobs, and would call every job
a success at once. This module takes these operations over, and `batch_runner` runs the jobs.
"""

from __future__ import annotations

from collections.abc import Callable

from ministack.core.responses import error_response_json
from ministack.services import batch

from local_aws.on_ministack import batch_listing, batch_records
from local_aws.on_ministack.batch_queues import Record, Refused
from local_aws.on_ministack.batch_runner import BatchRunner

_Answer = tuple[int, dict[str, str], bytes]

#: https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html
_MOST_DESCRIBED = 100


class BatchJobs:
    """Answers requests about the jobs that `runner` runs."""

    def __init__(self, runner: BatchRunner) -> None:
        self._runner = runner

    def install(self) -> None:
        """Take over ministack's operations on jobs."""
        for path, operation in (
            ("submitjob", self._submit),
            ("describejobs", _describe),
            ("listjobs", _list),
            ("canceljob", self._cancel),
            ("terminatejob", self._terminate),
        ):
            batch._DISPATCH[f"/v1/{path}"] = self._answering(operation)

    def _answering(self, operation: Callable[[Record], Record]) -> Callable[[Record], _Answer]:
        def answer(request: Record) -> _Answer:
            try:
                with self._runner.changed:
                    done: _Answer = batch._json(200, operation(request))
                    return done
            except Refused as e:
                refused: _Answer = error_response_json("ClientException", str(e), 400)
                return refused

        return answer

    def _submit(self, request: Record) -> Record:
        record = batch_records.new_job(request)
        batch._jobs[record["jobId"]] = record
        self._runner.add(record)
        return {name: record[name] for name in ("jobArn", "jobName", "jobId")}

    def _cancel(self, request: Record) -> Record:
        """A job that has started is not cancelled, and the call succeeds.

        https://docs.aws.amazon.com/batch/latest/APIReference/API_CancelJob.html
        """
        self._runner.cancel(_job_id(request), request["reason"])
        return {}

    def _terminate(self, request: Record) -> Record:
        """A job that has not started is cancelled; one that has ended stays as it is.

        https://docs.aws.amazon.com/batch/latest/APIReference/API_TerminateJob.html
        """
        self._runner.terminate(_job_id(request), request["reason"])
        return {}


def _job_id(request: Record) -> str:
    if not request.get("reason"):
        raise Refused("reason is required")
    job_id = str(request.get("jobId", ""))
    if batch._jobs.get(job_id) is None:
        raise Refused(f"Job {job_id} not found.")
    return job_id


def _describe(request: Record) -> Record:
    ids = request.get("jobs") or []
    if len(ids) > _MOST_DESCRIBED:
        raise Refused(f"Number of jobs exceeds the limit of {_MOST_DESCRIBED}")
    found = [batch._jobs.get(job_id) for job_id in ids]
    return {"jobs": [record for record in found if record is not None]}


def _list(request: Record) -> Record:
    return batch_listing.list_jobs(request, list(batch._jobs.values()))
