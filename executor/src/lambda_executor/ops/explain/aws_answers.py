"""Asks AWS about one try of a task. It takes nothing out of a queue.

SQS cannot show a message without receiving it, which hides it from the scheduler for a while, so
that the queues are only counted. What cannot be read becomes a line of the story, with the missing
permission, and ends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple, TypeVar

from lambda_executor import aws
from lambda_executor.aws import LogGroup, Patience
from lambda_executor.contract.errors import (
    AwsError,
    CredentialsError,
    LambdaExecutorError,
    UnreachableError,
)
from lambda_executor.contract.log_lines import SETTLED
from lambda_executor.contract.wire import InvocationId
from lambda_executor.core.routing import overrides
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service, Target
from lambda_executor.ops import target_status
from lambda_executor.ops import tasks as airflow_tasks
from lambda_executor.ops.explain import log_story
from lambda_executor.ops.explain.evidence import Fact, LogStory, Try
from lambda_executor.ops.missing_rights import missing_right
from lambda_executor.setup.connection import Connected, connect
from lambda_executor.setup.job_log_groups import JobLogGroups
from lambda_executor.setup.limits import ACCOUNT
from lambda_executor.setup.option_values import Conf

Answer = TypeVar("Answer")

#: A person waits, and reads what came; there are no cold starts to wait for.
PATIENCE = Patience(connect_s=5, read_s=15, attempts=2)
#: Longest time to read the lines of one log.
LOG_S = 15.0
#: How much earlier than Airflow's times a log may begin, because of clocks that differ.
CLOCKS = timedelta(minutes=2)

_SERVICES = {
    Service.BATCH: ("AWS Batch", "batch"),
    Service.ECS: ("Amazon ECS", "ecs"),
    Service.MICROVM: ("Lambda MicroVMs", "lambda"),
}
#: The states of tasks that no function or job has, as Airflow sees it.
_NOT_SENT = (None, "scheduled")
_WAITING = (*_NOT_SENT, "queued")


@dataclass(slots=True)
class Answers:
    """What AWS said.

    Attributes:
        facts: Lines of the story.
        unread: What could not be read, and why.
        target: Where the task goes; None: that is not known.
        log: The log of its invocation.
        job_ends: Why its jobs have ended.
        waits: What keeps it waiting, each a part of a sentence.
    """

    facts: list[Fact] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    target: Target | None = None
    log: LogStory = field(default_factory=LogStory)
    job_ends: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    _is_away: bool = False

    def ask(self, source: str, service: str, question: Callable[[], Answer]) -> Answer | None:
        """Return an answer; None: there is none, and a line says why.

        After AWS could not be reached, or took no credentials, it is not asked any more.

        Args:
            source: What is asked, for the line.
            service: The beginning of IAM's names of the service's actions.
            question: The call, or some calls.
        """
        if self._is_away:
            return None
        try:
            return question()
        except AwsError as e:
            self._is_away = isinstance(e, CredentialsError | UnreachableError)
            right = missing_right(e, service)
            if right is not None:
                why = f"not allowed: this role lacks {right.action} ({e})"
            else:
                why = f"could not be read: {e}"
        except LambdaExecutorError as e:
            why = f"could not be read: {e}"
        self.unread.append(f"{source}: {why}")
        self.facts.append(Fact(None, source, why))
        return None


class _Sent(NamedTuple):
    """An invocation that is asked about; `reason` is the executor's for its failure."""

    task: Try
    id: InvocationId
    target: Target
    reason: str


def ask(conf: Conf, task: Try, reason: str) -> Answers:
    """Ask AWS everything about a try.

    Args:
        conf: Airflow's configuration.
        task: The try.
        reason: The executor's reason for its failure; empty: there is none.

    Raises:
        DatabaseError: Airflow's database cannot be read.
    """
    answers = Answers()
    connected = answers.ask("configuration", "ssm", lambda: connect(conf, PATIENCE))
    if connected is None:
        return answers
    routes = connected.config.routes
    answers.target = answers.ask(
        "target", "", lambda: routes.target(task.queue, task.executor_config)
    )
    if answers.target is not None and task.dispatch_id and task.state not in _NOT_SENT:
        sent = _Sent(task, InvocationId(task.dispatch_id), answers.target, reason)
        _ask_about_invocation(answers, connected, sent)
    if isinstance(answers.target, FunctionTarget) and task.state in _WAITING:
        _ask_for_room(answers, connected, answers.target)
    if task.state != "success":
        _count_messages(answers, connected)
    return answers


