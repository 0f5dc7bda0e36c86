"""Whatever a person writes into `targets` or `executor_config`, the error is about that."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_executor.aws import RUN_TASK, SUBMIT_JOB
from lambda_executor.aws.batch_jobs import submission
from lambda_executor.aws.ecs_tasks import completed
from lambda_executor.aws.job_requests import RequestKind
from lambda_executor.contract.errors import ConfigError, RouteError
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.setup import targets

ID = InvocationId("0d4b3a7e-6a63-4b45-8f3d-3d0a7c0d6f10")
#: Names that mean something, and some that do not.
NAMES = (
    *("containerOverrides", "command", "environment", "resourceRequirements", "name", "type"),
    *("value", "timeout", "attemptDurationSeconds", "retryStrategy", "overrides", "tags", "key"),
    *("launchType", "capacityProviderStrategy", "cluster", "jobQueue", "volumeConfigurations", ""),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
        | st.tuples(inner)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES) | st.integers() | st.none(), VALUES, max_size=5)
TARGETS = {
    Service.BATCH: {
        "jobQueue": "q",
        "jobDefinition": "d",
        "containerOverrides": {"environment": [{"name": "a", "value": "b"}]},
        "tags": {"a": "b"},
    },
    Service.ECS: {
        "cluster": "c",
        "taskDefinition": "d",
        "overrides": {"containerOverrides": [{"name": "task", "cpu": 1}]},
        "tags": [{"key": "a", "value": "b"}],
    },
}


def target(service: Service) -> JobTarget:
    """A target with something to merge into."""
    return JobTarget("x", service, json.dumps(TARGETS[service]), "task")


def complete(kind: RequestKind, overrides: Any) -> dict[str, Any]:
    """The request of a task."""
    if kind is SUBMIT_JOB:
        return submission(target(kind.service), ID, b"{}", overrides)
    return completed(kind.overridden(target(kind.service), overrides), ID, b"{}", "task")


def command_of(kind: RequestKind, request: dict[str, Any]) -> list[str]:
    """The command of the container that runs the workload."""
    if kind is SUBMIT_JOB:
        container = request["containerOverrides"]
    else:
        containers = request["overrides"]["containerOverrides"]
        (container,) = [each for each in containers if each.get("name") == "task"]
    command: list[str] = container["command"]
    return command


@pytest.mark.parametrize("kind", [SUBMIT_JOB, RUN_TASK], ids=lambda kind: kind.operation)
@settings(deadline=None)  # botocore reads its model at the first example.
@given(overrides=OBJECTS)
def test_overrides_make_a_request_that_aws_reads_or_are_refused(
    kind: RequestKind, overrides: Any
) -> None:
    """No other error gets to a sending thread; the command is the workload in every request.

    A reason is short, because it goes into the audit log of the task.
    """
    said = ""
    try:
        request = complete(kind, overrides)
    except RouteError as e:
        said = str(e)
    else:
        assert kind._invalid(request) is None
        first, *_, last = command_of(kind, request)
        assert (first, last) == ("job", "{}")
    assert len(said) < 800


@settings(deadline=None)  # botocore reads its model at the first example.
@given(value=VALUES | st.dictionaries(st.text(max_size=3), VALUES, max_size=3))
def test_an_option_is_read_or_refused(value: Any) -> None:
    """The scheduler starts, or says what is wrong with the option."""
    for each in (value, {"q": {"batch": value}}, {"q": {"ecs": value}}):
        with contextlib.suppress(ConfigError):
            targets.read(json.dumps(each), (), "bucket")


@settings(deadline=None)  # botocore reads its model at the first example.
@given(text=st.text(max_size=20) | st.sampled_from(["[" * 100_000, '{"a":' * 10_000, "NaN"]))
def test_a_text_that_is_no_json_is_refused(text: str) -> None:
    """Whatever it is."""
    with contextlib.suppress(ConfigError):
        targets.read(text, (), "bucket")
