"""The results queue as the handler uses it: moto's SQS, and a queue that fails."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from moto import mock_aws

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.wire import InvocationId, Outcome, Result
from lambda_image.invocation.reporter import QUEUE_URL_VARIABLES, Reporter, ReportError

RESULT = Result(id=InvocationId("id-1"), return_code=-9, outcome=Outcome.CRASHED, reason="x" * 9000)


def soon() -> float:
    """Longer than any of these takes."""
    return time.monotonic() + 30


def test_a_result_arrives_as_it_was_sent() -> None:
    """The executor reads what the handler sent, with a reason of any length."""
    with mock_aws():
        queue = boto3.client("sqs")
        url = queue.create_queue(QueueName="results")["QueueUrl"]
        Reporter.from_environment({}).send(url, RESULT, soon())
        (message,) = queue.receive_message(QueueUrl=url)["Messages"]
    result = Result.decode(message["Body"])
    assert (result.id, result.return_code, result.outcome) == ("id-1", -9, Outcome.CRASHED)
    assert result.reason == "x" * 4096


def test_a_queue_that_is_gone_is_an_error() -> None:
    """A permanent error is not retried, and names queue and result."""
    with mock_aws(), pytest.raises(ReportError, match=r"crashed, return code -9.*no-such-queue"):
        Reporter.from_environment({}).send("https://sqs/0/no-such-queue", RESULT, soon())


@pytest.mark.parametrize("name", QUEUE_URL_VARIABLES)
def test_each_variable_names_the_queue(name: str) -> None:
    """Our variable and both of the reference handler's name the queue."""
    reporter = Reporter.from_environment({name: "https://here"})
    assert reporter.queue_url(None) == "https://here"
    assert reporter.queue_url("https://asked-for") == "https://asked-for"


def test_without_any_queue_the_error_says_what_to_set() -> None:
    """A function without a results queue says which variable to set."""
    with pytest.raises(ConfigError, match="Set AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URL"):
        Reporter.from_environment({}).queue_url(None)


class BrokenQueue:
    """An SQS endpoint that fails a number of times before it takes a message."""

    def __init__(self) -> None:
        self.failures = 0
        self.requests = 0
        world = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                world.requests += 1
                self.send_response(503 if world.requests <= world.failures else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokenQueue]:
    """A queue that fails, without waits between attempts."""
    queue = BrokenQueue()
    monkeypatch.setenv("AWS_ENDPOINT_URL", queue.url)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    yield queue
    queue.close()


def test_a_queue_that_recovers_gets_the_result(broken: BrokenQueue) -> None:
    """A temporary error costs no result."""
    broken.failures = 3
    Reporter.from_environment({}).send(f"{broken.url}/q", RESULT, soon())
    assert broken.requests == 4


def test_a_queue_that_stays_broken_is_an_error(broken: BrokenQueue) -> None:
    """The attempts are bounded: then the invocation becomes a dead letter."""
    broken.failures = 1000
    with pytest.raises(ReportError, match="could not be sent"):
        Reporter.from_environment({}).send(f"{broken.url}/q", RESULT, soon())
    assert broken.requests == 6


def test_a_queue_that_is_too_slow_is_an_error_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempts end before the process is killed, so the failure is reported."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        reporter = Reporter.from_environment({})
        began_s = time.monotonic()
        with pytest.raises(ReportError, match="did not answer in time"):
            reporter.send(f"{url}/q", RESULT, began_s + 0.3)
    assert time.monotonic() - began_s < 1
