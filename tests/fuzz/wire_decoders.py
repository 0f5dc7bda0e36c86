"""The decoders of what executor, image and AWS's queues send to each other."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from lambda_executor.aws.inspection import Inspection, ProbeReply
from lambda_executor.contract import probe
from lambda_executor.contract.errors import ConfigError, DecodeError, EncodeError
from lambda_executor.contract.micro_vm import HOOK_PATH, RunPayload
from lambda_executor.contract.wire import (
    MAX_PAYLOAD_BYTES,
    DeadLetter,
    Invocation,
    Result,
    dead_event,
    payload_key,
)
from lambda_executor.core.outgoing import token_expiry_s
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.ops.dead_letters import (
    Awaited,
    Entry,
    HeldMessages,
    TaskName,
    reason_against,
    send_again,
)
from lambda_executor.ops.doctor.dag_findings import Expected, Versions
from lambda_executor.ops.doctor.probe_findings import probed
from lambda_executor.testing import MemoryFunction, MemoryQueue
from lambda_image.invocation.payloads import Payloads
from lambda_image.machine.hook_server import Answer, _Request
from lambda_image.micro_vm import Run
from lambda_image.verdict import rejected
from tests.fuzz.decoder import Decoder, NotJsonError, dumped, golden, json_of, text_of
from tests.unit.lambda_image.test_invocation import TOKEN, World, event

FUNCTION = FunctionTarget("function")
_ROUTED = {"lambda_executor": {"routed": "x"}}
EVENTS = (
    *golden("invocation-1.json", "invocation-pointer-1.json", "reference-invocation.json"),
    *dumped(
        event(), event(not_after_s=900.0, executor_config={"lambda_executor": {"routed": "x"}})
    ),
)
RESULTS = golden(
    *("result-1.json", "result-complete-1.json", "result-deferred-1.json"),
    *("result-restored-1.json", "reference-result.json"),
)
RUN_PAYLOAD = golden("run-hook-payload-1.json")[0]
_HEADERS = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "


def _event(data: bytes) -> None:
    """An event is read, and what was read can be sent again unless it is no JSON for others."""
    invocation = Invocation.decode(json_of(data))
    payload_key(invocation.id)
    with contextlib.suppress(EncodeError):
        encoded = invocation.encode(MAX_PAYLOAD_BYTES)
        assert Invocation.decode(json.loads(encoded)) == invocation


def _handled(data: bytes) -> None:
    """The handler sends exactly one result, or none for a duplicate, a probe or a bare event."""
    world = World(fetched=rejected("it is not there"))
    world.handle(json_of(data))
    assert len(world.sent) <= 1
    assert TOKEN not in json.dumps(world.lines, default=str)
    json.dumps(world.lines, default=str)


def _payload(data: bytes) -> None:
    """The payload of a pointer becomes an invocation, or a verdict with a reason."""
    pointing = Invocation.decode(json.loads(EVENTS[1]))
    assert pointing.payload is not None
    bucket = pointing.payload.bucket
    body = io.BytesIO(data)
    answer = {"ContentLength": pointing.payload.size_bytes, "Body": body}
    client: Any = SimpleNamespace(get_object=lambda **_: answer, delete_object=lambda **_: {})
    found = Payloads(bucket, lambda: client).resolve(pointing, lambda: time.monotonic() + 60)
    if isinstance(found, Invocation):
        assert found.id == pointing.id


def _result(data: bytes) -> None:
    """A result is read, and reads the same after it was written."""
    result = Result.decode(text_of(data))
    assert Result.decode(result.encode()) == result
    result.reason.encode()


def _dead_letter(data: bytes) -> None:
    """The first line is the body, the second one the attribute with Lambda's reason."""
    body, _, error = text_of(data).partition("\n")
    letter = DeadLetter.decode(body, {"ErrorMessage": error, "RequestID": error})
    dead_event(body)
    letter.reason.encode()


def _dead_letter_entry(data: bytes) -> None:
    """What stays in the queue is listed, judged and sent again, whatever it is."""
    queue, functions = MemoryQueue(), MemoryFunction()
    queue.send(text_of(data), {})
    awaited = Awaited(TaskName("d", "r", "t", -1, 1), "queued", "default")
    (message,) = queue.receive(0)
    entry = Entry.read(message)
    if not reason_against(entry, awaited, now_s=1000.0):
        queue_of_all: Any = _Held()
        held = HeldMessages(queue_of_all, limit=1)
        send_again(entry, awaited, Routes(FUNCTION), functions, held)


class _Held:
    """A queue that takes every delete."""

    @staticmethod
    def delete(_: object) -> int:
        """Refuse nothing."""
        return 0


def _token(data: bytes) -> None:
    """A token says when it ends, as a finite number, or not."""
    found = token_expiry_s(text_of(data))
    assert found is None or abs(found) < float("inf")


def _run_payload(data: bytes) -> None:
    payload = RunPayload.decode(text_of(data))
    with contextlib.suppress(ValueError):
        assert _same(RunPayload.decode(payload.encode()), payload)


