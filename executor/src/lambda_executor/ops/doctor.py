"""Checks everything that can go wrong in a deployed environment.

This module owns the order of the checks, and the findings when AWS does not answer; `diagnosis.py`
judges the answers. It changes nothing, and its only invocation is a probe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from lambda_executor.aws import FunctionFacts, Inspection, LogGroup, Patience, QueueFacts
from lambda_executor.contract.errors import AwsError, ConfigError, ThrottledError, TransientError
from lambda_executor.contract.log_lines import STARTED
from lambda_executor.contract.options import CONFIG_PARAMETER, SECTION
from lambda_executor.core.findings import Finding, ok, problem, unknown
from lambda_executor.core.routing import Target
from lambda_executor.ops import diagnosis
from lambda_executor.ops.diagnosis import Versions
from lambda_executor.setup.config import ExecutorConfig
from lambda_executor.setup.connection import Gateway
from lambda_executor.setup.option_values import Conf

T = TypeVar("T")

#: A person waits, but a probe may take a cold start and the function's time-out for the API.
PATIENCE = Patience(connect_s=5, read_s=60, attempts=2)

_PERMISSION = (
    "correct its name in [lambda_executor] or in the SSM parameter, the Region, or the "
    "permissions: the stacks' managed policy (output SchedulerPolicyArn) has all of them"
)


def examine(conf: Conf, here: Versions) -> Iterator[Finding]:
    """Yield one finding for each check; a check that depends on a failed one is left out."""
    try:
        gateway = Gateway(conf, PATIENCE)
        try:
            yield ok("credentials", Inspection(gateway.first).caller())
        except AwsError as e:
            fix = "give this process AWS credentials: boto3's own chain, or conn_id"
            yield problem("credentials", str(e), fix)
            return
        settings = gateway.settings()
    except ConfigError as e:
        yield problem("configuration", str(e), "correct the option that it names")
        return
    name = conf.get(SECTION, CONFIG_PARAMETER.name, fallback=None)
    yield ok("configuration", f"from SSM parameter {name}" if name else "from Airflow's own")
    limit_s = float(conf.get("scheduler", "task_queued_timeout", fallback="600") or 600)
    yield from _Examination(settings, gateway, here, limit_s).findings()


class _Examination:
    """The checks of an environment whose configuration could be read."""

    def __init__(
        self, settings: ExecutorConfig, gateway: Gateway, here: Versions, limit_s: float
    ) -> None:
        self._settings = settings
        self._clients = gateway.clients(settings)
        self._aws = Inspection(self._clients)
        self._here = here
        self._limit_s = limit_s

    def findings(self) -> Iterator[Finding]:
        functions: dict[Target, FunctionFacts] = {}
        for target in self._settings.routes.targets():
            facts = _ask("function", str(target), partial(self._aws.function, target))
            if isinstance(facts, Finding):
                yield self._with_reason(facts, target)
            else:
                functions[target] = facts
                yield diagnosis.function(str(target), facts)
        longest_s = max((facts.timeout_s for facts in functions.values()), default=0)
        for url in self._settings.queue_urls:
            yield self._queue("results queue", url, longest_s)[0]
        finding, dead_letters = self._queue(
            "dead-letter queue", self._settings.dead_letter_queue_url, longest_s
        )
        yield finding
        for target, facts in functions.items():
            yield from self._events(target, facts, dead_letters)
            yield self._log(target)
            yield from self._probe(target)

    def _with_reason(self, finding: Finding, target: Target) -> Finding:
        """Distinguish a missing alias from a missing function."""
        if target.qualifier is None or not finding.is_problem:
            return finding
        bare = Target(target.function)
        if isinstance(_ask("", "", partial(self._aws.function, bare)), Finding):
            return finding
        return problem(
            finding.subject,
            f"the function is there, its version or alias {target.qualifier!r} is not",
            f"set [{SECTION}] function_qualifier to one that it has, or deploy the stacks again",
            finding.of,
        )

    def _queue(self, subject: str, url: str, longest_s: int) -> tuple[Finding, QueueFacts | None]:
        name = url.rpartition("/")[2]
        facts = _ask(subject, name, partial(self._aws.queue, url))
        if isinstance(facts, Finding):
            return facts, None
        return diagnosis.queue(subject, name, facts, longest_s), facts

    def _events(
        self, target: Target, facts: FunctionFacts, dead_letters: QueueFacts | None
    ) -> Iterator[Finding]:
        name = str(target)
        try:
            events = self._aws.events(target)
        except AwsError as e:
            # The executor itself never reads this, so its role need not have the permission.
            yield unknown(
                "async invocation",
                f"whether Lambda repeats an invocation, how long it keeps one and where dead "
                f"letters go is not known: {e}",
                "allow lambda:GetFunctionEventInvokeConfig; the stacks' managed policy does",
                name,
            )
            return
        if dead_letters is not None:
            yield diagnosis.dead_letters(name, facts, events, dead_letters)
        yield diagnosis.retries(name, events)
        yield diagnosis.event_age(name, events, self._limit_s)

    def _log(self, target: Target) -> Finding:
        group = LogGroup(self._clients, self._settings.log_group_of(target))
        try:
            # The same call as for a running task's log; whether it finds a line does not matter.
            group.first(STARTED, since_ms=int(time.time() * 1000), pages=1)
        except AwsError as e:
            return unknown(
                "log",
                f"the UI cannot show the log of a running task: {e}",
                f"correct [{SECTION}] log_group or the permissions; the API server reads it too",
                str(target),
            )
        return ok("log", f"{group.name} can be read", str(target))

    def _probe(self, target: Target) -> Iterator[Finding]:
        try:
            reply = self._aws.probe(target)
        except ThrottledError as e:
            fix = "try again; a reserved concurrency of 0 is a pause"
            yield unknown("probe", f"no free concurrency: {e}", fix, str(target))
        except AwsError as e:
            yield problem("probe", f"it cannot be invoked: {e}", _PERMISSION, str(target))
        else:
            yield from diagnosis.probed(str(target), reply, self._here)


def _ask(subject: str, of: str, ask: Callable[[], T]) -> T | Finding:
    """Return AWS's answer, or the finding that follows from its error."""
    try:
        return ask()
    except TransientError as e:
        return unknown(subject, str(e), "ask again later", of)
    except AwsError as e:
        return problem(subject, str(e), _PERMISSION, of)
