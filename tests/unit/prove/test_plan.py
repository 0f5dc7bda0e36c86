"""The plan of `make prove`: its steps, its checks with recorded answers, and what is printed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.stub import Stubber

from lambda_executor.contract.probe import ProbeAnswer
from lambda_executor.contract.wire import WIRE_VERSION
from prove import __main__ as command_line
from prove import actions, airflow_api, checks, report, steps
from prove.actions import Call, Deploy, InAirflow, Seen, Shell, deploy
from prove.place import ROOT, NotSeenError, Place
from prove.running import Outcome, run
from prove.steps import STEPS, Step
from stacks.config import loading
from stacks.config.loading import load
from tests.synth.variants import VARIANTS

STAGES = json.loads((ROOT / "cdk.json").read_text())["context"]["stages"]
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"

A_BUNDLE = {"name": "dags", "classpath": "airflow.providers.git.bundles.git.GitDagBundle"}
AN_IMAGE = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/airflow@sha256:{64 * 'a'}"


class Recorded:
    """A session of boto3 that has answers for some calls, by `service.operation`."""

    region_name = "eu-west-1"

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def client(self, service: str) -> Any:
        """A client of one service."""
        session = self

        class Client:
            def __getattr__(self, operation: str) -> Callable[..., Any]:
                def call(**arguments: Any) -> Any:
                    session.calls.append((f"{service}.{operation}", arguments))
                    answer = session.answers[f"{service}.{operation}"]
                    return answer(**arguments) if callable(answer) else answer

                return call

            def can_paginate(self, _operation: str) -> bool:
                return False

            def get_paginator(self, operation: str) -> Any:
                call = getattr(self, operation)
                return type("Pages", (), {"paginate": lambda _, **asked: [call(**asked)]})()

        return Client()


def snapshot(status: str) -> dict[str, Any]:
    """Lambda's answer about a version with or without a snapshot."""
    applied = {"ApplyOn": "PublishedVersions", "OptimizationStatus": status}
    return {"lambda.get_function_configuration": {"Version": "7", "SnapStart": applied}}


RESTORED = (
    "REPORT RequestId: 5f3c1a9e-0000\tDuration: 61.20 ms\tBilled Duration: 262 ms\t"
    "Memory Size: 1769 MB\tMax Memory Used: 188 MB\t"
    "Restore Duration: 452.81 ms\tBilled Restore Duration: 200 ms\t\n"
)
PROBED = json.dumps(
    ProbeAnswer("3.3.2", "3.12.4", WIRE_VERSION, "https://airflow/execution/", "", 3, 5).encode()
).encode()


def stack(part: str, status: str = "UPDATE_COMPLETE", **outputs: str) -> dict[str, Any]:
    """CloudFormation's description of a stack of `dev`."""
    found = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    return {"StackName": f"airflow-lambda-dev-{part}", "StackStatus": status, "Outputs": found}


EXECUTION = stack(
    "execution",
    FunctionName="airflow-lambda-dev",
    FunctionAlias="live",
    FailuresQueueUrl="https://sqs/failures",
    PayloadBucketName="payloads",
    LogGroupName="/aws/lambda/airflow-lambda-dev",
)
UP = {
    "cloudformation.describe_stacks": {"Stacks": [EXECUTION]},
    "lambda.get_alias": {"FunctionVersion": "7"},
}


def place(stage: str = "dev", answers: Mapping[str, Any] = UP, **more: Any) -> Place:
    """A stage in a recorded account."""
    return Place(stage, load(STAGES, stage), Recorded(answers), "123456789012", **more)


def seen(tmp_path: Path, **what: Any) -> Seen:
    """What a step has shown."""
    return Seen(tmp_path / "log", **what)


def named(name: str) -> Step:
    """A step by its name."""
    return next(step for step in STEPS if step.name == name)


