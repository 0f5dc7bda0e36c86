"""Every problem that the doctor can find comes with something to copy."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lambda_executor import ops
from lambda_executor.aws import (
    AccountFacts,
    EventFacts,
    FunctionFacts,
    JobDefinitionFacts,
    JobQueueFacts,
    MicroVmImageFacts,
    Place,
    ProbeReply,
    TaskDefinitionFacts,
)
from lambda_executor.aws import QueueFacts as Queue
from lambda_executor.contract import options
from lambda_executor.contract.errors import (
    AwsError,
    ConfigError,
    CredentialsError,
    RejectedError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from lambda_executor.contract.probe import BundleAnswer, ProbeAnswer
from lambda_executor.contract.token_lifetime import TASK_QUEUED_TIMEOUT
from lambda_executor.core import findings
from lambda_executor.core.findings import Finding
from lambda_executor.core.targets import FunctionTarget, JobTarget, Service
from lambda_executor.ops.doctor import (
    airflow_findings,
    checks,
    dag_findings,
    diagnosis,
    examination,
    installation,
    job_examination,
    job_findings,
    probe_findings,
    refusals,
)
from lambda_executor.setup.time_limits import TimeLimit

MODULES = (
    airflow_findings,
    checks,
    dag_findings,
    diagnosis,
    examination,
    job_examination,
    job_findings,
    probe_findings,
    refusals,
)
BATCH = JobTarget("long", Service.BATCH, '{"jobQueue": "q", "jobDefinition": "d"}')
ECS = JobTarget("huge", Service.ECS, '{"cluster": "c", "taskDefinition": "d"}')
VM = JobTarget(
    "vm",
    Service.MICROVM,
    '{"imageIdentifier": "i", "executionRoleArn": "r", "maximumDurationInSeconds": 60}',
)
F = FunctionTarget("f", "live")
PLACE = Place("eu-west-1", "https://lambda.eu-west-1.amazonaws.com")
FUNCTION = FunctionFacts("Active", "", "Successful", "", 300, "")
EVENTS = EventFacts(2, 21_600, "", exist=False)
QUEUE = Queue("arn:q", 0, 0, 60, 0)
ANSWER = ProbeAnswer("3.1.8", "3.12", 99, "https://a/", "ConnectError: refused", 1, 5, {})
EXPECTED = dag_findings.Expected(
    dag_findings.Versions("3.3.2", "3.12"), {"b": ["a.py"]}, "dags", all_run_here=True
)

#: What a person can copy: a program that the kit or Airflow brings, or a setting.
COPIED = re.compile(
    r"(aws|airflow|curl|docker|make|node_modules/\.bin/cdk|pip) \S|[A-Z][A-Z0-9_]*=\S"
)


def answered(**changes: object) -> Iterator[Finding]:
    """The findings about an answer to a probe."""
    answer = replace(ANSWER, **changes)  # type: ignore[arg-type] # of one field each
    reply = ProbeReply(json.dumps(answer.encode()).encode())
    return probe_findings.probed(F, reply, EXPECTED)


def unusable() -> Iterator[Finding]:
    """A check that finds an option that it cannot read."""
    raise ConfigError("[lambda_executor] functions is 'x'")


def every_finding() -> Iterator[Finding]:
    """At least one finding of each rule that can find a problem."""
    yield airflow_findings.executor(["airflow.executors.local_executor.LocalExecutor"])
    yield from airflow_findings.schedulers([installation.LiveScheduler(1, "h", runs_ours=False)])
    yield from airflow_findings.options(NoFile(), {"AIRFLOW__LAMBDA_EXECUTOR__X": "", **NEAR})
    yield airflow_findings.concurrency(AccountFacts(10, 10), 32, 1, ["f"])
    yield from airflow_findings.api_server_connections(NoFile(), 100)
    yield diagnosis.function(F, replace(FUNCTION, state="Failed"))
    yield diagnosis.function(F, replace(FUNCTION, last_update="Failed"))
    yield diagnosis.snapshot(F, replace(FUNCTION, snapshot="Off"))
    yield diagnosis.snapshot(F, replace(FUNCTION, snapshot="On", state="Inactive"))
    yield diagnosis.no_version(F)
    yield diagnosis.reservation(F, 0)
    command = diagnosis.event_settings(F, EVENTS, LIMIT, "arn:q")
    yield diagnosis.retries("f", EVENTS, command)
    yield diagnosis.event_age("f", EVENTS, LIMIT, command)
    yield diagnosis.dead_letters("f", FUNCTION, EVENTS, QUEUE, command)
    yield diagnosis.queue("results queue", "https://sqs/q", QUEUE, 900)
    yield diagnosis.queue("results queue", "https://sqs/q", replace(QUEUE, retention_s=9999), 900)
    yield from probe_findings.probed(F, ProbeReply(b"{}", "Runtime.Exit", "x"), EXPECTED)
    yield from answered()
    yield from answered(execution_api_error="ReadTimeout: x")
    yield from answered(bundles={"b": BundleAnswer("image", error="x")})
    yield from answered(bundles={"b": BundleAnswer("image", missing=("a.py",))})
    yield from of_jobs()
    yield refusals.no_credentials(CredentialsError("none"))
    for code in ("AccessDenied", "ResourceNotFoundException"):
        for subject in ("function", "results queue", "dead-letter queue", "probe"):
            yield refusals.refused(subject, RejectedError("x", code), PLACE)
    yield from refusals.guarded("configuration", unusable)
    yield from checks._connect(NoFile(), [])


def of_jobs() -> Iterator[Finding]:
    """At least one finding of each rule about targets that can find a problem."""
    for state, status in (("DISABLED", "VALID"), ("ENABLED", "INVALID"), ("ENABLED", "VALID")):
        yield job_findings.job_queue(BATCH, "q", JobQueueFacts(state, status, "", ()))
    yield job_findings.job_definition(BATCH, "d", JobDefinitionFacts(has_one_container=False))
    yield job_findings.cluster(ECS, "c", "INACTIVE")
    request = json.loads(ECS.request)
    for facts in (
        TaskDefinitionFacts("INACTIVE", ("a",), "awsvpc"),
        TaskDefinitionFacts("ACTIVE", ("a", "b"), "bridge"),
        TaskDefinitionFacts("ACTIVE", ("a",), "awsvpc"),
    ):
        yield job_findings.task_definition(ECS, request, facts)
    other = replace(ECS, container="c")
    yield job_findings.task_definition(other, request, TaskDefinitionFacts("ACTIVE", ("a",), ""))
    vm_request = json.loads(VM.request)
    run = MicroVmImageFacts(
        "CREATED", "7", "SUCCESSFUL", "ACTIVE", "", "ENABLED", 9000, "base", "1"
    )
    for vm_facts in (
        MicroVmImageFacts("CREATE_FAILED"),
        replace(run, version_status="INACTIVE"),
        replace(run, run_hook="DISABLED"),
    ):
        yield job_findings.micro_vm_image(VM, vm_request, vm_facts)
    yield job_findings.base_image(VM, run, "DEPRECATED")
    yield job_findings.not_permitted(BATCH, RejectedError("denied", "AccessDeniedException"))
    for subject in (
        "job queue",
        "job definition",
        "cluster",
        "task definition",
        "base image",
        "jobs",
    ):
        yield job_findings.refused(BATCH, subject, "x:Y", RejectedError("x", "NotFound"), PLACE)


LIMIT = TimeLimit(TASK_QUEUED_TIMEOUT, 600)
NEAR = {"AIRFLOW__LAMBDA_EXECUTOR__QUEUE_URI": ""}


class NoFile:
    """A configuration in which nothing is set."""

    def has_section(self, _: str) -> bool:
        """No file has ours."""
        return False

    def options(self, _: str) -> list[str]:
        """No file sets one."""
        return []

    def get(self, _section: str, _key: str, *, fallback: str | None = None) -> str | None:
        """No option has a value."""
        return fallback


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The functions that made a problem so far."""
    seen: set[str] = set()

    def recorded(*args: str) -> Finding:
        seen.add(sys._getframe(1).f_code.co_qualname.rpartition(".")[2])
        return findings.problem(*args)

    for module in MODULES:
        if hasattr(module, "problem"):
            monkeypatch.setattr(module, "problem", recorded)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    return seen


