"""Malformed input blocks nothing else, is counted, and is not repeated in a log line."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_executor.contract.errors import ConfigError, DecodeError, RouteError
from lambda_executor.contract.options import OPTIONS, Option
from lambda_executor.contract.routing_reason import EXECUTOR_CONFIG_KEY
from lambda_executor.contract.wire import (
    MAX_REASON_CHARS,
    DeadLetter,
    InvocationId,
    Outcome,
    Result,
)
from lambda_executor.core.ports import Message
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.engine.poller import Poller, Report
from lambda_executor.setup import config
from lambda_executor.testing import MemoryQueue

OURS = InvocationId("ours")
SECRET = "eyJhbGciOiJIUzUxMiJ9"
MEBIBYTE = 1024 * 1024
WIRE_KEYS = (
    *("task_key", "return_code", "outcome", "reason", "request_id", "log_stream", "wire_version"),
    *("cold", "init_ms", "run_ms", "started_at_s", "command", "executor_config", "reply_to"),
    *("requestPayload", "requestContext", "responsePayload", "errorMessage", "condition"),
)

# Lone surrogates and NUL included: JSON can write both.
texts = st.text(st.characters(exclude_categories=()), max_size=20)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just(OURS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.sampled_from(WIRE_KEYS), inner, max_size=5)
    ),
    max_leaves=10,
)
near_misses = st.dictionaries(st.sampled_from(WIRE_KEYS), json_values, max_size=8)
extremes = st.sampled_from(
    [
        *("", "\0", "{", "[" * 100_000, '{"task_key":' * 10_000, "NaN", "-Infinity", "\ufeff{}"),
        '{"task_key": "ours", "return_code": 1e400}',
        '{"task_key": "ours", "return_code": ' + "9" * 5000 + "}",
        '{"task_key": "ours", "return_code": 0, "run_ms": ' + "9" * 400 + "}",
        '{"task_key": "ours", "return_code": 0, "started_at_s": NaN, "init_ms": Infinity}',
        '{"task_key": "ours", "return_code": 1, "reason": "\\ud800 and \\u0000"}',
        '{"task_key": "ours", "return_code": 0, "return_code": "x"}',
    ]
)
bodies = (
    json_values.map(json.dumps)
    | near_misses.map(json.dumps)
    | texts
    | st.binary().map(lambda body: body.decode("latin-1"))
    | st.binary().map(lambda body: body.decode("utf-8", "surrogateescape"))
    | extremes
)
attributes = st.dictionaries(st.sampled_from(["ErrorMessage", "RequestID", "ErrorCode"]), texts)
decoders = st.sampled_from(
    [lambda m: Result.decode(m.body), lambda m: DeadLetter.decode(m.body, m.attributes)]
)


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """All log lines of the package, with tracebacks."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(handler.format(record))  # type: ignore[method-assign]
    logger = logging.getLogger("lambda_executor")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def take_all(
    decode: Callable[[Message], Report], *messages: tuple[str, Mapping[str, str]]
) -> tuple[list[Report], Mapping[str, int]]:
    """Our reports among the messages, and the poller's counts."""
    queue = MemoryQueue()
    for body, given_attributes in messages:
        queue.send(body, given_attributes)
    poller = Poller(queue, decode=decode, knows=OURS.__eq__)
    while received := [m for m in queue.receive(0) if m.receive_count == 1]:
        poller.take(received)
    return [arrival.report for arrival in poller.arrivals()], poller.counts()


@given(decoders, st.lists(st.tuples(bodies, attributes), max_size=5))
def test_no_message_holds_another_back(
    decode: Callable[[Message], Report], messages: list[tuple[str, dict[str, str]]]
) -> None:
    """Our message arrives whatever surrounds it; each other message is counted once."""
    ours: tuple[str, dict[str, str]] = (
        json.dumps({"task_key": OURS, "return_code": 77, "command": ["x"]}),
        {},
    )
    arrived, counts = take_all(decode, *messages, ours, *messages)
    assert arrived
    assert counts["received"] == 2 * len(messages) + 1
    assert counts["malformed"] + counts["handed_back"] + len(arrived) == counts["received"]


@given(decoders, bodies, attributes)
def test_every_report_can_be_passed_to_airflow(
    decode: Callable[[Message], Report], body: str, attributes: dict[str, str]
) -> None:
    """Every text fits a database column, and every number is finite."""
    try:
        report = decode(Message(body, "receipt", 1, attributes))
    except DecodeError:
        return
    for name in ("reason", "request_id", "log_stream"):
        text = getattr(report, name, None) or ""
        assert "\0" not in text
        assert len(text.encode()) <= 4 * MAX_REASON_CHARS
    for name in ("init_ms", "run_ms", "started_at_s"):
        number = getattr(report, name, None)
        assert number is None or math.isfinite(number * 1.0)