@pytest.mark.parametrize("stage", STAGES)
def test_a_dry_run_prints_every_step_and_asks_nobody(
    stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each step is printed with its commands and what must be seen, or with why it is left out."""
    assert command_line.main([stage, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if line[0] != " "]
    assert [head.split(": ")[0] for head in heads] == [
        f"{number}. {step.name}" for number, step in enumerate(STEPS, 1)
    ]
    ends = [line for line in lines if line.startswith(("   must be seen: ", "   left out: "))]
    assert len(ends) == len(STEPS)
    assert any("cdk deploy" in line and f"stage={stage}" in line for line in lines)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_deploy_of_the_plan_is_a_valid_stage(variant: str) -> None:
    """No step changes a stage to values that its relations refuse."""
    stage, override = VARIANTS[variant]
    stages = {stage: loading._merged(STAGES[stage], override)}
    config = load(stages, stage)
    here = Place(
        stage,
        config,
        None,
        account="123456789012",
        region=config.region or "eu-west-1",
        email="me@example.com",
        certificate_arn=CERTIFICATE,
        domain_name="airflow.example.com",
    )
    deploys = 0
    for step in STEPS:
        if step.left_out(here):
            continue
        for action in step.all_actions(here):
            if isinstance(action, Deploy):
                load(stages, stage, json.dumps(here.override(action.extra)))
                deploys += 1
    assert deploys


@pytest.mark.parametrize(
    ("override", "left_out"),
    [
        ({"dags": {"source": "s3"}}, {"dags", "deadline", "thirty-minutes"}),
        (
            {"dags": {"source": "bundle", "bundles": [A_BUNDLE]}},
            {"dags", "deadline", "thirty-minutes"},
        ),
        ({"image": {"uri": AN_IMAGE}}, {"dags", "deadline", "thirty-minutes", "snapshot"}),
        ({"region": "ap-east-2"}, {"snapshot"}),
        ({"functions": [{"name": "default", "ephemeral_storage_mb": 1024}]}, {"snapshot"}),
        ({"image": {"python_version": "3.13"}}, {"missing-image"}),
        ({"image": {"requirements": "requirements.txt"}}, {"missing-image"}),
        (
            {"functions": [{"name": "more", "queues": ["more"], "architecture": "x86_64"}]},
            {"missing-image"},
        ),
        ({}, set()),
    ],
)
def test_what_a_stage_cannot_show_is_left_out(
    override: Mapping[str, Any], left_out: set[str]
) -> None:
    """The plan's DAG files must be in the image, and an image that is missing must be allowed."""
    here = Place("dev", load(STAGES, "dev", override), None)
    plain = Place("dev", load(STAGES, "dev"), None)
    found = {step.name for step in STEPS if step.left_out(here)}
    assert found - {step.name for step in STEPS if step.left_out(plain)} == left_out


def test_the_page_has_the_plan() -> None:
    """docs/unproven.md lists the steps that the program does."""
    rows = "\n".join(report.page())
    assert rows in (ROOT / "docs" / "unproven.md").read_text(), (
        "copy the table of `.venv/bin/python -m prove --page` into docs/unproven.md"
    )


def test_names_and_what_comes_before_exist() -> None:
    """A step depends on earlier steps only."""
    before: list[str] = []
    for step in STEPS:
        assert set(step.after) <= set(before), step.name
        before.append(step.name)
    assert len(set(before)) == len(before)


def test_a_call_is_printed_as_a_command_of_the_aws_cli() -> None:
    """A person can copy it."""
    call = Call("lambda", "put_function_concurrency", {"FunctionName": "$F", "Reserved": 0})
    assert call.command(place()) == (
        "aws lambda put-function-concurrency --function-name $F --reserved 0"
    )


# --- the checks ---


def listed_for_a_while(gone: str, stays: str) -> Callable[..., Any]:
    """The tagging API's answers: at first it lists what is deleted already."""
    answers = [[gone, stays]] * 6

    def answer(**_: Any) -> Any:
        arns = answers.pop() if answers else [stays]
        return {"ResourceTagMappingList": [{"ResourceARN": arn} for arn in arns]}

    return answer


FAILED = "UPDATE_ROLLBACK_COMPLETE"
TOO_FEW = "Specified ConcurrentExecutions for function decreases account's Unreserved"
VERSION_EXISTS = "A version for this Lambda function exists ( 8 ). Modify the function"


def toolkit(version: str, status: str = "CREATE_COMPLETE") -> Mapping[str, Any]:
    """The stack of `cdk bootstrap`."""
    outputs = [{"OutputKey": "BootstrapVersion", "OutputValue": version}]
    return {"StackName": "CDKToolkit", "StackStatus": status, "Outputs": outputs}


def rolled_back(times: int) -> dict[str, Any]:
    """The answers about an execution stack that was rolled back so many times."""
    of_the_stack = {"ResourceType": "AWS::CloudFormation::Stack", "ResourceStatus": FAILED}
    other = {"ResourceType": "AWS::Lambda::Alias", "ResourceStatus": "UPDATE_FAILED"}
    return {
        "cloudformation.describe_stacks": {"Stacks": [EXECUTION | {"StackStatus": FAILED}]},
        "cloudformation.describe_stack_events": {"StackEvents": [other, *[of_the_stack] * times]},
    }


#: A check, the answers of AWS, what was seen, and the beginning of what it says; `!`: refuses.
CASES: Mapping[str, tuple[Any, Mapping[str, Any], Mapping[str, Any], str]] = {
    "bootstrapped": (
        checks.bootstrapped,
        {"cloudformation.describe_stacks": {"Stacks": [EXECUTION, toolkit("6", FAILED)]}},
        {},
        f"CDKToolkit is {FAILED}, its version 6",
    ),
    "not bootstrapped": (checks.bootstrapped, {}, {}, "!there is no stack CDKToolkit"),
    "half bootstrapped": (
        checks.bootstrapped,
        {"cloudformation.describe_stacks": {"Stacks": [toolkit("6", "CREATE_FAILED")]}},
        {},
        "!CDKToolkit is CREATE_FAILED",
    ),
    "bootstrapped long ago": (
        checks.bootstrapped,
        {"cloudformation.describe_stacks": {"Stacks": [toolkit("5")]}},
        {},
        "!CDKToolkit has version 5, the stage needs 6: run cdk bootstrap",
    ),
    "bootstrapped with the first version": (
        checks.bootstrapped,
        {"cloudformation.describe_stacks": {"Stacks": [{**toolkit("0"), "Outputs": []}]}},
        {},
        "!CDKToolkit has version 0, the stage needs 6",
    ),
    "deployed": (checks.deployed, {}, {}, "1 stacks are complete"),
    "nothing is deployed": (
        checks.deployed,
        {"cloudformation.describe_stacks": {"Stacks": []}},
        {},
        "!there is no stack airflow-lambda-dev-...",
    ),
    "a stack failed": (
        checks.deployed,
        {"cloudformation.describe_stacks": {"Stacks": [stack("network", FAILED)]}},
        {},
        f"!airflow-lambda-dev-network is {FAILED}",
    ),
    "works after a rollback": (
        named("missing-image").undone,
        {"cloudformation.describe_stacks": {"Stacks": [EXECUTION | {"StackStatus": FAILED}]}},
        {},
        "1 stacks are complete",
    ),
    "works after the deploys that failed": (
        named("failure-after-version").undone,
        {"cloudformation.describe_stacks": {"Stacks": [EXECUTION | {"StackStatus": FAILED}]}},
        {},
        "1 stacks are complete",
    ),
    "works not yet": (
        named("missing-image").undone,
        {"cloudformation.describe_stacks": {"Stacks": [stack("execution", "UPDATE_FAILED")]}},
        {},
        "!airflow-lambda-dev-execution is UPDATE_FAILED",
    ),
    "unchanged": (checks.unchanged, {}, {"texts": ["x (no changes)"]}, "no changes in 1 stacks"),
    "changed": (checks.unchanged, {}, {"texts": ["x"]}, "!0 of 1 stacks had no changes"),
    "no answer": (
        checks.answers,
        {},
        {"answers": [{"Payload": b'{"errorMessage": "KeyError"}'}]},
        "!the function did not answer the probe: ",
    ),
    "healthy": (checks.healthy, {}, {"texts": ["20 ok, 0 to fix"]}, "no PROBLEM"),
    "unhealthy": (checks.healthy, {}, {"texts": ["PROBLEM  x y\n1 to fix"]}, "!PROBLEM  x y"),
    "the doctor did not run": (checks.healthy, {}, {"texts": [""]}, "!the doctor has not ended"),
    "no payload": (checks.no_payload_left, {}, {"answers": [{}]}, "no object"),
    "a payload": (
        checks.no_payload_left,
        {},
        {"answers": [{"Contents": [{"Key": "a"}]}]},
        "!1 objects are left, one is a",
    ),
    "no token": (checks.no_token_logged, {}, {"answers": [{"events": []}]}, "no event"),
    "a token": (checks.no_token_logged, {}, {"answers": [{"events": [1]}]}, "!the function's log"),
    "denied": (checks.both_denied, {}, {"texts": ["AccessDenied", "AccessDenied"]}, "AccessDenied"),
    "allowed": (checks.both_denied, {}, {"texts": ["", "AccessDenied"]}, "!1 of 2 calls"),
    "newer": (checks.a_newer_version, {}, {"before": "6"}, "version 6, then version 7"),
    "not newer": (checks.a_newer_version, {}, {"before": "7"}, "!the alias is still at version 7"),
    "rolled back": (
        checks.the_same_version,
        rolled_back(3),
        {"before": {"version": "7", "rollbacks": 2}, "codes": [1]},
        f"{FAILED}, still version 7",
    ),
    "not rolled back": (
        checks.the_same_version,
        rolled_back(2) | {"cloudformation.describe_stacks": {"Stacks": [EXECUTION]}},
        {"before": {"version": "7", "rollbacks": 2}, "codes": [1]},
        "!the stack is UPDATE_COMPLETE, the version 7 and before 7",
    ),
    "only an old rollback": (
        checks.the_same_version,
        rolled_back(2),
        {"before": {"version": "7", "rollbacks": 2}, "codes": [1]},
        "!0 of 1 deploys were rolled back",
    ),
    "did not fail": (checks.the_same_version, {}, {"before": {}, "codes": [0]}, "!the deploy did"),
    "failed alike": (
        checks.failed_alike,
        rolled_back(4),
        {
            "before": {"version": "7", "rollbacks": 2},
            "codes": [1, 1],
            "texts": [f"x | {TOO_FEW}"] * 2,
        },
        f"{FAILED}, still version 7",
    ),
    "failed in the synthesis": (
        checks.failed_alike,
        rolled_back(2),
        {
            "before": {"version": "7", "rollbacks": 2},
            "codes": [1, 1],
            "texts": [TOO_FEW, "a relation refuses it"],
        },
        "!a deploy failed without ConcurrentExecution in its output",
    ),
    "failed once": (
        checks.failed_alike,
        rolled_back(3),
        {"before": {"version": "7", "rollbacks": 2}, "codes": [1, 1], "texts": [TOO_FEW] * 2},
        "!1 of 2 deploys were rolled back",
    ),
    "the version exists": (
        checks.failed_alike,
        {},
        {"before": {}, "codes": [1, 1], "texts": [TOO_FEW, VERSION_EXISTS]},
        f"!{VERSION_EXISTS}",
    ),
    "an image exists": (
        checks.failed_alike,
        rolled_back(4),
        {
            "before": {"version": "7", "rollbacks": 2},
            "codes": [1, 1],
            "texts": [f"the image already exists\n{TOO_FEW}"] * 2,
        },
        f"{FAILED}, still version 7",
    ),
    "a dashboard": (
        checks.a_dashboard,
        {},
        {"answers": [{"DashboardBody": '{"widgets": [{}, {}]}'}]},
        "2 widgets",
    ),
    "an empty dashboard": (
        checks.a_dashboard,
        {},
        {"answers": [{"DashboardBody": '{"widgets": []}'}]},
        "!the dashboard has no widget",
    ),
    "runs again": (
        checks.runs_again,
        {"lambda.get_function_concurrency": {}},
        {},
        "no reservation",
    ),
    "still paused": (
        checks.runs_again,
        {"lambda.get_function_concurrency": {"ReservedConcurrentExecutions": 0}},
        {},
        "!the reserved concurrency is 0, the stage's is None",
    ),
    "a dead letter": (
        checks.a_dead_letter,
        {"sqs.get_queue_attributes": {"Attributes": {"ApproximateNumberOfMessages": "2"}}},
        {"before": 1},
        "2 in the failures queue, 1 before",
    ),
    "only an old dead letter": (
        checks.a_dead_letter,
        {"sqs.get_queue_attributes": {"Attributes": {"ApproximateNumberOfMessages": "2"}}},
        {"before": 2},
        "!not within 3 minutes: one more message than 2 in the failures queue",
    ),
    "no dead letter": (
        checks.a_dead_letter,
        {"sqs.get_queue_attributes": {"Attributes": {"ApproximateNumberOfMessages": "0"}}},
        {"before": 0},
        "!not within 3 minutes: one more message than 0 in the failures queue",
    ),
    "the sleeper": (
        checks.stopped_in_time,
        {},
        {"answers": [{"prove_sleeper": ["success", 31]}, {"prove_sleeper": ["failed", 40]}]},
        "failed after 40 s",
    ),
    "the sleeper slept": (
        checks.stopped_in_time,
        {},
        {"answers": [{"prove_sleeper": ["success", 31]}, {"prove_sleeper": ["success", 601]}]},
        "!the sleeper ended as success after 601 s",
    ),
    "a deploy stopped a task": (
        checks.stopped_in_time,
        {},
        {"answers": [{"prove_sleeper": ["failed", 9]}, {"prove_sleeper": ["failed", 40]}]},
        "!the task during the deploy ended as failed",
    ),
    "the sleeper may sleep": (
        checks.ran_for_long,
        {},
        {"answers": [{"prove_sleeper": ["success", 1003]}]},
        "success after 1003 s",
    ),
    "the sleeper may not sleep": (
        checks.ran_for_long,
        {},
        {"answers": [{"prove_sleeper": ["failed", 885]}]},
        "!the sleeper ended as failed after 885 s",
    ),
    "a nap": (
        checks.ran_for_long,
        {},
        {"answers": [{"prove_sleeper": ["success", 30]}]},
        "!the sleeper ended as success after 30 s",
    ),
    "restored": (
        checks.restored,
        {**UP, **snapshot("On"), "logs.filter_log_events": {"events": [{"message": RESTORED}]}},
        {"answers": [{"Payload": PROBED}]},
        "restored in 452.81 ms, of which 200 ms are billed; Airflow 3.3.2",
    ),
    "no snapshot": (checks.restored, {**UP, **snapshot("Off")}, {}, "!the version 7 has no snap"),
    "not restored": (
        checks.restored,
        {**UP, **snapshot("On"), "logs.filter_log_events": {"events": []}},
        {},
        "!not within 5 minutes: a report of a restore in the log",
    ),
    "DAGs": (checks.ended(a="success"), {}, {"answers": [{"a": ["success", 1]}]}, "a: success"),
    "a DAG failed": (
        checks.ended(a="success"),
        {},
        {"answers": [{"a": ["failed", 1]}]},
        "!a: fail",
    ),
    "gone": (
        checks.gone,
        {
            "cloudformation.describe_stacks": {"Stacks": []},
            "resourcegroupstaggingapi.get_resources": {
                "ResourceTagMappingList": [
                    {"ResourceARN": "arn:aws:kms:eu-west-1:123456789012:key/0a"},
                    {"ResourceARN": "arn:aws:ecs:eu-west-1:123456789012:task-definition/a:1"},
                ]
            },
        },
        {},
        "no stack; AWS still lists 2 records of keys and of ECS",
    ),
    "a bucket is left": (
        checks.gone,
        {
            "cloudformation.describe_stacks": {"Stacks": []},
            "resourcegroupstaggingapi.get_resources": {
                "ResourceTagMappingList": [{"ResourceARN": "arn:aws:s3:::payloads"}]
            },
        },
        {},
        "no stack; AWS still lists 1 more, one is arn:aws:s3:::payloads",
    ),
    "a bucket is listed for a minute": (
        checks.gone,
        {
            "cloudformation.describe_stacks": {"Stacks": []},
            "resourcegroupstaggingapi.get_resources": listed_for_a_while(
                "arn:aws:s3:::payloads", "arn:aws:kms:eu-west-1:123456789012:key/0a"
            ),
        },
        {},
        "no stack; AWS still lists 1 records of keys and of ECS",
    ),
    "a stack is left": (checks.gone, {}, {}, "!still there: airflow-lambda-dev-execution"),
    "a proxy": (
        checks.a_proxy,
        {"rds.describe_db_proxies": {"DBProxies": []}},
        {},
        "!the status of the proxy is unknown: there is none",
    ),
    "a task stopped": (
        checks.stopped_not_pending,
        {
            "ecs.list_tasks": lambda **asked: {
                "taskArns": ["old", "new"] if asked["desiredStatus"] == "STOPPED" else []
            },
            "ecs.describe_tasks": lambda tasks, **_: {
                "tasks": [
                    {"lastStatus": "STOPPED", "containers": [{"exitCode": 1}]}
                    for _ in tasks
                    if tasks == ["new"]
                ]
            },
        },
        {"before": {"tasks": ["old"]}},
        "a task stopped: [1]",
    ),
    "a task is pending": (
        checks.stopped_not_pending,
        {
            "ecs.list_tasks": {"taskArns": ["new"]},
            "ecs.describe_tasks": {"tasks": [{"lastStatus": "PENDING", "containers": [{}]}]},
        },
        {"before": {"tasks": []}},
        "!not within 15 minutes: a task that stopped",
    ),
    "not public yet": (
        checks.scheme("internet-facing"),
        {
            "cloudformation.list_stack_resources": {
                "StackResourceSummaries": [
                    {
                        "ResourceType": "AWS::ElasticLoadBalancingV2::LoadBalancer",
                        "ResourceStatus": "UPDATE_COMPLETE",
                        "PhysicalResourceId": "arn",
                    }
                ]
            },
            "elbv2.describe_load_balancers": {"LoadBalancers": [{"Scheme": "internal"}]},
        },
        {},
        "!the load balancer is internal",
    ),
}


class Clock:
    """Time that passes only while somebody sleeps."""

    now_s = 0.0

    def monotonic(self) -> float:
        """The seconds so far."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


@pytest.mark.parametrize("case", CASES)
def test_a_check_judges_what_was_seen(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it saw, or what it saw instead."""
    check, answers, shown, says = CASES[case]
    monkeypatch.setattr(actions, "time", Clock())
    here, what = place(answers={**UP, **answers}), seen(tmp_path, **shown)
    if says.startswith("!"):
        with pytest.raises(NotSeenError) as refused:
            check(here, what)
        assert str(refused.value).startswith(says[1:])
    else:
        assert check(here, what).startswith(says)


# --- running ---


def step(name: str, *actions: Any, **more: Any) -> Step:
    """A step of these tests."""
    check = more.pop("check", lambda _, found: found.text.strip())
    return Step(name, name, "something", 1, lambda _: actions, check, **{"after": (), **more})


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Step]]:
    """Make a plan of other steps."""

    def make(*made: Step) -> list[Step]:
        for module in ("prove.running", "prove.report"):
            monkeypatch.setattr(f"{module}.STEPS", made)
        return list(made)

    return make


