"""The real stages can be deployed to the embedded AWS and destroyed."""

from __future__ import annotations

import base64
import json
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from demo import paths
from demo.installation import leftovers
from demo.installation.cdk_cli import DESTROY_TIMEOUT_S, SYNTH_TIMEOUT_S, Cdk
from demo.installation.environment import REGION, sole_use
from demo.machine import embedded_aws
from demo.machine.embedded_aws import ACCOUNT, EmbeddedAws, bare_environment
from demo.machine.processes import Children, ProcessError, Program
from lambda_executor.contract import probe
from lambda_executor.contract.wire import WORKLOAD_COMMAND, Invocation, InvocationId
from tests.e2e import runbook
from tests.support.aws_cli import aws_cli
from tests.support.http_server import http_server
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(600)

HOME = paths.Home(paths.ROOT / "build" / "stages")

#: What is deployed otherwise than in cdk.json. For its price alone `dev` has no snapshots; and
#: `retain` keeps what holds data and protects the stacks: what is proved here is that they can go.
OVERRIDES: Mapping[str, Mapping[str, Any]] = {
    "dev": {"functions": [{"name": "default", "snap_start": True}]},
    "prod": {"removal": "destroy", "database": {"deletion_protection": False}},
}

NO_IMAGE = "sha256:" + "0" * 64
#: A stage that keeps its data, of an image that nobody has pushed; no more than this stack.
MISSING_IMAGE = {
    "removal": "retain",
    "database": {"enabled": False},
    "image": {"uri": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/missing@{NO_IMAGE}"},
}
FAILING_STACK = "airflow-lambda-local-execution"

#: The section of the runbook about an alarm that only a stage with a load balancer has.
OF_A_LOAD_BALANCER = "api-server-unhealthy"

#: For how long a line of a log is waited for.
LOGGED_S = 60.0

#: CloudFormation's name of a service, where boto3 has another.
BOTO3_NAMES = {"elasticloadbalancingv2": "elbv2"}


@dataclass(frozen=True)
class Account:
    """The embedded AWS and its child processes."""

    aws: EmbeddedAws
    children: Children


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """One account for all stages."""
    with sole_use(HOME):
        HOME.make_empty()
        children = Children(HOME.logs, outlive_us=False)
        try:
            aws = embedded_aws.start(children, HOME, REGION)
            yield Account(aws, children)
        finally:
            children.end_all()


def services(home: paths.Home, stage: str) -> set[str]:
    """The services of all resources in a stage's templates, by boto3's names."""
    templates: list[dict[str, Any]] = [
        json.loads(file.read_text())
        for file in home.assembly.glob(f"airflow-lambda-{stage}-*.template.json")
    ]
    types = {found["Type"] for template in templates for found in template["Resources"].values()}
    names = {type_.split("::")[1].lower() for type_ in types if type_.startswith("AWS::")} - {"cdk"}
    return {BOTO3_NAMES.get(name, name) for name in names}


def fill_buckets(aws: EmbeddedAws, stage: str) -> list[str]:
    """Put two versions of an object into every bucket of a stage; return the buckets."""
    s3 = aws.client("s3")
    buckets = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    filled = [name for name in buckets if name.startswith(f"airflow-lambda-{stage}-")]
    for name in filled:
        for body in (b"old", b"new"):
            s3.put_object(Bucket=name, Key="something", Body=body)
    return filled


def call_execution_api_as_the_function_does(aws: EmbeddedAws) -> None:
    """Through the API Gateway to what ECS would have registered; nothing else is reached."""
    paths_seen: list[str] = []

    class ApiServer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths_seen.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    function = aws.client("lambda").get_function_configuration(FunctionName="airflow-lambda-dev")
    url = function["Environment"]["Variables"]["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
    cloud_map = aws.client("servicediscovery")
    (service,) = cloud_map.list_services()["Services"]
    trust = ssl.create_default_context(cafile=str(aws.trust))
    with (
        http_server(ApiServer) as port,
        httpx.Client(verify=trust, trust_env=False) as client,
    ):
        instance = {"AWS_INSTANCE_IPV4": "127.0.0.1", "AWS_INSTANCE_PORT": str(port)}
        target = {"ServiceId": service["Id"], "InstanceId": "api-server"}
        cloud_map.register_instance(**target, Attributes=instance)
        try:
            assert client.get(f"{url}health").status_code == 200
            for path in ("", "api/v2/dags", "auth/token"):
                assert client.get(url.removesuffix("execution/") + path).status_code == 404
        finally:
            cloud_map.deregister_instance(**target)
    assert paths_seen == ["/execution/health"]


def start_from_the_snapshot(aws: EmbeddedAws, outputs: Mapping[str, str]) -> None:
    """The handler of the deployed image answers a probe in an environment from a snapshot."""
    version = {"FunctionName": outputs["FunctionName"], "Qualifier": outputs["FunctionAlias"]}
    client = aws.client("lambda")
    found = client.get_function_configuration(**version)
    assert (found["State"], found["SnapStart"]["OptimizationStatus"]) == ("Active", "On")
    answer = client.invoke(**version, Payload=probe.event(), LogType="Tail")
    assert probe.ProbeAnswer.decode(answer["Payload"].read()).airflow
    assert "Restore Duration" in base64.b64decode(answer["LogResult"]).decode()


def until_logged(aws: EmbeddedAws, group: str, pattern: str) -> str:
    """The first line of a log that fits a filter pattern, once there is one."""

    def line() -> str | None:
        found = aws.client("logs").filter_log_events(logGroupName=group, filterPattern=pattern)
        return next((event["message"] for event in found["events"]), None)

    return until(line, f"a line with {pattern}", LOGGED_S)


def set_off_the_alarms(aws: EmbeddedAws, outputs: Mapping[str, str]) -> None:
    """What the runbook's sections are about, as far as this AWS can have it.

    No workload can start here, so the line of one that was stopped is that of a rejected one with
    another outcome. The database is well: nothing slows it down.
    """
    function, group = outputs["FunctionName"], outputs["LogGroupName"]
    client, logs, ecs = aws.client("lambda"), aws.client("logs"), aws.client("ecs")
    for reply_to in (outputs["ResultsQueueUrl"], f"{outputs['ResultsQueueUrl']}-gone"):
        late = Invocation(
            InvocationId(str(uuid.uuid4())),
            (*WORKLOAD_COMMAND, "{}"),
            reply_to=reply_to,
            not_after_s=time.time() - 60,
        )
        version = {"FunctionName": function, "Qualifier": outputs["FunctionAlias"]}
        client.invoke(**version, InvocationType="Event", Payload=late.encode())
    until_logged(aws, group, "{ $.reported = false }")
    rejected = until_logged(aws, group, "{ $.reported = true }")
    reason = "stopped 20.0 s before the end of the function's time-out, which left 300.0 s for it"
    names = {"dag_id": "etl", "task_id": "load", "run_id": "scheduled__2026-12-01"}
    stopped = json.loads(rejected) | names | {"outcome": "deadline", "reason": reason}
    logs.create_log_stream(logGroupName=group, logStreamName="stopped")
    event = {"timestamp": int(time.time() * 1000), "message": json.dumps(stopped)}
    logs.put_log_events(logGroupName=group, logStreamName="stopped", logEvents=[event])
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=1)
    (service,) = ecs.list_services(cluster=function)["serviceArns"]
    ecs.update_service(cluster=function, service=service, desiredCount=0)


def try_the_runbook(account: Account, outputs: Mapping[str, str]) -> None:
    """Its commands print what it says, on a stage without a scheduler whose alarms went off."""
    set_off_the_alarms(account.aws, outputs)
    environment = of_an_operator(account, outputs)
    migrate = Program(
        name="migrate",
        argv=[paths.AIRFLOW, "db", "migrate"],
        environment=environment,
        cwd=paths.ROOT,
    )
    account.children.run(migrate, DESTROY_TIMEOUT_S)
    (service,) = account.aws.client("ecs").list_services(cluster=outputs["FunctionName"])[
        "serviceArns"
    ]
    sections = runbook.steps()
    del sections[OF_A_LOAD_BALANCER]
    assert differences(sections, {"service": service, **outputs}, environment) == {}


def try_the_runbook_of_a_load_balancer(account: Account, outputs: Mapping[str, str]) -> None:
    """Its commands find the API server, which `dev` has behind none."""
    balancers = account.aws.client("elbv2")
    (found,) = balancers.describe_target_groups()["TargetGroups"]
    group = found["TargetGroupArn"]
    balancers.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.1.5"}])
    sections = {OF_A_LOAD_BALANCER: runbook.steps()[OF_A_LOAD_BALANCER]}
    environment = of_an_operator(account, outputs)
    assert sections[OF_A_LOAD_BALANCER]
    assert differences(sections, {"target group": group}, environment) == {}


def of_an_operator(account: Account, outputs: Mapping[str, str]) -> dict[str, str]:
    """The variables of a shell with the AWS CLI and Airflow's."""
    home = HOME.path / "operator"
    environment = (
        bare_environment()
        | account.aws.environment()
        | {
            "HOME": str(home),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__EXECUTOR": "lambda_executor.LambdaExecutor",
        }
        | dict([outputs["ConfigLine"].split("=")])
    )
    bin_ = paths.PYTHON.parent
    environment["PATH"] = f"{aws_cli()}:{bin_}:{environment['PATH']}"
    return environment


def differences(
    sections: Mapping[str, Sequence[runbook.Step]],
    values: Mapping[str, str],
    environment: Mapping[str, str],
) -> dict[str, str]:
    """What the commands of some sections print otherwise than the page says."""
    return {
        f"{section}: {step.commands}": said
        for section, some in sections.items()
        for step in some
        if (said := runbook.difference(step, values, environment))
    }


def destroy_as_a_person_does(account: Account, stage: str) -> None:
    """`make destroy`."""
    program = Program(
        name="destroy",
        argv=[paths.PYTHON, paths.ROOT / "destroy.py", stage, "--yes"],
        environment=bare_environment() | account.aws.environment(),
        cwd=paths.ROOT,
    )
    account.children.run(program, DESTROY_TIMEOUT_S)


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_a_stage_is_deployed_twice_and_destroyed(account: Account, stage: str) -> None:
    """A stage is deployed, deployed again without changes, and destroyed without leftovers."""
    aws, cdk = account.aws, Cdk(account.children, HOME, stage)
    account.children.finish(cdk.start_synth(OVERRIDES[stage]), SYNTH_TIMEOUT_S)
    cdk.bootstrap(aws, lambda _line: None)
    before = leftovers.inventory(aws)
    outputs = cdk.deploy(aws, lambda _line: None)
    assert outputs["ConfigParameterName"] == f"/airflow-lambda/{stage}/executor"
    if "EnvFileCommand" in outputs:
        env_file = aws.client("ssm").get_parameter(Name=f"/airflow-lambda/{stage}/env")
        assert outputs["ConfigLine"] in env_file["Parameter"]["Value"].splitlines()
    up = leftovers.left(before, leftovers.inventory(aws))
    assert services(HOME, stage) - {resource.service for resource in up} == set()

    log = HOME.logs / "cdk-deploy.log"
    said = len(log.read_text())
    assert cdk.deploy(aws, lambda _line: None) == outputs
    stacks = [resource.id for resource in up if resource.kind == "Stacks"]
    assert log.read_text()[said:].count("(no changes)") == len(stacks)

    start_from_the_snapshot(aws, outputs)
    if stage == "dev":
        call_execution_api_as_the_function_does(aws)
        try_the_runbook(account, outputs)
        assert fill_buckets(aws, stage)
        destroy_as_a_person_does(account, stage)
    else:
        try_the_runbook_of_a_load_balancer(account, outputs)
        # In cdk.json its removal is "retain", which `make destroy` refuses.
        cdk.destroy(aws, lambda _line: None)
    assert leftovers.left(before, leftovers.inventory(aws)) == []


def test_a_first_deploy_that_fails_leaves_nothing(account: Account) -> None:
    """A failed first deploy leaves no resource: docs/howto/first-deploy-failed.md.

    The failed stack can be deployed again, and destroyed.
    """
    aws, cdk, stack = account.aws, Cdk(account.children, HOME, "local"), FAILING_STACK
    account.children.finish(cdk.start_synth(MISSING_IMAGE), SYNTH_TIMEOUT_S)
    cdk.bootstrap(aws, lambda _line: None)
    before = leftovers.inventory(aws)
    formation = aws.client("cloudformation")
    for _ in range(2):
        with pytest.raises(ProcessError, match=NO_IMAGE):
            cdk.deploy(aws, lambda _line: None)
        left = leftovers.left(before, leftovers.inventory(aws))
        assert [(resource.kind, resource.id) for resource in left] == [("Stacks", stack)]
        found = formation.describe_stacks(StackName=stack)["Stacks"][0]
        assert found["StackStatus"] == "ROLLBACK_COMPLETE"
        assert found["EnableTerminationProtection"]
        formation.update_termination_protection(StackName=stack, EnableTerminationProtection=False)

    destroy_as_a_person_does(account, "local")
    assert leftovers.left(before, leftovers.inventory(aws)) == []
