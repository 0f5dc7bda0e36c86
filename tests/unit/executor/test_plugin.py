"""The pure parts of the page in Airflow: percentiles, addresses, missing rights, what it keeps."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.aws import count_starts
from lambda_executor.contract.errors import AwsError, ConfigError, RejectedError
from lambda_executor.core.findings import problem
from lambda_executor.ops.missing_rights import MissingRight, missing_right
from lambda_executor.ops.tasks import Ended
from lambda_executor.plugin import console, panels, times
from lambda_executor.plugin.wiring import FAILED_S, KEPT_S, Wiring
from lambda_executor.setup.connection import Connected

STATIC = Path(panels.__file__).parent / "static"
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
ARN = "arn:aws:sqs:eu-west-1:123456789012:results"
WORDS = (
    "An error occurred (AccessDenied) when calling the GetQueueAttributes operation: User: "
    f"arn:aws:sts::123456789012:assumed-role/api/x is not authorized to perform: "
    f"sqs:getqueueattributes on resource: {ARN} because no identity-based policy allows it"
)


def ended(queue: str, wait_s: float | None, run_s: float) -> Ended:
    """A task that started at noon."""
    queued_at = None if wait_s is None else NOON - timedelta(seconds=wait_s)
    return Ended(queue, queued_at, NOON, NOON + timedelta(seconds=run_s))


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_a_percentile_is_one_of_the_values_and_has_its_share_below(values: list[float]) -> None:
    """Nearest rank: at least so many of a hundred are not larger."""
    for share, found in zip(times.SHARES, times.percentiles(values), strict=True):
        assert found in values
        assert 100 * sum(value <= found for value in values) >= share * len(values)


def test_times_are_kept_by_queue() -> None:
    """A task that was never queued has no wait; one whose clock was ahead waited for nothing."""
    found = times.by_queue([ended("b", 3, 5), ended("a", None, 7), ended("b", -1, 6)])
    assert list(found) == ["a", "b"]
    assert (found["a"].waits_s, found["a"].runs_s) == ([], [7.0])
    assert (found["b"].waits_s, found["b"].runs_s) == ([3.0, 0.0], [5.0, 6.0])
    assert times.percentiles(found["a"].waits_s) == [None, None, None]


def test_a_refused_call_names_its_permission_and_resource() -> None:
    """IAM's name of the action, as it is written in a policy."""
    denied = RejectedError(WORDS, "AccessDenied")
    assert missing_right(denied, "sqs") == MissingRight("sqs:GetQueueAttributes", ARN)


@pytest.mark.parametrize(
    ("service", "call", "action"),
    [
        ("ssm", "GetParameter", "GetParameter"),
        ("sqs", "GetQueueAttributes", "GetQueueAttributes"),
        ("sqs", "ReceiveMessage", "ReceiveMessage"),
        ("sqs", "DeleteMessageBatch", "DeleteMessage"),
        ("sqs", "ChangeMessageVisibilityBatch", "ChangeMessageVisibility"),
        ("cloudwatch", "GetMetricData", "GetMetricData"),
        ("logs", "FilterLogEvents", "FilterLogEvents"),
        ("lambda", "Invoke", "InvokeFunction"),
        ("batch", "DescribeJobDefinitions", "DescribeJobDefinitions"),
        ("ecs", "DescribeTaskDefinition", "DescribeTaskDefinition"),
    ],
)
def test_each_call_of_the_page_has_a_permission_that_exists(
    service: str, call: str, action: str
) -> None:
    """The name of a call is not always that of the action."""
    words = f"An error occurred (AccessDeniedException) when calling the {call} operation: no"
    found = missing_right(RejectedError(words, "AccessDeniedException"), service)
    assert found == MissingRight(f"{service}:{action}")


@pytest.mark.parametrize(
    "error",
    [
        RejectedError("when calling the Invoke operation", "ResourceNotFoundException"),
        AwsError("connection refused"),
    ],
)
def test_only_a_refusal_is_a_missing_permission(error: AwsError) -> None:
    """Other errors have another fix."""
    assert missing_right(error, "lambda") is None


class CloudWatch:
    """Has one invocation; a data point is at the beginning of its period, as in AWS."""

    def __init__(self, at: datetime, status: str = "Complete") -> None:
        self.at_s = at.timestamp()
        self.status = status

    def get_metric_data(self, **request: Any) -> dict[str, Any]:
        """Answer with the points that are in the time."""
        results = []
        for query in request["MetricDataQueries"]:
            point_s = self.at_s - self.at_s % query["MetricStat"]["Period"]
            first_s, end_s = (request[each].timestamp() for each in ("StartTime", "EndTime"))
            is_in = first_s <= point_s < end_s
            values = [1.0] if is_in and query["Id"].endswith("invocations") else []
            results.append({"Id": query["Id"], "Values": values, "StatusCode": self.status})
        return {"MetricDataResults": results}


def clients_of(metrics: CloudWatch) -> Any:
    """Clients that have only this one."""
    return SimpleNamespace(metrics=metrics, errors=nullcontext)


@given(st.sampled_from([1, 24, 168]), st.integers(0, 7200), st.floats(0, 1, exclude_max=True))
def test_each_invocation_of_the_time_is_counted(hours: int, now_s: int, share: float) -> None:
    """However far the hour has got."""
    until = NOON + timedelta(seconds=now_s)
    since = until - timedelta(hours=hours)
    clients = clients_of(CloudWatch(since + share * (until - since)))
    starts = count_starts(clients, ["f"], since, until)
    assert [each.invocations for each in starts.counts] == [1]
    assert not starts.is_cut


