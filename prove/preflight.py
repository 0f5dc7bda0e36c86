"""`make preflight`: compares what a stage takes with the account's quotas. It changes nothing.

A quota that cannot be read is named as such, and never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from prove.needs import Needs
from prove.place import Place

#: What Lambda leaves unreserved in the smallest accounts. In others it is 100.
#: https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
LEAST_UNRESERVED = 10


class Verdict(StrEnum):
    """Whether a quota suffices."""

    OK = "ok"
    SLOW = "slow"  # It works, but something waits.
    PROBLEM = "PROBLEM"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota of Service Quotas, by its codes."""

    name: str
    service: str
    code: str


#: https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
FARGATE = Quota("Fargate vCPUs on demand", "fargate", "L-3032A538")
SPOT = Quota("Fargate vCPUs on Spot", "fargate", "L-36FBB829")
#: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
ELASTIC_IPS = Quota("Elastic IP addresses", "ec2", "L-0263D0A3")
VPCS = Quota("VPCs", "vpc", "L-F678F1CE")
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
CONCURRENCY = Quota("Lambda concurrent executions", "lambda", "L-B99A9384")


@dataclass(frozen=True, slots=True)
class Finding:
    """What the pre-flight says about one quota; `fix` is a command, or empty."""

    quota: Quota
    verdict: Verdict
    detail: str
    fix: str = ""


def preflight(place: Place, needs: Needs) -> Iterator[Finding]:
    """Yield a finding for each quota."""
    is_deployed = bool(place.stacks())
    for quota, steady, replacing in (
        (FARGATE, needs.vcpus, needs.vcpus_replacing),
        (SPOT, needs.spot_vcpus, needs.spot_vcpus_replacing),
    ):
        if steady:
            yield _guarded(quota, partial(_vcpus, place, quota, steady, replacing))
    yield _guarded(CONCURRENCY, partial(_concurrency, place, needs, is_deployed=is_deployed))
    addresses, vpcs = (0, 0) if is_deployed else (needs.elastic_ips, needs.vpcs)
    yield _guarded(ELASTIC_IPS, partial(_elastic_ips, place, addresses))
    yield _guarded(VPCS, partial(_vpcs, place, vpcs))


def _guarded(quota: Quota, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except (ClientError, BotoCoreError, KeyError) as e:
        text = " ".join(str(e).split())
        detail = f"cannot be read, so it is not known whether it suffices: {text}"
        command = (
            f"aws service-quotas get-service-quota --service-code {quota.service} "
            f"--quota-code {quota.code}"
        )
        return Finding(quota, Verdict.UNKNOWN, detail, command)


def _limit(place: Place, quota: Quota) -> float:
    found = place.client("service-quotas").get_service_quota(
        ServiceCode=quota.service, QuotaCode=quota.code
    )
    return float(found["Quota"]["Value"])


def _vcpus(place: Place, quota: Quota, steady: float, replacing: float) -> Finding:
    limit = _limit(place, quota)
    takes = f"the limit is {limit:g}, the stage takes {steady:g}, and {replacing:g} during a deploy"
    if steady > limit:
        detail = f"{takes}: its last services never start, and the deploy waits for hours"
        return Finding(quota, Verdict.PROBLEM, detail, _more(quota, replacing))
    if replacing > limit:
        detail = f"{takes}: new tasks wait until old ones have ended"
        return Finding(quota, Verdict.SLOW, detail, _more(quota, replacing))
    return Finding(quota, Verdict.OK, f"{takes}; what else runs in the account is not counted")


def _concurrency(place: Place, needs: Needs, *, is_deployed: bool) -> Finding:
    limits = place.client("lambda").get_account_settings()["AccountLimit"]
    limit, free = limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]
    new = 0 if is_deployed else needs.reserved
    takes = f"the limit is {limit}, {free} of it unreserved, the stage reserves {needs.reserved}"
    if new and free - new < LEAST_UNRESERVED:
        detail = f"{takes}: Lambda refuses to leave fewer than {LEAST_UNRESERVED} unreserved"
        return Finding(CONCURRENCY, Verdict.PROBLEM, detail, _more(CONCURRENCY, 1000))
    if limit < needs.parallelism:
        detail = (
            f"{takes}, and Airflow may run {needs.parallelism} tasks at once "
            "(execution.parallelism): the rest waits in Airflow"
        )
        return Finding(CONCURRENCY, Verdict.SLOW, detail, _more(CONCURRENCY, 1000))
    return Finding(CONCURRENCY, Verdict.OK, takes)


def _elastic_ips(place: Place, new: int) -> Finding:
    used = len(place.client("ec2").describe_addresses()["Addresses"])
    return _counted(ELASTIC_IPS, _limit(place, ELASTIC_IPS), used, new)


def _vpcs(place: Place, new: int) -> Finding:
    used = len(place.client("ec2").describe_vpcs()["Vpcs"])
    return _counted(VPCS, _limit(place, VPCS), used, new)


def _counted(quota: Quota, limit: float, now: int, new: int) -> Finding:
    takes = f"the limit is {limit:g}, {now} are in use, the stage makes {new} more"
    if new and now + new > limit:
        return Finding(quota, Verdict.PROBLEM, takes, _more(quota, now + new))
    return Finding(quota, Verdict.OK, takes)


def _more(quota: Quota, wanted: float) -> str:
    return (
        f"aws service-quotas request-service-quota-increase --service-code {quota.service} "
        f"--quota-code {quota.code} --desired-value {wanted:g}"
    )
