"""The wire format: the JSON of an invocation, a result and a dead letter.

An invocation goes from the executor to the handler, a result from the handler to the results queue,
and a dead letter from Lambda to the dead-letter queue.

The keys `task_key`, `command`, `executor_config` and `return_code` are those of
`AwsLambdaExecutor` (apache-airflow-providers-amazon). Every other key is ours and optional, and
both sides ignore keys they do not know. Golden files: `tests/contract/golden`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any, NewType, cast

from lambda_executor.contract.errors import DecodeError, EncodeError
from lambda_executor.contract.numbers import finite
from lambda_executor.contract.options import PAYLOAD_PREFIX
from lambda_executor.contract.visible import one_line

WIRE_VERSION = 1

#: Most bytes of one asynchronous invocation's payload: Lambda's limit, less 4 KiB. A dead letter
#: has the payload and attributes with the error, and SQS counts both against the same 1 MiB.
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
#: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
MAX_INVOCATION_BYTES = 1020 * 1024

#: Most bytes of an invocation that travels through S3: Lambda's limit for a synchronous one.
#: Encoding a larger one would hold the interpreter, and with it the scheduler's thread, too long.
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024

#: Most characters of a reason, or another text for people. A longer text is cut, so that a result
#: always fits a queue message.
MAX_REASON_CHARS = 4096

#: The command of an invocation; the workload's JSON follows as the last item. The reference
#: handler runs the command in a subprocess, ours takes the workload out of it.
WORKLOAD_COMMAND = (
    "python",
    "-m",
    "airflow.sdk.execution_time.execute_workload",
    "--json-string",
)

#: The command of an invocation whose payload is in S3. Our handler never runs it; the reference's
#: does, and so fails at once and logs the reason.
POINTER_COMMAND = (
    "python",
    "-c",
    (
        "raise SystemExit('the invocation is too large for one event and lies in S3, which only "
        "the handler of airflow-lambda-executor reads: use its image, or a smaller "
        "executor_config')"
    ),
)

#: The dispatch id of one invocation: fresh every time and unguessable. Whoever knows it can settle
#: the invocation.
InvocationId = NewType("InvocationId", str)

#: Most characters of an invocation id (Airflow 2.11 keeps it in a VARCHAR(250)).
MAX_ID_CHARS = 250

#: Most characters of a `task_key` on the wire. The reference's is the task's key as JSON: three
#: ids of up to 250 characters, of which JSON escapes each with up to six.
MAX_KEY_CHARS = 5000


class Outcome(Enum):
    """The end of an invocation, as the handler reports it."""

    COMPLETED = "completed"  # The task runtime ran to its end; `return_code` is its exit code.
    CRASHED = "crashed"  # The task's process died: a signal, out of memory, `os._exit`.
    REJECTED = "rejected"  # Nothing was started: the event, the image or its settings are invalid.
    DEADLINE = "deadline"  # The handler stopped the task before its environment ended.
    DUPLICATE = "duplicate"  # The same workload was already started elsewhere: settles nothing.


@dataclass(frozen=True, slots=True)
class PayloadPointer:
    """The location in S3 of a payload that is too large for one event."""

    bucket: str
    key: str  # Only `payload_key` of the invocation's own id is valid.
    size_bytes: int


def payload_key(id: InvocationId) -> str:
    """Return the key of an invocation's payload: one object per dispatch, as unguessable as the id.

    The key is a hash of the id because access logs contain keys, and whoever knows the id can
    settle the invocation.
    """
    # The id came as JSON, which can hold half of a surrogate pair.
    digest = hashlib.sha256(id.encode(errors="surrogatepass")).hexdigest()
    return f"{PAYLOAD_PREFIX}{digest}.json"


def micro_vm_key(id: InvocationId) -> str:
    """Return the key of the object beside the payload that names an invocation's MicroVM."""
    return f"{payload_key(id).removesuffix('.json')}.microvm"


