"""Each API is called at its own rate, and again when that is harmless."""

from __future__ import annotations

import pytest

from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    InDoubtError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.apis import BATCH, ECS, JOBS, LAMBDA, MICROVM, Api
from lambda_executor.core.dispatch import Dispatch, Envelope, InDoubt
from lambda_executor.core.dispatch_queue import DispatchQueue
from lambda_executor.core.pace import Pace
from lambda_executor.core.targets import JobTarget, Service

TARGET = JobTarget("long", Service.BATCH, "{}")


def queue(api: Api, count: int, max_attempts: int = 3) -> DispatchQueue:
    """Launches, submitted at second 0."""
    queue = DispatchQueue(max_attempts, most_under_way=50, api=api, uniform=max)
    for number in range(count):
        queue.push(Dispatch(InvocationId(str(number)), lambda: Envelope(TARGET, b"")), 0)
    return queue


def taken_in(queue: DispatchQueue, seconds: float) -> int:
    """How many calls are made in so many seconds, each answered after a tenth of one."""
    taken, now_s, under_way = 0, 0.0, []
    while now_s < seconds:
        while waiting := queue.pop(now_s):
            under_way.append(waiting)
        while under_way and now_s - under_way[0].popped_s >= 0.1:
            queue.succeeded(under_way.pop(0), now_s)
            taken += 1
        now_s += 0.001
    return taken


@pytest.mark.parametrize(("api", "per_s"), [(BATCH, 50), (ECS, 20), (MICROVM, 5)])
def test_a_service_is_called_as_often_as_its_quota_allows(api: Api, per_s: int) -> None:
    """No more often, however fast it answers, and nearly as often."""
    taken = taken_in(queue(api, 1000), 10)
    assert 0.9 * per_s * 10 <= taken <= per_s * 10


@pytest.mark.parametrize("api", [LAMBDA, *JOBS.values()])
def test_the_rate_stays_within_the_bounds_of_its_api(api: Api) -> None:
    """After any number of answers, and after any number of throttles."""
    pace = Pace(1000, api)
    for _ in range(2000):
        pace.answered(0, 0.01)
    assert pace.per_s == api.most_per_s
    for second in range(1000):
        pace.throttled(second, second + 0.1)
    assert pace.per_s == api.least_per_s


def test_every_service_has_an_api() -> None:
    """A target of a service without one could not be sent to."""
    assert set(JOBS) == set(Service)


@pytest.mark.parametrize("api", JOBS.values())
def test_a_launch_that_may_have_been_taken_is_repeated(api: Api) -> None:
    """As often as an invoke; a launch starts nothing twice."""
    launches = queue(api, 1, max_attempts=2)
    waiting = launches.pop(0)
    assert waiting
    assert launches.failed(waiting, InDoubtError("500"), 1) is None
    waiting = launches.pop(1000)
    assert waiting
    assert launches.failed(waiting, InDoubtError("500"), 1001) == InDoubt(
        InvocationId("0"), "the launch failed 2 times (max_invoke_attempts), last: 500"
    )


def test_a_launch_is_repeated_when_the_first_can_be_found() -> None:
    """Batch lists a job a little after it has taken it; a launch that it did not take need not."""
    for error, wait_s in ((InDoubtError("500"), BATCH.found_after_s), (TransientError("503"), 0.5)):
        batch = queue(BATCH, 1)
        waiting = batch.pop(0)
        assert waiting
        batch.failed(waiting, error, 1)
        assert batch.wait_s(1) == wait_s


@pytest.mark.parametrize(
    ("error", "log"),
    [
        (ThrottledError("429"), "AWS Batch takes no calls: nothing is sent, 2 invocations wait"),
        (UnreachableError("refused"), "AWS Batch cannot be reached (check DNS"),
        (CredentialsError("expired"), "AWS credentials do not work"),
    ],
)
def test_the_log_names_the_service_that_takes_nothing(
    error: AwsError, log: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Lambda may be well meanwhile."""
    batch, now_s = queue(BATCH, 2), 0.0
    for _ in range(20):
        now_s += batch.wait_s(now_s) or 0
        waiting = batch.pop(now_s)
        assert waiting
        assert batch.failed(waiting, error, now_s) is None
    assert log in caplog.text