@given(st.integers(0, 7200))
def test_an_hour_has_no_invocation_of_the_hour_before(now_s: int) -> None:
    """Give or take five minutes."""
    until = NOON + timedelta(seconds=now_s)
    since = until - timedelta(hours=1)
    clients = clients_of(CloudWatch(since - timedelta(seconds=301)))
    assert count_starts(clients, ["f"], since, until).counts[0].invocations is None


@pytest.mark.parametrize(("status", "functions"), [("PartialData", 1), ("Complete", 126)])
def test_counts_that_are_not_all_say_so(status: str, functions: int) -> None:
    """AWS has more, or there are more functions than one call asks about."""
    names = [f"f{number}" for number in range(functions)]
    clients = clients_of(CloudWatch(NOON, status))
    assert count_starts(clients, names, NOON - timedelta(hours=1), NOON).is_cut


def test_the_doctors_refused_call_is_unknown_here() -> None:
    """The API server's role need not have a scheduler's permissions."""
    seen = panels.as_seen_here(problem("results queue", WORDS, "attach the policy", "aws iam ..."))
    assert seen["verdict"] == "unknown"
    assert "GetQueueAttributes" in seen["fix"]
    other = problem("results queue", "it is gone", "make it", "cdk deploy")
    assert panels.as_seen_here(other) == other.as_json()


def test_the_address_of_a_log_holds_group_id_and_time() -> None:
    """Decoded as the console does it."""
    address = console.log_page("eu-west-1", "/aws/lambda/f", "id-1", NOON)
    fragment = unquote(address.partition("#")[2].replace("$", "%"))
    group, _, events = fragment.removeprefix("logsV2:log-groups/log-group/").partition("/log-ev")
    assert unquote(group) == "/aws/lambda/f"
    ms = int(NOON.timestamp() * 1000)
    assert unquote(events) == f'ents?filterPattern="id-1"&start={ms}'


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "eu-west-1.console.aws.amazon.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_each_partition_has_its_own_console(region: str, host: str) -> None:
    """By the Region."""
    assert console.function_page(region, "f").startswith(f"https://{host}/lambda/")


class Reader:
    """Reads a configuration, or fails; `waits` and `goes_on` are of a read that is slow."""

    def __init__(self) -> None:
        self.read = list[Connected]()
        self.tries = 0
        self.fails = False
        self.is_slow = False
        self.waits = threading.Event()
        self.goes_on = threading.Event()

    def __call__(self, _: Connected | None) -> Connected:
        """Read another one."""
        self.tries += 1
        if self.is_slow:
            self.waits.set()
            assert self.goes_on.wait(60)
        if self.fails:
            raise ConfigError("an option is wrong")
        self.read.append(create_autospec(Connected, instance=True))
        return self.read[-1]


def test_the_configuration_is_read_once_in_a_while() -> None:
    """And whenever a person wants to see it."""
    now, reader = [0.0], Reader()
    wiring = Wiring(reader, lambda: now[0])
    assert wiring.known() is None
    assert [wiring.current(), wiring.current()] == [reader.read[0]] * 2
    now[0] = KEPT_S
    found = [wiring.current(), wiring.read(), wiring.current()]
    assert found == [reader.read[1], reader.read[2], reader.read[2]]
    assert wiring.known() is reader.read[2]


def test_a_failure_is_not_tried_again_for_a_while() -> None:
    """Otherwise each panel would wait for it."""
    now, reader = [0.0], Reader()
    wiring = Wiring(reader, lambda: now[0])
    reader.fails = True
    for _ in range(3):
        with pytest.raises(ConfigError):
            wiring.current()
    assert reader.tries == 1
    reader.fails = False
    now[0] = FAILED_S
    assert wiring.current() is reader.read[0]


def test_the_last_configuration_outlives_a_failure() -> None:
    """Only who asks for it now, the panel that shows it, learns of the failure."""
    now, reader = [0.0], Reader()
    wiring = Wiring(reader, lambda: now[0])
    first = wiring.current()
    reader.fails = True
    with pytest.raises(ConfigError):
        wiring.read()
    assert wiring.current() is first
    now[0] = FAILED_S
    assert wiring.current() is first
    assert reader.tries == 3


def test_a_slow_read_holds_up_nobody_who_can_use_the_last_one() -> None:
    """Each thread that waits is one that the API server lacks."""
    now, reader = [0.0], Reader()
    wiring = Wiring(reader, lambda: now[0])
    first = wiring.current()
    now[0], reader.is_slow = KEPT_S, True
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(wiring.current)
        assert reader.waits.wait(60)
        assert [wiring.current(), wiring.known()] == [first, first]
        reader.goes_on.set()
        assert slow.result(60) is reader.read[1]


@pytest.mark.parametrize("fails", [False, True])
def test_who_waits_for_a_read_does_not_repeat_it(*, fails: bool) -> None:
    """Neither after a success nor after a failure."""
    reader = Reader()
    wiring = Wiring(reader, lambda: 0.0)
    reader.is_slow, reader.fails = True, fails
    with ThreadPoolExecutor() as threads:
        asking = [threads.submit(wiring.current) for _ in range(4)]
        assert reader.waits.wait(60)
        reader.goes_on.set()
        errors = [type(each.exception(60)) for each in asking]
    assert errors == [ConfigError if fails else type(None)] * 4
    assert reader.tries == 1


def test_the_page_loads_nothing_from_elsewhere_and_writes_no_html() -> None:
    """What AWS and DAG authors write is shown as text."""
    page = "".join(file.read_text(encoding="utf-8") for file in sorted(STATIC.iterdir()))
    assert not re.search(r"https?://", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)