def _ask_about_invocation(answers: Answers, connected: Connected, sent: _Sent) -> None:
    task, id, target, _ = sent
    clients, bucket = connected.clients, connected.config.payload_bucket
    if isinstance(target, JobTarget):
        source, service = _SERVICES[target.service]
        words = answers.ask(source, service, lambda: aws.ask_about(clients, target, id, bucket))
        if words is not None:
            _tell_of_jobs(answers, source, target, task, words)
        # The role that reads a log may lack what finds out which one it is.
        group = answers.ask(
            "job log",
            service,
            lambda: JobLogGroups().of(
                connected.job_inspection, target, overrides(target, task.executor_config)
            ),
        )
        source = "job log"
    else:
        group, source = connected.config.log_group_of(target), "function log"
    if group is None:
        return
    log = LogGroup(clients, group)
    story = answers.ask(source, "logs", lambda: _read_log(log, sent, source))
    if story is None:
        return
    answers.log = story
    answers.facts.extend(story.facts)
    if not story.facts:
        answers.facts.append(Fact(None, source, f"{group} has no line of it (dispatch id {id})"))


def _tell_of_jobs(
    answers: Answers, source: str, target: JobTarget, task: Try, words: list[aws.JobWord]
) -> None:
    if not words:
        text = f"{target} has no job of it (any more): dispatch id {task.dispatch_id}"
        answers.facts.append(Fact(None, source, text))
    for word in words:
        reason = f": {word.reason}" if word.reason else ""
        times = {"made": word.made_at, "started": word.started_at}
        answers.facts += [
            Fact(at, source, f"{word.aws_id} was {what}") for what, at in times.items() if at
        ]
        if word.end:
            answers.job_ends.append(word.end)
            answers.facts.append(Fact(word.ended_at, source, word.end))
            continue
        answers.facts.append(Fact(None, source, f"{word.aws_id} is {word.state}{reason}"))
        if task.state == "queued":
            answers.waits.append(f"its job in {source} is {word.state}{reason}")


def _read_log(log: LogGroup, sent: _Sent, source: str) -> LogStory:
    """Look for the lines of an invocation, and read the stream where it has begun and ended."""
    task, id, _, reason = sent
    since = task.queued_at or task.started_at or datetime.now(UTC) - timedelta(days=1)
    since_ms = int((since - CLOCKS).timestamp() * 1000)
    request_id = log_story.request_id_in(reason)
    # The first line with the id is the start. A function that crashed before has only Lambda's own.
    start = log.first(id, since_ms=since_ms)
    if start is None and request_id:
        start = log.first(request_id, since_ms=since_ms)
    if start is None:
        return LogStory()
    settled = log.first_with_all((SETTLED, id), since_ms=start.at_ms)

    def lines() -> Iterator[aws.LogLine]:
        first = start
        if settled is not None:  # What the task has printed in between is not read.
            yield start
            first = settled
        until_s = time.monotonic() + LOG_S
        yield from log.read(first.stream, since_ms=first.at_ms, until_s=until_s)

    return log_story.told(lines(), id, request_id, source)


def _ask_for_room(answers: Answers, connected: Connected, target: FunctionTarget) -> None:
    """Compare how many invocations a function may run with those of Airflow's running tasks."""
    most, name = connected.config.max_in_flight.get(target.function), target.function
    if most is None:
        inspection = connected.inspection
        most = reserved = answers.ask(
            "AWS Lambda", "lambda", lambda: inspection.reserved_concurrency(target)
        )
        if reserved == 0:
            why = f"the function {name} is paused (reserved concurrency 0), so every invocation "
            answers.waits.append(f"{why}becomes a dead letter")
            return
        if reserved is None:
            account = answers.ask("AWS Lambda", "lambda", inspection.account)
            most, name = account.unreserved if account else None, ACCOUNT
    if not most:  # There is no limit, or it is not known.
        return
    by_target = target_status.by_target(connected.config.routes, airflow_tasks.active_by_queue())
    running = by_target.get(target, {}).get("running", 0)
    text = f"{target} runs {running} invocations for Airflow, and {name} may run {most}"
    answers.facts.append(Fact(None, "AWS Lambda", text))
    if running >= most:
        answers.waits.append(f"the function is full: {text}")


def _count_messages(answers: Answers, connected: Connected) -> None:
    for source, url in (
        *(("results queue", url) for url in connected.config.queue_urls),
        ("dead-letter queue", connected.config.dead_letter_queue_url),
    ):
        if url is None:
            continue
        facts = answers.ask(source, "sqs", partial(connected.inspection.queue, url))
        if facts is None:
            continue
        text = f"{facts.visible} messages are visible, {facts.hidden} are hidden"
        if facts.visible:
            text += "; whose they are is not read, which would hide them from the scheduler"
            if source == "dead-letter queue":
                text += ": `airflow lambda-executor dead-letters list` does that"
        answers.facts.append(Fact(None, source, text))
