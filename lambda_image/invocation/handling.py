"""The steps of one invocation: decode the event, check it, run the workload, report, log.

The functions that call Airflow and AWS are given to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from lambda_executor.contract.errors import ConfigError, DecodeError
from lambda_executor.contract.log_lines import INVOCATION, SETTLED, STARTED
from lambda_executor.contract.probe import ProbeAnswer, is_probe
from lambda_executor.contract.routing_reason import routed
from lambda_executor.contract.token_lifetime import TASK_QUEUED_TIMEOUT
from lambda_executor.contract.wire import MAX_KEY_CHARS, Invocation, InvocationId, Outcome, Result
from lambda_image import host
from lambda_image.deadline import RESERVE_S, Deadline, Margins
from lambda_image.logs import log_output
from lambda_image.logs.invocation_log import WorkloadFacts, WriteLog
from lambda_image.machine.stop_request import StopRequest
from lambda_image.verdict import Verdict, rejected

#: Writes the reason of a workload (as JSON) that is rejected into its task's log, by the deadline.
Explain = Callable[[str, str, Deadline], None]
#: Writes a line at the start of the log of a workload's (as JSON) task.
Announce = Callable[[str, str], None]

#: Fields of a result that are in the last log line of its invocation, under the same names.
_LOGGED = (
    *("return_code", "reason", "cold", "init_ms", "restore_ms", "run_ms"),
    *("queue_to_start_ms", "max_memory_mb", "started_at_s", "task_state"),
)

#: How invocations start sooner, by what runs them.
_MORE_ROOM: dict[host.Name, str] = {
    "function": "Give the function more concurrency",
    "job": "Let more jobs run at once in the job queue's compute environment, or in the cluster",
    "MicroVM": "Have AWS raise the Region's quota of MicroVMs' memory",
}


class Context(Protocol):
    """The part of the context object of Lambda's runtime that we read; a job has its own.

    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
    """

    @property
    def aws_request_id(self) -> str:
        """Names the invocation in the log and in AWS."""

    @property
    def log_stream_name(self) -> str | None:
        """None if nothing tells it: with SnapStart, or in a job without a log driver of AWS's."""

    def get_remaining_time_in_millis(self) -> float:
        """The time until Lambda ends the execution environment; a job's may be infinite."""


@dataclass(frozen=True, slots=True)
class _Start:
    """The circumstances of one invocation."""

    context: Context
    cold: bool
    started_at_s: float
    entered_at_s: float  # On the monotonic clock.
    ends_at_s: float  # On the monotonic clock.


