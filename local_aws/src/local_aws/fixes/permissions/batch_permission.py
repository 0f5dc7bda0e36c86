"""Batch's calls are permitted by jobs, job definitions and job queues.

AWS checks SubmitJob against the job queue and also against the job definition, and CancelJob and
TerminateJob against the job. The calls that list and describe have no resource. ministack under
`--auth` checks all of them against `*`, and denies a role with a policy for AWS.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html
https://docs.aws.amazon.com/batch/latest/userguide/iam-example-restrict-job-queue.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ministack.core import iam_actions
from ministack.services import batch

from local_aws.fixes._requests import operation, request_of
from local_aws.fixes.permissions._more_checks import Check, also_check


def apply() -> None:
    """Return these ARNs; the second one of SubmitJob is a check of its own."""
    stock = iam_actions.extract_resource_arn

    def extract_resource_arn(*request: Any) -> str:  # noqa: ANN401 - passed through
        service, _method, path, headers, body, _query, region, account = request
        if service == "batch":
            given, scope = request_of(body), f"{region}:{account}"
            match operation(path, headers):
                case "submitjob":
                    return _arn(scope, "job-queue", given.get("jobQueue"))
                case "canceljob" | "terminatejob":
                    return _arn(scope, "job", given.get("jobId"))
        return str(stock(*request))

    iam_actions.extract_resource_arn = extract_resource_arn
    also_check(batch, "batch", _definition)


def _definition(name: str, request: dict[str, Any], scope: str) -> Iterator[Check]:
    if name == "submitjob":
        arn = _arn(scope, "job-definition", request.get("jobDefinition"))
        yield Check("batch:SubmitJob", arn)


def _arn(scope: str, kind: str, reference: str | None) -> str:
    """The ARN of a name or an id; or the one that the caller gave."""
    given = reference or ""
    return given if given.startswith("arn:") else f"arn:aws:batch:{scope}:{kind}/{given}"
