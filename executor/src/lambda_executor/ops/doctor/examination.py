"""The checks of the functions and queues that the options name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from lambda_executor.aws import Clients, FunctionFacts, Inspection, LogGroup, Place, QueueFacts
from lambda_executor.contract.errors import AwsError, ThrottledError
from lambda_executor.contract.log_lines import STARTED
from lambda_executor.contract.options import SECTION
from lambda_executor.core.findings import Finding, ok, unknown
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.ops.doctor import diagnosis, probe_findings, refusals
from lambda_executor.ops.doctor.dag_findings import Expected
from lambda_executor.ops.doctor.refusals import guarded
from lambda_executor.setup.config import ExecutorConfig
from lambda_executor.setup.time_limits import TimeLimit


@dataclass(frozen=True, slots=True)
class Examination:
    """The checks of an environment whose configuration could be read.

    Attributes:
        place: Where the clients ask.
        limit: Returns how long a task may wait for its start.
        expected: What the functions are compared with.
    """

    settings: ExecutorConfig
    clients: Clients
    place: Place
    limit: Callable[[], TimeLimit]
    expected: Expected

    def findings(self) -> Iterator[Finding]:
        """Yield the findings of all checks; those of a function that is not there are left out."""
        functions: dict[FunctionTarget, FunctionFacts] = {}
        for target in self.settings.routes.targets():
            check = partial(self._function, target, functions)
            yield from guarded("function", check, str(target))
        longest_s = max((facts.timeout_s for facts in functions.values()), default=0)
        dead_letters: list[QueueFacts] = []
        for subject, url, found in (
            *(("results queue", url, []) for url in self.settings.queue_urls),
            ("dead-letter queue", self.settings.dead_letter_queue_url, dead_letters),
        ):
            if url is None:  # There are no dead letters without a function.
                continue
            yield from guarded(subject, partial(self._queue, subject, url, longest_s, found), url)
        for target, facts in functions.items():
            name = str(target)
            yield from guarded("reservation", partial(self._reservation, target), name)
            events = partial(self._events, target, facts, dead_letters)
            yield from guarded("async invocation", events, name)
            yield from guarded("log", partial(self._log, target), name)
            yield from guarded("probe", partial(self._probe, target), name)

    @property
    def _aws(self) -> Inspection:
        return Inspection(self.clients)

    def _function(
        self, target: FunctionTarget, functions: dict[FunctionTarget, FunctionFacts]
    ) -> Iterator[Finding]:
        try:
            functions[target] = self._aws.function(target)
        except AwsError as e:
            yield self._no_function(target, e)
        else:
            yield diagnosis.function(target, functions[target])
            # While a version is being made, the row above says so.
            if functions[target].snapshot and functions[target].state in {"Active", "Inactive"}:
                yield diagnosis.snapshot(target, functions[target])

    def _no_function(self, target: FunctionTarget, error: AwsError) -> Finding:
        """Distinguish a missing alias from a missing function."""
        finding = refusals.refused("function", error, self.place, str(target))
        if target.qualifier is None or not finding.is_problem:
            return finding
        try:
            self._aws.function(FunctionTarget(target.function))
        except AwsError:
            return finding
        return diagnosis.no_version(target)

    def _queue(
        self, subject: str, url: str, longest_s: int, found: list[QueueFacts]
    ) -> Iterator[Finding]:
        try:
            found.append(self._aws.queue(url))
        except AwsError as e:
            yield refusals.refused(subject, e, self.place, url.rpartition("/")[2])
        else:
            yield diagnosis.queue(subject, url, found[-1], longest_s)

    def _reservation(self, target: FunctionTarget) -> Iterator[Finding]:
        try:
            yield diagnosis.reservation(target, self._aws.reserved_concurrency(target))
        except AwsError as e:
            what = "whether the function is paused is not known"
            found = refusals.not_known("reservation", what, "lambda:GetFunction", e, self.place)
            yield replace(found, of=str(target))

    def _events(
        self, target: FunctionTarget, facts: FunctionFacts, dead_letters: list[QueueFacts]
    ) -> Iterator[Finding]:
        name, limit = str(target), self.limit()
        try:
            events = self._aws.events(target)
        except AwsError as e:
            # The executor itself never reads this, so its role need not have the permission.
            what = (
                "whether Lambda repeats an invocation, how long it keeps one and where dead "
                "letters go is not known"
            )
            permission = "lambda:GetFunctionEventInvokeConfig"
            found = refusals.not_known("async invocation", what, permission, e, self.place)
            yield replace(found, of=name)
            return
        # One command serves all three findings, so that none undoes what another one did.
        arns = (facts.dead_letter_arn, events.destination_arn)
        lost = [queue.arn for queue in dead_letters if queue.arn not in arns]
        destination_arn = lost[0] if lost else events.destination_arn
        command = diagnosis.event_settings(target, events, limit, destination_arn)
        for queue in dead_letters:
            yield diagnosis.dead_letters(name, facts, events, queue, command)
        yield diagnosis.retries(name, events, command)
        yield diagnosis.event_age(name, events, limit, command)

    def _log(self, target: FunctionTarget) -> Iterator[Finding]:
        group = LogGroup(self.clients, self.settings.log_group_of(target))
        try:
            # The same call as for a running task's log; whether it finds a line does not matter.
            group.first(STARTED, since_ms=int(time.time() * 1000), pages=1)
        except AwsError as e:
            yield unknown(
                "log",
                f"the UI cannot show the log of a running task: {e}",
                f"correct [{SECTION}] log_group, or allow logs:FilterLogEvents and "
                "logs:GetLogEvents; the API server reads it too",
                "aws logs describe-log-groups --log-group-name-prefix /aws/lambda/",
                str(target),
            )
        else:
            yield ok("log", f"{group.name} can be read", str(target))

    def _probe(self, target: FunctionTarget) -> Iterator[Finding]:
        is_default = target == self.settings.routes.default
        expected = replace(self.expected, all_run_here=self.expected.all_run_here and is_default)
        try:
            reply = self._aws.probe(target, self.expected.dag_files)
        except ThrottledError as e:
            fix = "try again; if the function is paused, end that first"
            yield unknown("probe", f"no free concurrency: {e}", fix, of=str(target))
        except AwsError as e:
            yield refusals.refused("probe", e, self.place, str(target))
        else:
            yield from probe_findings.probed(target, reply, expected)