def ran(chosen: list[Step], here: Place, tmp_path: Path) -> dict[str, tuple[Outcome, str]]:
    """Run steps; return what became of each."""
    results = run(chosen, here, tmp_path, lambda _: None)
    return {result.step.name: (result.outcome, result.detail) for result in results}


def test_a_failure_leaves_out_only_what_depends_on_it(
    plan: Callable[..., list[Step]], tmp_path: Path
) -> None:
    """The others are done, and the command's last line says why it failed."""
    made = plan(
        step("first", Shell("echo before; echo why >&2; exit 3")),
        step("second", Shell("echo here"), after=("first",)),
        step("third", Shell("echo $FunctionName")),
        step("fourth", Shell("exit 1", may_fail=True), check=lambda _, found: str(found.codes)),
    )
    assert ran(made, place(), tmp_path) == {
        "first": (Outcome.FAILED, "the command ended with 3: why"),
        "second": (Outcome.LEFT_OUT, "first was not seen"),
        "third": (Outcome.SEEN, "airflow-lambda-dev"),
        "fourth": (Outcome.SEEN, "[1]"),
    }
    assert "before" in (tmp_path / "01-first.log").read_text()


def test_what_was_not_chosen_counts_as_done(
    plan: Callable[..., list[Step]], tmp_path: Path
) -> None:
    """`--only` and `--from` are for who knows that the earlier steps were done."""
    _, second = plan(step("first"), step("second", Shell("echo here"), after=("first",)))
    assert ran([second], place(), tmp_path) == {"second": (Outcome.SEEN, "here")}