@dataclass(slots=True)
class InvocationHandler:
    """Handles the invocations of one execution environment, one at a time."""

    run_workload: Callable[[str, Deadline], Verdict]
    queue_url: Callable[[str | None], str]
    send: Callable[[str, Result, float], None]
    resolve: Callable[[Invocation, Callable[[], float]], Invocation | Verdict]
    margins: Margins
    write_log: WriteLog
    answer_probe: Callable[[object], ProbeAnswer]
    #: How long this environment's start took, for the first invocation's result: its init phase,
    #: or the hooks after the restore from a snapshot.
    init_ms: float | None = None
    restore_ms: float | None = None
    explain: Explain = lambda *_: None
    announce: Announce = lambda *_: None
    lifetime_option: str = str(TASK_QUEUED_TIMEOUT)  # Of the workload's token.
    request: StopRequest = field(default_factory=StopRequest)
    now_s: Callable[[], float] = time.time
    clock_s: Callable[[], float] = time.monotonic
    _cold: bool = field(default=True, init=False)

    def handle(self, event: object, context: Context) -> dict[str, Any]:
        """Handle one event; returns the result as sent, or the answer to a probe.

        Raises:
            DecodeError: The event is not an invocation and has no usable task_key.
            ConfigError: No results queue is known; nothing was started.
            ReportError: The result could not be sent.
        """
        start = self._enter(context)
        if is_probe(event):
            return self.answer_probe(event).encode()
        try:
            invocation = Invocation.decode(event)
        except DecodeError as e:
            return self._reject(event, e, start)
        queue_url = self.queue_url(invocation.reply_to)
        verdict, facts = self._run(invocation, start)
        result = self._result(invocation.id, verdict, start, invocation.queued_at_s)
        # The reference's executor does not know `duplicate`: it would end the running task.
        silent = verdict.outcome is Outcome.DUPLICATE and not _has_our_wire(event)
        return self._settle(result, None if silent else queue_url, facts, start)

    def _run(self, invocation: Invocation, start: _Start) -> tuple[Verdict, WorkloadFacts]:
        """Run the workload, or reject it with a reason."""
        try:
            remaining_s = start.ends_at_s - start.entered_at_s
            deadline = self.margins.deadline(remaining_s, start.entered_at_s)
        except ConfigError as e:
            return rejected(str(e)), WorkloadFacts()
        deadline = replace(deadline, request=self.request)
        resolved = self.resolve(invocation, lambda: deadline.give_up_at_s)
        if isinstance(resolved, Verdict):
            return deadline.with_request(resolved), WorkloadFacts()
        try:
            workload_json = resolved.workload_json
        except DecodeError as e:
            return rejected(str(e)), WorkloadFacts()
        facts = WorkloadFacts.read(workload_json)
        if reason := self._reason_against_start(resolved):
            log_output.about(facts.fields(), facts.token)
            self.explain(workload_json, reason, deadline)
            return rejected(reason), facts
        self._log_start(resolved.id, start, facts)
        if reason := routed(resolved.executor_config):
            self.announce(workload_json, reason)
        deadline = self._as_sent(deadline, resolved)
        return self.run_workload(workload_json, deadline).without(facts.token), facts

    def _as_sent(self, deadline: Deadline, invocation: Invocation) -> Deadline:
        """The deadline with what the invocation itself says about time."""
        queued_at_s, not_after_s = invocation.queued_at_s, invocation.not_after_s
        if queued_at_s is not None:
            deadline = replace(deadline, waited_s=self.now_s() - queued_at_s)
        if not_after_s is not None:
            ends_at_s = self.clock_s() + not_after_s - self.now_s()
            deadline = replace(deadline, token_ends_at_s=ends_at_s)
        return deadline

    def _reason_against_start(self, invocation: Invocation) -> str | None:
        """Why it is too late to start an invocation; None if it is not."""
        if reason := self.request.reason_against_start:
            return reason
        now_s = self.now_s()
        if invocation.not_after_s is None or now_s < invocation.not_after_s:
            return None
        waited = (
            f"after it had waited for {now_s - invocation.queued_at_s:.0f} s"
            if invocation.queued_at_s is not None
            else "while it waited"
        )
        return (
            f"not started: the workload's token ran out {now_s - invocation.not_after_s:.0f} s "
            f"ago, {waited} to be started. {_MORE_ROOM[host.name()]}, or raise "
            f"{self.lifetime_option}"
        )

    def _enter(self, context: Context) -> _Start:
        cold, self._cold = self._cold, False
        if not cold:  # The first invocation may show what was fetched before it.
            log_output.forget()
        log_output.about({"request_id": context.aws_request_id})
        entered_at_s = self.clock_s()
        ends_at_s = entered_at_s + context.get_remaining_time_in_millis() / 1000
        return _Start(context, cold, self.now_s(), entered_at_s, ends_at_s)

    def _log_start(self, id_: InvocationId, start: _Start, facts: WorkloadFacts) -> None:
        fields = {
            **facts.fields(),
            INVOCATION: id_,
            "request_id": start.context.aws_request_id,
        }
        log_output.about(fields, facts.token)
        self.write_log("info", STARTED, **fields, cold=start.cold)

    def _reject(self, event: object, error: DecodeError, start: _Start) -> dict[str, Any]:
        """Report an event that is not an invocation, if it has an id and a results queue."""
        given = event if isinstance(event, Mapping) else {}
        key, reply_to = given.get("task_key"), given.get("reply_to")
        if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_CHARS:
            reason = f"not an invocation, and without a usable task_key: {error}"
            raise DecodeError(reason) from None  # The cause holds the event.
        queue_url = self.queue_url(reply_to if isinstance(reply_to, str) else None)
        result = self._result(InvocationId(key), rejected(str(error)), start)
        return self._settle(result, queue_url, WorkloadFacts(), start)

    def _result(
        self, id_: InvocationId, verdict: Verdict, start: _Start, queued_at_s: float | None = None
    ) -> Result:
        waited_s = None if queued_at_s is None else start.started_at_s - queued_at_s
        return Result(
            id=id_,
            return_code=verdict.return_code,
            outcome=verdict.outcome,
            reason=verdict.reason,
            request_id=start.context.aws_request_id,
            log_stream=start.context.log_stream_name,
            cold=start.cold,
            init_ms=self.init_ms if start.cold else None,
            restore_ms=self.restore_ms if start.cold else None,
            run_ms=round((self.now_s() - start.started_at_s) * 1000, 1),
            started_at_s=start.started_at_s,
            queue_to_start_ms=None if waited_s is None else round(waited_s * 1000, 1),
            max_memory_mb=verdict.max_memory_mb,
            task_state=verdict.task_state,
            stop_requested=self.request.ends_at_s < start.ends_at_s or None,
        )

    def _settle(
        self, result: Result, queue_url: str | None, facts: WorkloadFacts, start: _Start
    ) -> dict[str, Any]:
        reported = False
        try:
            if queue_url is not None:
                ends_at_s = min(start.ends_at_s, self.request.ends_at_s)
                self.send(queue_url, result, ends_at_s - RESERVE_S)
                reported = True
        finally:
            self.write_log(
                "info" if reported or queue_url is None else "error",
                SETTLED,
                **facts.fields(),
                invocation_id=result.id,
                request_id=result.request_id,
                outcome=result.outcome.value,
                **{name: getattr(result, name) for name in _LOGGED},
                reported=reported,
            )
        sent: dict[str, Any] = json.loads(result.encode())
        return sent


def _has_our_wire(event: object) -> bool:
    return isinstance(event, Mapping) and "wire_version" in event
