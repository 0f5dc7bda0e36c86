"""Threads share clients, and none waits for another one's session longer than it must."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import botocore.exceptions as botocore_errors
import pytest
from botocore.parsers import create_parser

from lambda_executor.aws import clients as clients_module
from lambda_executor.aws.clients import Clients
from lambda_executor.aws.native import Native
from lambda_executor.contract.errors import InDoubtError


def clients(session: Callable[[], Any] = boto3.Session) -> Clients:
    """The clients of one executor."""
    return Clients(session, region_name="eu-west-1", connections=1)


def fail_credentials(of: Clients) -> None:
    """Do what a thread does whose call failed for its credentials."""
    of.translated(botocore_errors.NoCredentialsError())


class Making:
    """A session that is made as long as the test likes.

    Attributes:
        begun: Whether a thread makes one.
        may_end: Whether it may go on.
        sessions: Those that were made.
    """

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.sessions: list[Any] = []

    def __call__(self) -> Any:
        """Make one."""
        self.begun.set()
        assert self.may_end.wait(20)
        self.sessions.append(boto3.Session())
        return self.sessions[-1]


@pytest.mark.parametrize("service", ["lambda", "sqs"])
def test_an_error_is_translated_while_another_thread_makes_a_session(service: Any) -> None:
    """The thread that takes in all answers must not wait for the Airflow connection, or for STS."""
    make = Making()
    made = clients(make)
    with ThreadPoolExecutor() as pool:
        try:
            native = pool.submit(made.native, service)
            assert make.begun.wait(10)
            pool.submit(fail_credentials, made).result(10)
            assert not native.done()
        finally:
            make.may_end.set()
        old = native.result(10)
        # Its credentials may be those that failed.
        assert made.native(service) is not old
    assert len(make.sessions) == 2


def test_clients_that_exist_are_there_while_a_session_is_made() -> None:
    """A receive does not wait for the first invoke's credentials."""
    make = Making()
    make.may_end.set()
    made = clients(make)
    sqs = made.sqs
    make.begun.clear()
    make.may_end.clear()
    with ThreadPoolExecutor() as pool:
        try:
            function = pool.submit(lambda: made.function)
            assert make.begun.wait(10)
            assert pool.submit(lambda: made.sqs).result(10) is sqs
            assert not function.done()
        finally:
            make.may_end.set()


def test_threads_that_come_together_share_what_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them would have two sets of connections."""
    making, beside = threading.Event(), threading.Event()

    class Slow(Native):
        def __init__(self, *args: Any) -> None:
            making.set()
            beside.wait(0.5)  # With one lock the other thread does not come this far.
            super().__init__(*args)

    monkeypatch.setattr(clients_module, "Native", Slow)
    made = clients()

    def second() -> Native:
        native = made.native("lambda")
        beside.set()
        return native

    with ThreadPoolExecutor() as pool:
        first = pool.submit(made.native, "lambda")
        assert making.wait(10)
        making.clear()
        other = pool.submit(second)
        assert first.result(10) is other.result(10)
    assert not making.is_set()


def test_what_failing_credentials_made_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if they fail while it is made."""
    made = clients()
    fails = [True]

    class Failing(Native):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            if fails:
                fails.clear()
                fail_credentials(made)

    monkeypatch.setattr(clients_module, "Native", Failing)
    old = made.native("sqs")
    new = made.native("sqs")
    assert new is not old
    assert made.native("sqs") is new


def test_after_failed_credentials_everything_is_made_again() -> None:
    """With a new session, once."""
    make = Making()
    make.may_end.set()
    made = clients(make)
    before = made.function, made.native("lambda")
    fail_credentials(made)
    after = made.function, made.native("lambda")
    assert before[0] is not after[0]
    assert before[1] is not after[1]
    assert len(make.sessions) == 2


@pytest.mark.parametrize("body", [b"true", b'{"message": "\xff"}'])
def test_an_answer_that_is_none_of_aws_s_leaves_a_call_in_doubt(body: bytes) -> None:
    """A proxy answered, perhaps after AWS did: botocore's parser raises what it stumbles over."""
    answer: Any = {"headers": {}, "status_code": 400, "body": body}
    parser: Any = create_parser("json")
    with pytest.raises(InDoubtError, match=r"the answer is none of AWS's"), clients().errors():
        parser.parse(answer, None)


def test_a_fault_of_our_own_is_not_taken_for_an_answer() -> None:
    """It is raised as it is."""
    with pytest.raises(AttributeError, match="ours"), clients().errors():
        raise AttributeError("ours")
