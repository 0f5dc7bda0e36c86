"""The checks of the jobs that the option `targets` names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from lambda_executor.aws import Clients, JobInspection
from lambda_executor.contract.errors import AwsError
from lambda_executor.core.findings import Finding, ok
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.ops.doctor import job_findings, refusals
from lambda_executor.ops.doctor.refusals import guarded
from lambda_executor.setup.time_limits import TimeLimit


class Check(NamedTuple):
    """One check of a target."""

    subject: str
    permission: str  # What this command needs for it, and the executor does not.
    run: Callable[[], Finding]  # Raises `AwsError`.


@dataclass(frozen=True, slots=True)
class JobExamination:
    """The checks of targets that could be read.

    Attributes:
        limit: Returns how long a task may wait for its start.
    """

    targets: Iterable[JobTarget]
    clients: Clients
    limit: Callable[[], TimeLimit]

    def findings(self) -> Iterator[Finding]:
        """Yield the findings about each target; a check that needs a failed one is left out."""
        for target in self.targets:
            where, what = (
                self._batch(target) if target.service is Service.BATCH else self._ecs(target)
            )
            found = list(self._findings(target, where))
            yield from found
            yield from self._findings(target, what)
            if not any(finding.is_problem for finding in found):
                yield from self._findings(target, Check("jobs", "", partial(self._jobs, target)))
            yield from self._findings(
                target, Check("longest wait", "", partial(self._wait, target))
            )

    def _findings(self, target: JobTarget, check: Check) -> Iterator[Finding]:
        yield from guarded(check.subject, partial(self._run, target, check), str(target))

    def _run(self, target: JobTarget, check: Check) -> Iterator[Finding]:
        try:
            yield check.run()
        except AwsError as e:
            place = self.clients.place("batch" if target.service is Service.BATCH else "ecs")
            yield job_findings.refused(target, check.subject, check.permission, e, place)

    @property
    def _aws(self) -> JobInspection:
        return JobInspection(self.clients)

    def _batch(self, target: JobTarget) -> tuple[Check, Check]:
        request = json.loads(target.request)
        queue, definition = request["jobQueue"], request["jobDefinition"]

        def job_queue() -> Finding:
            return job_findings.job_queue(target, queue, self._aws.job_queue(queue))

        def job_definition() -> Finding:
            facts = self._aws.job_definition(definition)
            return job_findings.job_definition(target, definition, facts)

        reads = "batch:DescribeJobQueues and batch:DescribeComputeEnvironments"
        return (
            Check("job queue", reads, job_queue),
            Check("job definition", "batch:DescribeJobDefinitions", job_definition),
        )

    def _ecs(self, target: JobTarget) -> tuple[Check, Check]:
        request = json.loads(target.request)
        name, definition = request["cluster"], request["taskDefinition"]

        def cluster() -> Finding:
            return job_findings.cluster(target, name, self._aws.cluster(name))

        def task_definition() -> Finding:
            facts = self._aws.task_definition(definition)
            return job_findings.task_definition(target, request, facts)

        return (
            Check("cluster", "ecs:DescribeClusters", cluster),
            Check("task definition", "ecs:DescribeTaskDefinition", task_definition),
        )

    def _wait(self, target: JobTarget) -> Finding:
        return job_findings.longest_wait(target, self.limit())

    def _jobs(self, target: JobTarget) -> Finding:
        try:
            self._aws.look_for_jobs(target)
        except AwsError as e:
            if e.code not in refusals.DENIED:
                raise
            return job_findings.not_permitted(target, e)
        return ok("jobs", "their state can be read", str(target))
