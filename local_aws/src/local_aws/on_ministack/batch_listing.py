"""ListJobs: which jobs fit the filters, and in which pages.

https://docs.aws.amazon.com/batch/latest/APIReference/API_ListJobs.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from local_aws.on_ministack.batch_queues import Record, Refused, find_queue

_PAGE = 100
_SUMMARY = (
    "jobArn",
    "jobId",
    "jobName",
    "createdAt",
    "status",
    "statusReason",
    "startedAt",
    "stoppedAt",
    "jobDefinition",
    "isCancelled",
    "isTerminated",
)


def list_jobs(request: Record, jobs: Iterable[Record]) -> Record:
    """Answer ListJobs.

    Raises:
        Refused: The request is invalid, or asks for jobs that are not there.
    """
    if not request.get("jobQueue"):
        raise Refused("the embedded AWS lists the jobs of a queue: give jobQueue")
    queue_arn = find_queue(request["jobQueue"])["jobQueueArn"]
    fits = _choice(request)
    found = [job for job in jobs if job["jobQueue"] == queue_arn and fits(job)]
    if request.get("filters"):
        found.sort(key=lambda job: job["createdAt"], reverse=True)
    try:
        start = int(request.get("nextToken") or 0)
        size = min(max(int(request.get("maxResults") or _PAGE), 1), _PAGE)
    except ValueError:
        raise Refused(f"Invalid nextToken {request['nextToken']}") from None
    page: Record = {"jobSummaryList": [_summary(job) for job in found[start : start + size]]}
    if start + size < len(found):
        page["nextToken"] = str(start + size)
    return page


def _choice(request: Record) -> Callable[[Record], bool]:
    """With a filter the status does not matter; without both, running jobs are listed."""
    filters = request.get("filters") or []
    if not filters:
        status = request.get("jobStatus", "RUNNING")
        return lambda job: bool(job["status"] == status)
    if len(filters) > 1 or len(filters[0].get("values") or []) != 1:
        raise Refused("Only one filter with one value can be used at a time")
    name, value = filters[0].get("name"), filters[0]["values"][0]
    match name:
        case "JOB_NAME":
            return lambda job: _matches(value.lower(), job["jobName"].lower())
        case "JOB_DEFINITION":
            return lambda job: _of_definition(value, job["jobDefinition"])
        case "BEFORE_CREATED_AT":
            return lambda job: bool(job["createdAt"] < int(value))
        case "AFTER_CREATED_AT":
            return lambda job: bool(job["createdAt"] > int(value))
    raise Refused(f"the embedded AWS has no filter {name}")


def _matches(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _of_definition(value: str, arn: str) -> bool:
    if value.startswith("arn:"):
        return value == arn
    return _matches(value, arn.rpartition("/")[2].partition(":")[0])


def _summary(job: Record) -> Record:
    container: dict[str, Any] = {
        name: job["container"][name] for name in ("exitCode", "reason") if name in job["container"]
    }
    return {
        **{name: job[name] for name in _SUMMARY if name in job},
        **({"container": container} if container else {}),
    }
