"""The checks of the jobs that the option `targets` names."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal, NamedTuple

from lambda_executor.aws import Clients, JobInspection, MicroVmImageFacts
from lambda_executor.contract.errors import DENIED, AwsError
from lambda_executor.core.findings import Finding, ok
from lambda_executor.core.targets import JobTarget, Service
from lambda_executor.ops.doctor import job_findings
from lambda_executor.ops.doctor.refusals import guarded
from lambda_executor.setup.time_limits import TimeLimit

#: The client of each service.
_CLIENTS: Mapping[Service, Literal["batch", "ecs", "micro_vms"]] = {
    Service.BATCH: "batch",
    Service.ECS: "ecs",
    Service.MICROVM: "micro_vms",
}


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

    targets: Collection[JobTarget]
    clients: Clients
    limit: Callable[[], TimeLimit]

    def findings(self) -> Iterator[Finding]:
        """Yield the findings about each target; a check that needs a failed one is left out."""
        for target in self.targets:
            where, what = self._checks(target)
            found = list(self._findings(target, where))
            yield from found
            is_there = not any(finding.is_problem for finding in found)
            if is_there or target.service is not Service.MICROVM:
                yield from self._findings(target, what)
            if is_there:
                yield from self._findings(target, Check("jobs", "", partial(self._jobs, target)))
        if self.targets:
            yield from guarded("longest wait", self._wait)

    def _findings(self, target: JobTarget, check: Check) -> Iterator[Finding]:
        yield from guarded(check.subject, partial(self._run, target, check), str(target))

    def _run(self, target: JobTarget, check: Check) -> Iterator[Finding]:
        try:
            yield check.run()
        except AwsError as e:
            place = self.clients.place(_CLIENTS[target.service])
            yield job_findings.refused(target, check.subject, check.permission, e, place)

    @property
    def _aws(self) -> JobInspection:
        return JobInspection(self.clients)

    def _checks(self, target: JobTarget) -> tuple[Check, Check]:
        """Return the check of where a target's jobs are looked for, and that of what they are."""
        checks = {
            Service.BATCH: self._batch,
            Service.ECS: self._ecs,
            Service.MICROVM: self._micro_vm,
        }
        return checks[target.service](target)

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

    def _micro_vm(self, target: JobTarget) -> tuple[Check, Check]:
        request = json.loads(target.request)

        @cache
        def facts() -> MicroVmImageFacts:
            version = request.get("imageVersion")
            return self._aws.micro_vm_image(request["imageIdentifier"], version)

        def image() -> Finding:
            return job_findings.micro_vm_image(target, request, facts())

        def base_image() -> Finding:
            found = facts()
            status = self._aws.managed_image_status(found.base, found.base_version)
            return job_findings.base_image(target, found, status)

        reads = "lambda:GetMicrovmImage and lambda:GetMicrovmImageVersion"
        lists = f"{reads}, and lambda:ListManagedMicrovmImageVersions"
        return Check("MicroVM image", reads, image), Check("base image", lists, base_image)

    def _wait(self) -> Iterator[Finding]:
        yield job_findings.longest_wait(self.targets, self.limit())

    def _jobs(self, target: JobTarget) -> Finding:
        try:
            self._aws.look_for_jobs(target)
        except AwsError as e:
            if e.code not in DENIED:
                raise
            return job_findings.not_permitted(target, e)
        return ok("jobs", "their state can be read", str(target))