@dataclass(frozen=True, slots=True)
class Invocation:
    """One asynchronous Lambda call for one try of one workload. Times are since the epoch."""

    id: InvocationId  # `task_key` on the wire.
    command: tuple[str, ...] = field(repr=False)  # Not in `repr`: holds the workload's token.
    executor_config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    reply_to: str | None = None  # URL of the results queue; None: the function's settings decide.
    queued_at_s: float | None = None  # When the executor took the workload.
    not_after_s: float | None = None  # When the workload's token runs out: no start afterwards.
    payload: PayloadPointer | None = None  # Where the complete invocation is; None: it is this one.
    wire_version: int = WIRE_VERSION

    @classmethod
    def for_workload(  # noqa: PLR0913 - the fields of an invocation
        cls,
        id: InvocationId,
        workload_json: str,
        *,
        executor_config: Mapping[str, Any] | None = None,
        reply_to: str | None = None,
        queued_at_s: float | None = None,
        not_after_s: float | None = None,
    ) -> Invocation:
        """Make the invocation that runs a workload given as Airflow's JSON."""
        return cls(
            id=id,
            command=(*WORKLOAD_COMMAND, workload_json),
            executor_config=executor_config or {},
            reply_to=reply_to,
            queued_at_s=queued_at_s,
            not_after_s=not_after_s,
        )

    @property
    def workload_json(self) -> str:
        """The workload inside `command`.

        Raises:
            DecodeError: `command` does not carry a workload.
        """
        *head, last = self.command or ("",)
        if tuple(head)[-2:] != WORKLOAD_COMMAND[-2:]:
            raise DecodeError(
                "the invocation's command does not carry a workload: expected "
                f"{' '.join(WORKLOAD_COMMAND)} <workload>",
                self.command,
            )
        return last

    def pointing_to(self, payload: PayloadPointer) -> Invocation:
        """Return the invocation to send instead of this one when its payload is in S3."""
        return replace(self, command=POINTER_COMMAND, executor_config={}, payload=payload)

    def encode(self, limit_bytes: int = MAX_INVOCATION_BYTES) -> bytes:
        """Return the payload for Lambda's `Invoke`, or for S3 up to `MAX_PAYLOAD_BYTES`.

        Raises:
            EncodeError: `executor_config` is not JSON-serialisable, or the payload is too large.
        """
        payload: dict[str, Any] = {
            "task_key": self.id,
            "command": list(self.command),
            "executor_config": dict(self.executor_config),
            "wire_version": self.wire_version,
        }
        optional = {
            "reply_to": self.reply_to,
            "queued_at_s": self.queued_at_s,
            "not_after_s": self.not_after_s,
            "payload": asdict(self.payload) if self.payload else None,
        }
        payload.update({key: value for key, value in optional.items() if value is not None})
        try:
            encoded = json.dumps(payload, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError) as e:
            raise EncodeError(
                f"executor_config cannot travel as JSON ({e}): use only strings, finite numbers, "
                "booleans, None, lists and dictionaries with string keys"
            ) from e
        if len(encoded) > limit_bytes:
            raise EncodeError(
                f"the invocation is {len(encoded)} bytes, allowed are at most {limit_bytes}: make "
                "executor_config smaller, or pass a reference to what is in it"
            )
        return encoded

    @classmethod
    def decode(cls, event: object) -> Invocation:
        """Read the event that Lambda hands to the handler: parsed JSON of any shape.

        Raises:
            DecodeError: The event is not an invocation of a known wire version.
        """
        body = _mapping(event, "the event")
        wire_version = body.get("wire_version", WIRE_VERSION)
        if wire_version != WIRE_VERSION or isinstance(wire_version, bool):
            raise DecodeError(
                f"wire_version is {wire_version!r:.40}, this side speaks {WIRE_VERSION}: "
                "deploy the handler image and the executor from the same release",
                event,
            )
        command = body.get("command")
        if (
            not isinstance(command, Sequence)
            or isinstance(command, str)
            or not command
            or not all(isinstance(item, str) for item in command)
        ):
            raise DecodeError("command must be a non-empty list of strings", event)
        executor_config = body.get("executor_config")
        if executor_config is None:
            executor_config = {}
        if not isinstance(executor_config, Mapping):
            raise DecodeError("executor_config must be an object", event)
        reply_to = body.get("reply_to")
        if reply_to is not None and not isinstance(reply_to, str):
            raise DecodeError("reply_to must be the URL of a queue", event)
        id = _id(body, event)
        return cls(
            id=id,
            command=tuple(command),
            executor_config=executor_config,
            reply_to=reply_to,
            queued_at_s=finite(body.get("queued_at_s")),
            not_after_s=finite(body.get("not_after_s")),
            payload=_pointer(body.get("payload"), id, event),
            wire_version=wire_version,
        )


