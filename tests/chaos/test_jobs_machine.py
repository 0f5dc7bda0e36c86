"""The machine of jobs with longer histories: 10,000 in `make chaos`, a few hundred elsewhere."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.unit.executor.test_jobs_machine import JobsMachine


class JobsMachineAtLength(JobsMachine):
    """The same machine: a class of its own, because its settings are its class's."""


TestJobsAtLength = JobsMachineAtLength.TestCase
TestJobsAtLength.settings = settings(
    max_examples=int(os.environ.get("HISTORIES", "300")),
    derandomize="HISTORIES" not in os.environ,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