def test_a_step_is_undone_whatever_was_seen(
    plan: Callable[..., list[Step]], tmp_path: Path
) -> None:
    """A paused function does not stay paused because the dead letter did not come."""
    undone = tmp_path / "undone"
    made = plan(
        step("pause", Shell("exit 1"), undo=lambda _, __: [Shell(f"touch {undone}")]),
        step("break", Shell("true"), undo=lambda _, __: [Shell("exit 1")]),
    )
    assert ran(made, place(), tmp_path)["break"] == (
        Outcome.FAILED,
        "and it could not be undone: the command ended with 1:",
    )
    assert undone.exists()


def test_what_has_not_begun_is_not_undone(plan: Callable[..., list[Step]], tmp_path: Path) -> None:
    """Without a stage there is nothing to restore."""
    undone = tmp_path / "undone"
    made = plan(
        step(
            "pause",
            Shell("true"),
            before=Place.version,
            undo=lambda _, __: [Shell(f"touch {undone}")],
        )
    )
    assert ran(made, place(answers={}), tmp_path)["pause"][0] is Outcome.FAILED
    assert not undone.exists()


def test_the_embedded_aws_shows_what_it_can(
    plan: Callable[..., list[Step]], tmp_path: Path
) -> None:
    """The others need an account, and say why."""
    made = plan(step("first", Shell("echo 1")), step("second", only_account="it has no Fargate"))
    assert ran(made, place(is_embedded=True), tmp_path) == {
        "first": (Outcome.SEEN, "1"),
        "second": (
            Outcome.NEEDS_AN_ACCOUNT,
            "in the embedded AWS, it has no Fargate",
        ),
    }