@given(
    decoders,
    st.sampled_from(
        [
            *(SECRET, f'"{SECRET}"', f'{{"token": "{SECRET}"', f'{{"task_key": ["{SECRET}"]}}'),
            f'{{"task_key": "{SECRET}"}}',
            f'{{"task_key": "ours", "return_code": "{SECRET}"}}',
            f'{{"requestPayload": "{SECRET}"}}',
            f'{{"task_key": {{"{SECRET}": 1}}, "command": ["{SECRET}"], "wire_version": 9}}',
        ]
    ),
)
def test_no_log_line_repeats_a_body(decode: Callable[[Message], Report], body: str) -> None:
    """A malformed or foreign message may hold a token; the log only names its error."""
    with logged() as lines:
        take_all(decode, (body, {}))
    assert SECRET not in "".join(lines)


@given(decoders, st.sampled_from(["x", "[", '{"a":"']))
def test_a_malformed_mebibyte_is_one_short_line(
    decode: Callable[[Message], Report], start: str
) -> None:
    """The largest message that SQS takes is removed like any other."""
    with logged() as lines:
        arrived, counts = take_all(decode, (start.ljust(MEBIBYTE, start[-1]), {}))
    assert (arrived, counts["malformed"]) == ([], 1)
    assert [len(line) < 200 for line in lines] == [True]


def test_a_mebibyte_of_unknown_keys_does_not_hold_its_result_back() -> None:
    """Unknown keys are ignored, whatever their size."""
    body = {"task_key": OURS, "return_code": 0, "reason": "r" * 1000, "new": "x" * MEBIBYTE}
    arrived, _ = take_all(lambda m: Result.decode(m.body), (json.dumps(body), {}))
    assert arrived == [Result(OURS, 0, reason="r" * 1000)]


@pytest.mark.parametrize("name", ["reason", "request_id", "log_stream"])
def test_a_mebibyte_of_text_is_cut(name: str) -> None:
    """It would travel into the audit log and the database."""
    body = json.dumps({"task_key": OURS, "return_code": 1, name: "x" * MEBIBYTE})
    ((report,), _) = take_all(lambda m: Result.decode(m.body), (body, {}))
    assert len(getattr(report, name)) == MAX_REASON_CHARS


@given(json_values)
def test_a_result_of_any_wire_version_settles(version: Any) -> None:
    """The two keys that settle are the same in all of them."""
    body = json.dumps({"task_key": OURS, "return_code": 0, "wire_version": version})
    arrived, _ = take_all(lambda m: Result.decode(m.body), (body, {}))
    assert arrived == [Result(OURS, 0, Outcome.COMPLETED)]


class Conf:
    """Airflow's configuration with these options in our section."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def get(self, section: str, key: str, *, fallback: str | None = None) -> str | None:
        """The value of an option, or the fallback."""
        return self._values.get(key, fallback) if section == "lambda_executor" else fallback


values = (
    texts
    | st.integers().map(str)
    | st.floats().map(str)
    | json_values.map(json.dumps)
    | st.sampled_from(
        ["9" * 5000, "1e9", "0x10", "١٢", "True ", "NULL", "{", '{"q": 5}', '{"": ""}']
    )
)


@given(st.sampled_from(OPTIONS), values)
def test_any_value_of_an_option_is_used_or_refused_by_its_name(
    option: Option[object], value: str
) -> None:
    """The only error is one that names the option."""
    complete = {
        "function_name": "function",
        "queue_url": "https://sqs/results",
        "dead_letter_queue_url": "https://sqs/dead",
    }
    conf = Conf({**complete, option.name: value})
    said = option.name
    try:
        config.load(conf, lambda _: {})
    except ConfigError as e:
        said = str(e)
    assert option.name in said


@given(st.dictionaries(st.sampled_from([o.name for o in OPTIONS]), values, max_size=3))
def test_any_parameter_of_the_stacks_is_used_or_refused(parameter: dict[str, str]) -> None:
    """The values of the SSM parameter are checked like those of a person."""
    with contextlib.suppress(ConfigError):
        config.load(Conf({"config_parameter": "/p"}), lambda _: parameter)


@given(
    st.none() | texts,
    json_values | st.sampled_from([SECRET * 1000, {"function": "f" * MEBIBYTE}, [0] * 10_000]),
)
def test_any_function_setting_of_a_task_is_used_or_refused_in_a_line(
    queue: str | None, asked: Any
) -> None:
    """The reason goes into the audit log of the task."""
    routes = Routes(
        FunctionTarget("function"), by_queue={"large": FunctionTarget("function-large")}
    )
    try:
        routes.target(queue, {EXECUTOR_CONFIG_KEY: asked})
    except RouteError as e:
        said = str(e)
    else:
        said = ""
    assert len(said) < 600