def _same(one: object, other: object) -> bool:
    """Whether two values are equal, a NaN with itself too."""
    return repr(one) == repr(other)


def _run_hook(data: bytes) -> None:
    """The time of a workload is one that the handler can count with."""
    run = Run.decode(data, received_at_s=1000.0)
    assert run.context.ends_at_s > 0
    run.context.get_remaining_time_in_millis()


class _Connection:
    """A connection over which a request came; what is sent into it is kept."""

    def __init__(self, request: bytes) -> None:
        self._request = io.BytesIO(request)
        self.answer = b""

    def makefile(self, *_: object) -> io.BytesIO:
        """The request, as a file."""
        return self._request

    def sendall(self, data: bytes) -> None:
        """Keep a part of the answer."""
        self.answer += data

    def settimeout(self, _: float) -> None:
        """Nothing waits here."""


def _hook_request(data: bytes) -> None:
    """A request is answered, or the connection is closed; the hook gets its whole body."""
    given: list[bytes] = []

    def hook(body: bytes) -> Answer:
        given.append(body)
        return 200, ""

    server: Any = SimpleNamespace(hooks={"run": hook})
    connection: Any = _Connection(data)
    with contextlib.redirect_stdout(io.StringIO()):
        _Request(connection, ("127.0.0.1", 1), server)
    assert not connection.answer or connection.answer.startswith((b"HTTP/", b"<", b"\n"))
    assert all(body in data for body in given)


def _hook_example(name: str, body: bytes) -> bytes:
    head = f"POST {HOOK_PATH}{name} HTTP/1.1\r\n".encode()
    return head + _HEADERS + str(len(body)).encode() + b"\r\n\r\n" + body


def _probe(data: bytes) -> None:
    """A handler answers a probe of any shape."""
    given = json_of(data)
    if not probe.is_probe(given):
        return
    for name, paths in probe.asked_dag_files(given).items():
        assert isinstance(name, str)
        assert all(isinstance(path, str) for path in paths)


def _probe_answer(data: bytes) -> None:
    """The doctor has findings about any answer of a function."""
    expected = Expected(Versions("3.3.2", "3.12.4"), {"dags": ["a.py"]}, "/dags", all_run_here=True)
    for finding in probed(FUNCTION, ProbeReply(data), expected):
        str(finding)


def _function_error(data: bytes) -> None:
    """The doctor has findings about any failure of a function."""
    answer = {"FunctionError": "Unhandled", "Payload": io.BytesIO(data)}
    client = SimpleNamespace(invoke=lambda **_: answer)

    @contextlib.contextmanager
    def errors() -> Iterator[None]:
        yield

    clients: Any = SimpleNamespace(function=client, errors=errors)
    reply = Inspection(clients).probe(FUNCTION)
    expected = Expected(Versions("3.3.2", "3.12.4"), {}, "/dags", all_run_here=True)
    assert list(probed(FUNCTION, reply, expected))


def _bodies(*names: str) -> tuple[bytes, ...]:
    messages: list[Mapping[str, Any]] = [json.loads(text) for text in golden(*names)]
    return dumped(*(message["body"] for message in messages))


DEAD_LETTERS = _bodies("dead-letter-destination.json", "dead-letter-queue.json")
_ANSWER = probe.ProbeAnswer(
    *("3.3.2", "3.12.4", 1, "https://airflow/execution/", "ReadTimeout", 3.5, 5.0),
    {"dags": probe.BundleAnswer("image", ("a.py",))},
)

DECODERS = (
    Decoder("event", _event, (NotJsonError, DecodeError), EVENTS),
    Decoder("handler", _handled, (NotJsonError, DecodeError, ConfigError), EVENTS),
    Decoder("payload", _payload, (), EVENTS),
    Decoder("result", _result, (DecodeError,), RESULTS),
    Decoder("dead-letter", _dead_letter, (DecodeError,), (*DEAD_LETTERS, EVENTS[0] + b"\nno")),
    Decoder("dead-letter-entry", _dead_letter_entry, (), (*DEAD_LETTERS, *EVENTS[3:])),
    Decoder("token", _token, (), (TOKEN.encode(), b"a.eyJleHAiOiAxNzY0MDAwNjAwfQ.b")),
    Decoder("run-payload", _run_payload, (DecodeError,), (RUN_PAYLOAD,)),
    Decoder(
        "run-hook",
        _run_hook,
        (DecodeError,),
        dumped({"microvmId": "microvm-1", "runHookPayload": RUN_PAYLOAD.decode()}),
    ),
    Decoder(
        "hook-request",
        _hook_request,
        (),
        (_hook_example("run", b'{"microvmId": "1"}'), _hook_example("ready", b"")),
    ),
    Decoder("probe", _probe, (NotJsonError,), (probe.event(), probe.event({"dags": ["a.py"]}))),
    Decoder("probe-answer", _probe_answer, (), dumped(_ANSWER.encode())),
    Decoder(
        "function-error",
        _function_error,
        (),
        dumped({"errorType": "Runtime.ExitError", "errorMessage": "exit status 1"}),
    ),
)