def test_an_account_that_is_prepared_stays_as_it_is() -> None:
    """Others use the stack of `cdk bootstrap`, too; only what is missing is made."""
    prepared = {"cloudformation.describe_stacks": {"Stacks": [toolkit("5")]}}
    bootstrap = named("bootstrap")
    assert list(bootstrap.actions(place(answers=prepared))) == []
    (made,) = bootstrap.actions(place())
    assert "cdk bootstrap" in made.command(place())
    (printed,) = bootstrap.actions(Place("dev", load(STAGES, "dev"), None))
    assert printed == made
    assert bootstrap.takes


def test_a_pause_counts_the_dead_letters_before() -> None:
    """A message of an earlier failure must not pass for one of the pause."""
    queue = {"sqs.get_queue_attributes": {"Attributes": {"ApproximateNumberOfMessages": "2"}}}
    assert named("pause").before(place(answers={**UP, **queue})) == 2


def test_the_rollbacks_before_are_counted() -> None:
    """A rollback of an earlier deploy must not pass for one of this deploy."""
    noted = named("missing-image").before(place(answers={**UP, **rolled_back(2)}))
    assert noted == {"version": "7", "rollbacks": 2}
    assert named("failure-after-version").before is named("missing-image").before


def test_the_old_password_comes_back_only_if_it_was_replaced(tmp_path: Path) -> None:
    """A failed change of the secret must not move it to an even older version."""
    secret = {"VersionIdsToStages": {"a": ["AWSPREVIOUS"], "b": ["AWSCURRENT"]}}
    with_database = stack("database", DatabaseSecretArn="arn:secret")
    answers = {
        "cloudformation.describe_stacks": {"Stacks": [with_database]},
        "secretsmanager.describe_secret": secret,
    }
    here = place(answers=answers)

    def moves(before: str) -> list[Any]:
        what = seen(tmp_path, before={"password": before})
        return [
            each for each in named("failed-migration").undo(here, what) if isinstance(each, Call)
        ]

    assert moves("b") == []
    (move,) = moves("a")
    assert (move.arguments["MoveToVersionId"], move.arguments["RemoveFromVersionId"]) == ("a", "b")