@dataclass(frozen=True, slots=True)
class Result:
    """The handler's report on one invocation.

    A `return_code` of 0 means that the runtime did its work (Airflow itself holds the task's
    state), a negative one is a signal, and any other one a failure.
    """

    id: InvocationId
    return_code: int
    outcome: Outcome = Outcome.COMPLETED
    reason: str = ""
    request_id: str | None = None
    log_stream: str | None = None
    cold: bool | None = None  # Whether the environment was started for this invocation.
    init_ms: float | None = None  # Duration of the handler's init phase; only of a cold start.
    restore_ms: float | None = None  # The handler's part of a restore; only of a restored start.
    run_ms: float | None = None  # From the handler's entry to this result.
    started_at_s: float | None = None  # The handler's entry, since the epoch.
    queue_to_start_ms: float | None = None  # From `Invocation.queued_at_s` to the handler's entry.
    max_memory_mb: float | None = None  # Peak memory of the largest process, in MiB.
    task_state: str | None = None  # The state that this start gave the task in Airflow, if known.
    stop_requested: bool | None = None  # Whether AWS asked for the end (SIGTERM) before a time-out.
    wire_version: int = WIRE_VERSION

    def encode(self) -> str:
        """Return the body of the message to the results queue."""
        body: dict[str, Any] = {
            "task_key": self.id,
            "return_code": int(self.return_code),
            "wire_version": self.wire_version,
            "outcome": self.outcome.value,
        }
        optional = {
            "reason": self.reason[:MAX_REASON_CHARS] or None,
            "request_id": self.request_id,
            "log_stream": self.log_stream,
            "cold": self.cold,
            "init_ms": self.init_ms,
            "restore_ms": self.restore_ms,
            "run_ms": self.run_ms,
            "started_at_s": self.started_at_s,
            "queue_to_start_ms": self.queue_to_start_ms,
            "max_memory_mb": self.max_memory_mb,
            "task_state": self.task_state,
            "stop_requested": self.stop_requested,
        }
        body.update({key: value for key, value in optional.items() if value is not None})
        return json.dumps(body, separators=(",", ":"))

    @classmethod
    def decode(cls, body: str) -> Result:
        """Read a message of the results queue, ours or the reference handler's.

        Informative fields (`reason`, `log_stream`, milliseconds) are dropped when they have a
        wrong type: they must never keep a task from being settled. An unknown outcome counts as
        `completed`, and `return_code` decides.

        Raises:
            DecodeError: The body is not a JSON object with a usable `task_key` and `return_code`.
        """
        message = _mapping(_json(body), "a result")
        return_code = message.get("return_code")
        if not isinstance(return_code, int) or isinstance(return_code, bool):
            raise DecodeError("return_code must be a whole number", body)
        return cls(
            id=_id(message, body),
            return_code=return_code,
            outcome=_outcome(message.get("outcome")),
            reason=_text(message, "reason") or "",
            request_id=_text(message, "request_id"),
            log_stream=_text(message, "log_stream"),
            cold=_flag(message, "cold"),
            init_ms=finite(message.get("init_ms")),
            restore_ms=finite(message.get("restore_ms")),
            run_ms=finite(message.get("run_ms")),
            started_at_s=finite(message.get("started_at_s")),
            queue_to_start_ms=finite(message.get("queue_to_start_ms")),
            max_memory_mb=finite(message.get("max_memory_mb")),
            task_state=_text(message, "task_state"),
            stop_requested=_flag(message, "stop_requested"),
        )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An invocation that Lambda gave up on, with Lambda's reason where it gives one."""

    id: InvocationId
    reason: str
    request_id: str | None = None

    @classmethod
    def decode(cls, body: str, attributes: Mapping[str, str] | None = None) -> DeadLetter:
        """Read a message of the dead-letter queue in either of Lambda's two formats.

        The function's dead-letter queue carries the bare event as body and the attributes
        `RequestID`, `ErrorCode`, `ErrorMessage`; an on-failure destination carries an envelope
        with `requestPayload` and `responsePayload`.
        https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html

        Raises:
            DecodeError: The message has neither format, or no usable `task_key`.
        """
        message = _mapping(_json(body), "a dead letter")
        event = _dead_event(message)
        if event is not message:
            context = message.get("requestContext")
            context = context if isinstance(context, Mapping) else {}
            response = message.get("responsePayload")
            response = response if isinstance(response, Mapping) else {}
            reason = _text(response, "errorMessage") or _text(context, "condition")
            request_id = _text(context, "requestId")
        else:
            given = attributes or {}
            reason = _text(given, "ErrorMessage")
            request_id = _text(given, "RequestID")
        return cls(
            id=_id(event, body),
            reason=reason or "Lambda gave up on the invocation without a reason",
            request_id=request_id,
        )


