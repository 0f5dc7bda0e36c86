"""How long the calls about a task's start may take."""

from __future__ import annotations

import math
import time
import uuid
from types import SimpleNamespace
from typing import Any, NoReturn

import httpx
import pytest
from airflow.sdk.api.client import Client

from lambda_image.deadline import Deadline, Margins
from lambda_image.runtime import compat
from lambda_image.runtime.api.calls import TaskCalls


@pytest.mark.skipif(compat.VERSION >= (3, 4), reason="each try has an id of its own")
def test_giving_a_start_back_has_the_time_of_a_start() -> None:
    """When that time is over, one attempt is all: the rest of the time-out is not waited for."""
    calls, attempts = TaskCalls(), list[Any]()
    entered_at_s = time.monotonic() - 100
    deadline = Deadline(entered_at_s, time_out_s=110, stop_margin_s=9, kill_margin_s=8)
    assert deadline.start_by_s < time.monotonic() < deadline.notify_by_s
    calls.begin(deadline, SimpleNamespace(id=uuid.uuid4(), try_number=1))

    def fail() -> NoReturn:
        attempts.append(calls.asked)
        raise httpx.ConnectError("away")

    def reschedule(id_: Any, _message: Any) -> None:
        calls.end(operations, id_, "up_for_reschedule", fail)

    with Client(base_url="http://127.0.0.1:9/", token="token") as client:
        operations = SimpleNamespace(client=client, reschedule=reschedule)
        context = SimpleNamespace(max_tries=2, should_retry=False)
        with pytest.raises(httpx.ConnectError):
            calls.start(operations, 1, lambda: context)
    assert attempts == ["up_for_reschedule"]


def test_without_a_deadline_an_end_is_not_repeated_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job without a time-out is paid for while it waits for Airflow."""
    most_s = "lambda_image.runtime.api.calls._MAX_END_S"
    monkeypatch.setattr(most_s, 0.0)
    calls, attempts = TaskCalls(), list[str]()
    endless = Margins(None, None).deadline(math.inf, time.monotonic())
    calls.begin(endless, SimpleNamespace(id=uuid.uuid4(), try_number=1))

    def fail() -> NoReturn:
        attempts.append("call")
        raise httpx.ConnectError("away")

    with Client(base_url="http://127.0.0.1:9/", token="token") as client:
        operations: Any = SimpleNamespace(client=client)
        calls.start(operations, 1, lambda: SimpleNamespace(max_tries=0, should_retry=False))
        with pytest.raises(httpx.ConnectError):
            calls.end(operations, uuid.uuid4(), "success", fail)
        monkeypatch.setattr(most_s, 1800.0)  # Counts from the first of all ends.
        with pytest.raises(httpx.ConnectError):
            calls.end(operations, uuid.uuid4(), "failed", fail)
    assert attempts == ["call"]
    assert (calls.state, calls.asked) == (None, "success")