def test_the_alias_goes_to_the_version_before() -> None:
    """The newest version that is older than the live one; versions are sorted as numbers."""
    versions = [{"Version": version} for version in ("$LATEST", "6", "10", "9", "7")]
    answers = {**UP, "lambda.list_versions_by_function": {"Versions": versions}}
    assert steps._previous(place(answers=answers)) == "6"


def test_a_call_names_what_the_stage_made(tmp_path: Path) -> None:
    """Outputs are put in, and what a function returned is read."""
    body = io.BytesIO(b"[]")
    here = place(answers={**UP, "lambda.invoke": {"Payload": body}})
    what = seen(tmp_path)
    Call("lambda", "invoke", {"FunctionName": "$FunctionName", "Payload": "{}"}).run(here, what)
    assert what.answers == [{"Payload": b"[]"}]
    expected = {"FunctionName": "airflow-lambda-dev", "Payload": "{}"}
    assert here.session.calls[-1] == ("lambda.invoke", expected)


def test_a_token_is_found_on_a_later_page(tmp_path: Path) -> None:
    """CloudWatch Logs answers with empty pages while it searches; a token may be within a word."""
    logs = boto3.client(
        "logs", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    here = place()
    recorded = here.session.client
    here.session.client = lambda service: logs if service == "logs" else recorded(service)
    asked = {"logGroupName": "/aws/lambda/airflow-lambda-dev", "filterPattern": "%eyJ%"}
    token, what = named("token"), seen(tmp_path)
    with Stubber(logs) as stub:
        stub.add_response("filter_log_events", {"events": [], "nextToken": "a"}, asked)
        last = {"events": [{"message": "token=eyJhbGciOi"}]}
        stub.add_response("filter_log_events", last, {**asked, "nextToken": "a"})
        for action in token.actions(here):
            action.run(here, what)
    with pytest.raises(NotSeenError, match="begins like a token"):
        token.check(here, what)


def test_a_command_of_airflow_runs_in_a_terminal_of_a_scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ECS gives such a command a terminal only; the one that is found here is ours."""
    program = tmp_path / "aws"
    program.write_text('#!/bin/sh\ntest -t 0 && echo "$5 $6 $7 $8"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    containers = [{"name": "scheduler", "lastStatus": "RUNNING"}]
    answers = {
        **UP,
        "ecs.list_tasks": {"taskArns": ["arn"]},
        "ecs.describe_tasks": {"tasks": [{"taskArn": "arn", "containers": containers}]},
    }
    what = seen(tmp_path)
    InAirflow("airflow version").run(place(answers=answers), what)
    assert what.text == "--task arn --container scheduler\n"
    assert what.log.read_text() == what.text


Asked = list[tuple[str, str]]


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Asked]:
    """Let an Airflow answer with a run's states, one after the other; return what it is asked."""

    def make(states: list[str]) -> Asked:
        asked: Asked = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append((request.method, request.content.decode()))
            path = request.url.path
            if path == "/api/v2/dags":
                return httpx.Response(200, json={"dags": [{"dag_id": "a"}]})
            if request.method in ("PATCH", "POST"):
                return httpx.Response(200, json={"dag_run_id": "run"})
            assert path == "/api/v2/dags/a/dagRuns/run"
            dates = {"start_date": "2026-11-29T12:00:00Z", "end_date": "2026-11-29T12:00:31Z"}
            return httpx.Response(200, json={"state": states.pop(0), **dates})

        @contextmanager
        def tunnel(*_: object) -> Iterator[httpx.Client]:
            yield httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(answer))

        monkeypatch.setattr(airflow_api, "_tunnel", tunnel)
        monkeypatch.setattr(actions, "time", Clock())
        return asked

    return make