def dead_event(body: str) -> Mapping[str, Any]:
    """Return the event of a dead letter, as Lambda received it. Holds the workload's token.

    Raises:
        DecodeError: The body has neither of Lambda's two formats.
    """
    return _dead_event(_mapping(_json(body), "a dead letter"))


def _dead_event(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if "requestPayload" in message:
        return _mapping(message["requestPayload"], "requestPayload")
    return message


def _json(body: str) -> object:
    try:
        return cast("object", json.loads(body))
    except (ValueError, RecursionError) as e:
        raise DecodeError("the body is not JSON", body) from e


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DecodeError(f"{what} must be a JSON object, not {type(value).__name__}", value)
    return value


def _id(message: Mapping[str, Any], raw: object) -> InvocationId:
    value = message.get("task_key")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_KEY_CHARS:
        raise DecodeError(f"task_key must be a string of 1 to {MAX_KEY_CHARS} characters", raw)
    return InvocationId(value)


def _pointer(value: object, id: InvocationId, raw: object) -> PayloadPointer | None:
    if value is None:
        return None
    pointer = _mapping(value, "payload")
    bucket, size_bytes = pointer.get("bucket"), pointer.get("size_bytes")
    if not isinstance(bucket, str) or not bucket:
        raise DecodeError("payload.bucket must be the name of a bucket", raw)
    if not isinstance(size_bytes, int) or isinstance(size_bytes, bool):
        raise DecodeError("payload.size_bytes must be a whole number", raw)
    if not 0 <= size_bytes <= MAX_PAYLOAD_BYTES:
        raise DecodeError(
            f"payload.size_bytes is {size_bytes!r:.40}, allowed are 0 to {MAX_PAYLOAD_BYTES}", raw
        )
    if pointer.get("key") != payload_key(id):
        raise DecodeError("payload.key is not the key of this invocation's own payload", raw)
    return PayloadPointer(bucket, payload_key(id), size_bytes)


def _outcome(value: object) -> Outcome:
    try:
        return Outcome(value)
    except ValueError:
        return Outcome.COMPLETED


def _text(message: Mapping[str, Any], key: str) -> str | None:
    value = message.get(key)
    if not isinstance(value, str):
        return None
    # It goes into Airflow's database and into logs. JSON can hold a NUL, which Postgres refuses,
    # half of a surrogate pair, which UTF-8 does, and what a terminal obeys.
    return one_line(value[:MAX_REASON_CHARS])[:MAX_REASON_CHARS]


def _flag(message: Mapping[str, Any], key: str) -> bool | None:
    value = message.get(key)
    return value if isinstance(value, bool) else None
