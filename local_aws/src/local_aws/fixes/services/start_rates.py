"""SubmitJob and RunTask of Fargate are throttled at AWS's rates; ministack throttles nothing.

Each account may call SubmitJob 50 times a second, and RunTask for Fargate 20 times.
https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/throttling.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import batch, ecs

from local_aws.batch_service.rate import Rate
from local_aws.fixes._requests import request_of

_SUBMIT_JOB_PER_S = 50
_RUN_TASK_PER_S = 20


def apply() -> None:
    """Refuse a call beyond the rate before anything else of it is looked at."""
    # https://repost.aws/knowledge-center/aws-batch-requests-error
    too_many = partial(error_response_json, "TooManyRequestsException", "Too Many Requests", 429)
    # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
    throttled = partial(error_response_json, "ThrottlingException", "Rate exceeded", 400)
    _limit(batch, _SUBMIT_JOB_PER_S, _submits_a_job, too_many)
    _limit(ecs, _RUN_TASK_PER_S, _runs_on_fargate, throttled)


def _limit(
    service: Any,  # noqa: ANN401 - a module of ministack
    per_second: int,
    counts: Callable[[str, dict[str, str], bytes], bool],
    refusal: Callable[[], Any],
) -> None:
    stock = service.handle_request
    rates: dict[tuple[str, str], Rate] = defaultdict(lambda: Rate(per_second))

    async def handle_request(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Any:  # noqa: ANN401 - ministack's answer
        scope = get_account_id(), get_region()
        if counts(path, headers, body) and not rates[scope].take():
            return refusal()
        return await stock(method, path, headers, body, query)

    service.handle_request = handle_request


def _submits_a_job(path: str, _headers: dict[str, str], _body: bytes) -> bool:
    return path.rstrip("/").lower() == "/v1/submitjob"


def _runs_on_fargate(_path: str, headers: dict[str, str], body: bytes) -> bool:
    if not headers.get("x-amz-target", "").endswith(".RunTask"):
        return False
    request = request_of(body)
    strategy = request.get("capacityProviderStrategy")
    items = strategy if isinstance(strategy, list) else []
    providers = [item.get("capacityProvider") for item in items if isinstance(item, dict)]
    return "FARGATE" in {request.get("launchType"), *(str(name)[:7] for name in providers)}