def test_dag_runs_are_started_and_waited_for(
    tmp_path: Path, airflow: Callable[[list[str]], Asked]
) -> None:
    """Each run has its `conf`; the answer has its state and its seconds."""
    asked = airflow(["running", "running", "failed", "failed"])
    what = seen(tmp_path)
    airflow_api.DagRuns({"a": {"seconds": 30}}, Shell("echo meanwhile")).run(place(), what)
    assert what.answers == [{"a": ["failed", 31.0]}]
    assert what.text == "meanwhile\n"
    (started,) = [body for method, body in asked if method == "POST"]
    assert json.loads(started)["conf"] == {"seconds": 30}


def test_a_run_that_ends_before_the_deploy_shows_nothing(
    tmp_path: Path, airflow: Callable[[list[str]], Asked]
) -> None:
    """Only a task that still runs after the deploy has survived it."""
    airflow(["success"] * 3)
    runs = airflow_api.DagRuns({"a": {}}, Shell("echo meanwhile"))
    with pytest.raises(NotSeenError, match="ended before what was done meanwhile"):
        runs.run(place(), seen(tmp_path))


def test_the_deploy_in_the_middle_changes_the_function() -> None:
    """The task that must survive it may run for long, and sleeps for longer than it takes."""
    before, survives, stopped = named("deadline").actions(place())
    assert before == deploy(steps._function(timeout_s=900))
    assert survives == airflow_api.DagRuns(
        {"prove_sleeper": {"seconds": 600}}, deploy(steps._function(timeout_s=60))
    )
    assert stopped == airflow_api.DagRuns({"prove_sleeper": {"seconds": 600}})