def makers() -> set[str]:
    """Every function of the doctor that makes problems."""
    found = set()
    for file in Path(ops.__path__[0]).rglob("*.py"):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef) and "problem" in {
                node.id for node in ast.walk(function) if isinstance(node, ast.Name)
            }:
                found.add(function.name)
    return found


def test_every_problem_has_a_fix_that_can_be_copied(callers: set[str]) -> None:
    """The fix is a sentence, and its command or setting is complete but for `<names>`.

    No rule that can find a problem is left out.
    """
    problems = [finding for finding in every_finding() if finding.is_problem]
    for finding in problems:
        assert finding.detail
        assert finding.fix, finding
        assert COPIED.match(finding.command), finding
        assert "\n" not in finding.command
    assert callers == makers()


@pytest.mark.parametrize("option", options.OPTIONS, ids=lambda option: option.name)
def test_every_option_has_a_setting_that_can_be_copied(
    option: options.Option[object],
) -> None:
    """A value that a shell would change is quoted."""
    name, _, value = option.setting.partition("=")
    assert name == option.environment_variable
    assert value in (option.example, f"'{option.example}'")


def test_an_error_of_aws_has_the_fix_of_its_kind() -> None:
    """A wrong Region, a missing permission and an unreachable endpoint are different things."""

    def finding(error: AwsError) -> Finding:
        return refusals.refused("function", error, PLACE, "f")

    missing = finding(RejectedError("not found", "ResourceNotFoundException"))
    assert "eu-west-1, https://lambda.eu-west-1.amazonaws.com" in missing.detail
    assert "the Region, which is eu-west-1" in missing.fix
    assert "attach-role-policy" in finding(RejectedError("denied", "AccessDenied")).command
    away = finding(UnreachableError("Could not connect to the endpoint URL"))
    assert "cannot be reached" in away.detail
    assert "credentials" not in away.fix
    assert away.command.startswith("curl ")
    for busy in (ThrottledError("Rate exceeded"), TransientError("busy", "ServiceException")):
        assert finding(busy).fix == "ask again later"
    assert finding(CredentialsError("none")).subject == "credentials"


def test_a_check_that_fails_does_not_end_the_doctor() -> None:
    """Whatever it raises is its finding."""

    def broken() -> Iterator[Finding]:
        yield findings.ok("a", "b")
        raise RuntimeError("a fault of ours")

    checks: list[Callable[[], Iterator[Finding]]] = [broken, unusable]
    found = [f for check in checks for f in refusals.guarded("x", check)]
    assert [f.status.value for f in found] == ["ok", "unknown", "problem"]
    assert "RuntimeError: a fault of ours" in found[1].detail
