"""Reads the story of one invocation from the lines of its log stream."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from lambda_executor.aws import LogLine
from lambda_executor.contract.log_lines import (
    INVOCATION,
    SETTLED,
    STARTED,
    fields_of,
    is_platform_start,
)
from lambda_executor.contract.numbers import finite
from lambda_executor.contract.visible import one_line
from lambda_executor.contract.wire import MAX_REASON_CHARS
from lambda_executor.ops.explain.evidence import Fact, LogStory

#: What Lambda says of an invocation that did not end by itself.
#: https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html
_CRASHES = ("Task timed out", "Runtime exited", "Status: timeout", "Status: error")
#: The executor's reasons end with it (`core.reports`).
_REQUEST_ID = re.compile(r"\(request id ([0-9a-f-]{36})[,)]")
_NUMBERS = {
    "run_ms": "ran for {:.0f} ms",
    "queue_to_start_ms": "waited {:.0f} ms for its start",
    "max_memory_mb": "needed up to {:.0f} MiB",
}


def request_id_in(reason: str) -> str:
    """Return the request id that a reason of the executor names; empty: it names none."""
    found = _REQUEST_ID.search(reason)
    return found[1] if found else ""


def told(lines: Iterable[LogLine], id: str, request_id: str, source: str) -> LogStory:
    """Return the story of an invocation.

    What its task printed is left out: Airflow's log of the task has it.

    Args:
        lines: The lines of a stream, from the invocation's start or end on.
        id: The dispatch id.
        request_id: Lambda's request id, as far as it is known before; else empty.
        source: The name of the log.
    """
    facts: list[Fact] = []
    settled: Mapping[str, Any] = {}
    has_started, crash = False, ""
    for line in lines:
        fields = fields_of(line.text)
        event, is_of_ours = fields.get("event"), fields.get(INVOCATION) == id
        text = ""
        if event in (STARTED, SETTLED) and is_of_ours:
            request_id = str(fields.get("request_id") or request_id)
            if event == STARTED:
                has_started = True
                kind = "a new" if fields.get("cold") else "a warm"
                text = f"the handler started it in {kind} execution environment"
            else:
                settled = fields
                text = _of_settled(fields)
        elif request_id and (said := _of_platform(line.text, fields, request_id)) is not None:
            text = said
            if any(part in text for part in _CRASHES):
                crash = crash or text
        elif facts and (event == STARTED or is_platform_start(line.text, fields)):
            break  # The next invocation.
        if text:
            at = datetime.fromtimestamp(line.at_ms / 1000, UTC)
            facts.append(Fact(at, source, text[:MAX_REASON_CHARS]))
        if text.startswith("REPORT"):
            break
    return LogStory(tuple(facts), has_started, settled, crash)


def _of_settled(fields: Mapping[str, Any]) -> str:
    parts = [f"outcome {fields.get('outcome')}, return code {fields.get('return_code')}"]
    if fields.get("task_state"):
        parts.append(f"task {fields['task_state']}")
    for name, words in _NUMBERS.items():
        if (number := finite(fields.get(name))) is not None:
            parts.append(words.format(number))
    if fields.get("reported") is False:
        parts.append("its result was not sent")
    reason = f": {one_line(str(fields['reason']))}" if fields.get("reason") else ""
    return f"the handler ended it: {', '.join(parts)}{reason}"


def _of_platform(text: str, fields: Mapping[str, Any], request_id: str) -> str | None:
    """Return Lambda's own line about a request, in either of its formats; None: it is not one."""
    if fields:
        record, type_ = fields.get("record"), str(fields.get("type"))
        if not isinstance(record, Mapping) or record.get("requestId") != request_id:
            return None
        if type_ != "platform.report":
            return ""
        metrics = record.get("metrics")
        numbers = metrics.items() if isinstance(metrics, Mapping) else ()
        told_of = [f"{name} {value}" for name, value in numbers]
        error = f", {record['errorType']}" if record.get("errorType") else ""
        return one_line(f"REPORT {', '.join(told_of)} Status: {record.get('status')}{error}")
    if request_id not in text:
        return None
    if text.startswith(("START ", "END ")):
        return ""
    return one_line(text.replace(f"RequestId: {request_id}", "").replace(request_id, ""))