# --- the command line ---


def test_every_step_that_deploys_says_what_it_takes() -> None:
    """Each deploy brings the plan's own DAG files, whatever it is for."""
    here = Place("dev", load(STAGES, "dev"), None)
    silent = [
        step.name
        for step in STEPS
        if any(isinstance(action, Deploy) for action in step.all_actions(here)) and not step.takes
    ]
    assert silent == []


def test_a_deploy_brings_its_dag_files() -> None:
    """`--only` one step works on a fresh checkout, too."""
    command = deploy().command(place())
    assert command.startswith(
        "mkdir -p build/prove/dags && cp dags/*.py prove/dags/*.py build/prove/dags && "
        "node_modules/.bin/cdk deploy --all "
    )
    assert '"dags": "build/prove/dags"' in command


def test_the_plan_runs_every_dag_that_the_image_has_by_default() -> None:
    """A DAG that needs targets of its own is not for every stage, and belongs elsewhere."""
    assert {file.stem for file in (ROOT / "dags").glob("*.py")} == set(steps.ENDS)


def test_a_stage_that_stays_is_named_with_the_way_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last lines say how to end it, and how to give it its own configuration again."""
    monkeypatch.setattr(command_line, "FOLDER", tmp_path)
    assert command_line._prove(place(), [], []) == 0
    *_, costs, back = capsys.readouterr().out.splitlines()
    assert costs.endswith("make destroy STAGE=dev")
    assert back.endswith(": node_modules/.bin/cdk deploy --all -c stage=dev")


def test_a_stage_that_keeps_its_data_is_refused() -> None:
    """The plan breaks things on purpose."""
    with pytest.raises(SystemExit, match=r'removal "retain".*give --allow-retain'):
        command_line.main(["prod", "--yes"])


def test_the_question_names_what_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the stage's name confirms it."""
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return "yes"

    monkeypatch.setattr("builtins.input", answer)
    with pytest.raises(SystemExit, match=r"Nothing was done\."):
        command_line._ask(place(), STEPS)
    assert "pause: every task that starts in these minutes" in asked[0]
    assert "destroy: the stage, with its database" in asked[0]
    assert capsys.readouterr().out == ""


def test_the_table_fits_a_terminal(plan: Callable[..., list[Step]], tmp_path: Path) -> None:
    """Its lines have at most 80 columns, and its last line counts the results."""
    made = plan(
        step("failure-after-version", Shell("exit 1")), step("x", Shell("echo " + "y " * 90))
    )
    results = list(run(made, place(), tmp_path, lambda _: None))
    lines = list(report.table(results))
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "1 seen, 1 FAILED"
    file = tmp_path / "results.json"
    report.write_json(file, place(), [], results)
    assert [found["outcome"] for found in json.loads(file.read_text())["steps"]] == [
        "FAILED",
        "seen",
    ]
