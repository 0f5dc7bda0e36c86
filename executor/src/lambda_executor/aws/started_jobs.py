"""The jobs that a launcher has started, by the dispatch ids of their invocations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import NamedTuple

from lambda_executor.aws.remembered import Remembered
from lambda_executor.contract.errors import (
    AwsError,
    InDoubtError,
    LambdaExecutorError,
    TransientError,
)
from lambda_executor.contract.wire import InvocationId

log = logging.getLogger(__name__)

#: How many jobs one call describes, for Batch and for ECS.
#: https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
DESCRIBED = 100
#: The most invocations whose jobs one look looks for, each by a call or two. A scheduler that has
#: adopted thousands finds them in a few looks, and describes those that it knows in each.
FOUND = 200

#: Asks the service for the jobs of an invocation; it returns AWS's ids of them.
Find = Callable[[InvocationId], Sequence[str]]


class Described(NamedTuple):
    """What a service says about a job; `end` is why it has ended, None that it has not."""

    aws_id: str
    end: str | None


class StartedJobs:
    """Remembers AWS's ids of the jobs of invocations; a forgotten one costs a call or two.

    Safe on any thread. An invocation whose start was in doubt may have none, one or two jobs, so
    that the service is asked each time.

    Args:
        described: The most jobs that are described at once.
    """

    def __init__(self, described: int = DESCRIBED) -> None:
        self._described = described
        self._aws_ids: Remembered[str | None] = Remembered()  # None: its start was in doubt.
        self._looked_for: Remembered[int] = Remembered()  # When, as a number that grows.
        self._described_at: Remembered[int] = Remembered()  # By AWS's id; such a number, too.
        self._ends: Remembered[str | None] = Remembered()  # By AWS's id; an end is final.
        self._numbers = count(1)

    def started(self, id: InvocationId, aws_id: str) -> None:
        """Remember the job of an invocation, unless an earlier start was in doubt."""
        self._aws_ids.add(id, aws_id)

    @contextmanager
    def starting(self, id: InvocationId) -> Iterator[None]:
        """Note that the start of an invocation is in doubt, if it is."""
        try:
            yield
        except Exception as error:
            # After a bug, nobody knows whether the call was made before it.
            if isinstance(error, InDoubtError) or not isinstance(error, LambdaExecutorError):
                self._aws_ids.put(id, None)
            raise

    def is_in_doubt(self, id: InvocationId) -> bool:
        """Whether an earlier start of an invocation may have been taken."""
        return self._aws_ids.get(id, "") is None

    def of(self, id: InvocationId, find: Find) -> Sequence[str]:
        """Return AWS's ids of the jobs of an invocation."""
        if aws_id := self._aws_ids.get(id, None):
            return (aws_id,)
        found = find(id)
        if len(found) == 1:
            self.started(id, found[0])
        return found

    def ended(
        self,
        ids: Collection[InvocationId],
        find: Find,
        describe: Callable[[Sequence[str]], Iterable[Described]],
    ) -> dict[InvocationId, str]:
        """Return why invocations have ended: those of which the service knows an ended job alone.

        Those that were described longest ago, or never, are described first. An error ends the
        look, and what was found before it counts: in the next looks, too.

        Args:
            ids: The invocations.
            find: Asks for the jobs of one that is not remembered.
            describe: Asks for some jobs at once; one that the service does not know is left
                out.

        Raises:
            AwsError: The service does not answer the first call, and no end is known.
        """
        invocations = self._by_aws_id(ids, find)
        number = next(self._numbers)
        ends = {
            aws_id: end
            for aws_id in invocations
            if (end := self._ends.get(aws_id, None)) is not None
        }
        others = sorted(
            (aws_id for aws_id in invocations if aws_id not in ends), key=self._when_described
        )
        live = set()
        for first in range(0, len(others), self._described):
            some = others[first : first + self._described]
            try:
                described = list(describe(some))
            except AwsError as error:
                if not first and not ends:
                    raise
                log.warning("Could not ask for some of the jobs in flight: %s", error)
                live.update(others[first:])
                break
            for aws_id, end in described:
                if end is None:
                    live.add(aws_id)
                else:
                    ends[aws_id] = end
                    self._ends.put(aws_id, end)
            for aws_id in some:
                self._described_at.put(aws_id, number)
        may_run = {invocations[aws_id] for aws_id in live}
        found = {invocations[aws_id]: end for aws_id, end in ends.items()}
        return {id: end for id, end in found.items() if id not in may_run}

    def _by_aws_id(self, ids: Collection[InvocationId], find: Find) -> dict[str, InvocationId]:
        """Return the invocations by AWS's ids of their jobs, of those known or found now.

        Those that were looked for longest ago, or never, are looked for first. An error ends the
        search, because the next call most probably fails too.

        Raises:
            AwsError: The service does not answer, and no job is known.
        """
        known = {aws_id: id for id in ids if (aws_id := self._aws_ids.get(id, None))}
        others = set(ids) - set(known.values())
        for id in sorted(others, key=self._when_looked_for)[:FOUND]:
            self._looked_for.put(id, next(self._numbers))
            try:
                known.update((aws_id, id) for aws_id in self.of(id, find))
            except AwsError as error:
                if not known:
                    raise
                log.warning("Could not look for some of the jobs in flight: %s", error)
                break
        return known

    def _when_described(self, aws_id: str) -> int:
        return self._described_at.get(aws_id, 0)

    def _when_looked_for(self, id: InvocationId) -> int:
        return self._looked_for.get(id, 0)


@contextmanager
def before_the_start() -> Iterator[None]:
    """For what a launcher asks before it starts a job: whatever happens, none was started."""
    try:
        yield
    except InDoubtError as e:
        raise TransientError(str(e), e.code) from e
