"""The findings that follow from an error, each with its own fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from lambda_executor.aws import Place
from lambda_executor.contract.errors import (
    DENIED,
    AwsError,
    ConfigError,
    CredentialsError,
    DatabaseError,
    TransientError,
    UnreachableError,
)
from lambda_executor.contract.options import SECTION
from lambda_executor.core.findings import Finding, problem, unknown

#: A command that lists what there is, by the beginning of a check's subject.
_LISTS = {
    "function": "aws lambda list-functions --query Functions[].FunctionName",
    "results queue": "aws sqs list-queues",
    "dead-letter queue": "aws sqs list-queues",
    "job queue": "aws batch describe-job-queues --query jobQueues[].jobQueueName",
    "job definition": "aws batch describe-job-definitions --status ACTIVE "
    "--query jobDefinitions[].jobDefinitionName",
    "cluster": "aws ecs list-clusters",
    "base image": "aws lambda-microvms list-managed-microvm-images --query items[].imageArn",
    "MicroVM image": "aws lambda-microvms list-microvm-images --query items[].imageArn",
    "task definition": "aws ecs list-task-definition-families --status ACTIVE",
}

ATTACH = "aws iam attach-role-policy --role-name <role> --policy-arn <SchedulerPolicyArn>"


def guarded(
    subject: str, check: Callable[[], Iterable[Finding]], of: str = ""
) -> Iterator[Finding]:
    """Yield the findings of one check; its failure is a finding too, and never ends the doctor."""
    try:
        yield from check()
    except ConfigError as e:
        command = e.command or f"airflow config list --section {SECTION}"
        yield problem(subject, e.detail, e.fix or "correct this option", command, of)
    except DatabaseError as e:
        yield unknown(subject, str(e), "see whether the database answers", "airflow db check", of)
    except Exception as e:  # noqa: BLE001 - a fault of one check must not hide the others
        yield unknown(subject, f"the check failed: {type(e).__name__}: {e}", "report this", of=of)


def refused(subject: str, error: AwsError, place: Place, of: str = "") -> Finding:
    """Judge an error about something without which workloads fail."""
    detail = f"{error} (asked in {place})"
    if isinstance(error, CredentialsError):
        return no_credentials(error, of)
    if isinstance(error, UnreachableError):
        return _unreachable(problem, subject, error, place, of)
    if isinstance(error, TransientError):
        return unknown(subject, detail, "ask again later", of=of)
    if error.code in DENIED:
        fix = (
            f"correct its name or the Region, which is {place.region}: the stacks' managed policy "
            "(output SchedulerPolicyArn) permits only what the stage owns; or attach the policy"
        )
        return problem(subject, detail, fix, ATTACH, of)
    fix = (
        f"correct its name in [lambda_executor] or in the SSM parameter, or the Region, which is "
        f"{place.region}; the command lists what is there"
    )
    return problem(subject, detail, fix, _LISTS.get(subject, "aws sts get-caller-identity"), of)


def no_credentials(error: AwsError, of: str = "") -> Finding:
    """Judge an error about credentials."""
    return problem(
        "credentials",
        str(error),
        "give this process AWS credentials: by boto3's own chain (role, profile, variables), or by "
        "an Airflow connection and [lambda_executor] conn_id; the command shows what boto3 finds",
        "aws sts get-caller-identity",
        of,
    )


def not_needed(subject: str, error: AwsError, place: Place) -> Finding:
    """Judge an error of STS, which the executor never calls."""
    if isinstance(error, UnreachableError):
        found = _unreachable(unknown, subject, error, place)
        fix = (
            "nothing, if the other checks have answers: the executor never calls it. A network "
            "without a way to the Internet reaches it by the interface endpoint "
            f"com.amazonaws.{place.region}.sts. Otherwise {found.fix}"
        )
        return replace(found, fix=fix)
    fix = "nothing, if the other checks have answers"
    return unknown(subject, f"{error} (asked in {place})", fix)


def not_known(subject: str, detail: str, permission: str, error: AwsError, place: Place) -> Finding:
    """Judge an error about something that only the doctor reads."""
    if isinstance(error, UnreachableError):
        return _unreachable(unknown, subject, error, place)
    if error.code in DENIED:
        fix = f"allow {permission}; the stacks' managed policy (output SchedulerPolicyArn) does"
        return unknown(subject, f"{detail}: {error}", fix, ATTACH)
    return unknown(subject, f"{detail}: {error} (asked in {place})", "ask again later")


def _unreachable(
    judge: Callable[..., Finding], subject: str, error: AwsError, place: Place, of: str = ""
) -> Finding:
    return judge(
        subject,
        f"{place.endpoint} cannot be reached: {error}",
        f"check the Region ({place.region}), AWS_ENDPOINT_URL, and DNS, proxy and route of this "
        "machine",
        f"curl -sS -o /dev/null -w '%{{http_code}}\\n' {place.endpoint}",
        of,
    )
