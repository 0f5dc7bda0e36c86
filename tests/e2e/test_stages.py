"""The real stages can be deployed to the embedded AWS and destroyed."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator, Mapping
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
from tests.support.http_server import http_server

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
        assert fill_buckets(aws, stage)
        destroy_as_a_person_does(account, stage)
    else:  # In cdk.json its removal is "retain", which `make destroy` refuses.
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
