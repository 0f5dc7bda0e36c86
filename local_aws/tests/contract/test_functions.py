"""Functions on the embedded AWS: pinned images, provisioned concurrency, tenants, scaling."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.local_aws import Function, Server, eventually


def environment_of(answer: dict[str, Any]) -> dict[str, str]:
    """The handler's environment variables."""
    found: dict[str, str] = answer["Payload"]["environment"]
    return found


def test_a_function_keeps_the_image_of_its_tag(local_aws: Server) -> None:
    """A moved tag has no effect until the code is updated, not even on a cold start."""
    tag = uuid.uuid4().hex
    uri = local_aws.image("local_aws_handlers.handle", tag=tag)
    function = local_aws.function(Code={"ImageUri": uri})
    local_aws.image("no_such_module.handle", tag=tag)
    code = function.client.get_function(FunctionName=function.name)["Code"]
    assert (code["ImageUri"], "@sha256:" in code["ResolvedImageUri"]) == (uri, True)
    version = function.client.publish_version(FunctionName=function.name)["Version"]
    function.client.update_function_configuration(FunctionName=function.name, Timeout=9)
    assert function.invoke()["Payload"]["invocations"] == 1
    function.client.update_function_code(FunctionName=function.name, ImageUri=uri)
    assert function.invoke()["FunctionError"] == "Unhandled"
    assert function.invoke(Qualifier=version)["Payload"]["invocations"] == 1


def test_a_stacks_function_keeps_the_image_of_its_tag(local_aws: Server) -> None:
    """Functions made by CloudFormation resolve their tag at creation, too."""
    tag = uuid.uuid4().hex
    role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {}}}
    properties = {
        "PackageType": "Image",
        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
        "Code": {"ImageUri": local_aws.image("local_aws_handlers.handle", tag=tag)},
    }
    stack = local_aws.deploy(
        {
            "Resources": {
                "Role": role,
                "Function": {"Type": "AWS::Lambda::Function", "Properties": properties},
            },
            "Outputs": {"Name": {"Value": {"Ref": "Function"}}},
        }
    )
    name = stack.output("Name")
    local_aws.image("no_such_module.handle", tag=tag)
    assert Function(local_aws, name).invoke()["Payload"]["invocations"] == 1


def test_provisioned_environments_are_ready_before_an_invocation(local_aws: Server) -> None:
    """The provisioned environments have passed their init phase, for that alias alone."""
    function = local_aws.function()
    name = {"FunctionName": function.name}
    version = function.client.publish_version(**name)["Version"]
    function.client.create_alias(**name, Name="live", FunctionVersion=version)
    function.client.put_provisioned_concurrency_config(
        **name, Qualifier="live", ProvisionedConcurrentExecutions=2
    )
    eventually(lambda: function.states() == ["T", "T"] or None)
    answer = function.invoke(Qualifier="live")
    kind = "AWS_LAMBDA_INITIALIZATION_TYPE"
    assert environment_of(answer)[kind] == "provisioned-concurrency"
    assert environment_of(function.invoke())[kind] == "on-demand"
    assert len(function.processes()) == 3


def test_tenants_share_no_environment(local_aws: Server) -> None:
    """A function that isolates its tenants has separate warm environments for each."""
    function = local_aws.function(TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
    a, b, again = (function.invoke(TenantId=tenant) for tenant in ("a", "b", "a"))
    assert [answer["Payload"]["tenant_id"] for answer in (a, b, again)] == ["a", "b", "a"]
    assert [answer["Payload"]["invocations"] for answer in (a, b, again)] == [1, 1, 2]


def test_an_async_invocation_has_its_tenant(local_aws: Server, tmp_path: Path) -> None:
    """The event queue keeps an event's tenant."""
    function = local_aws.function(TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
    done = tmp_path / "done"
    function.invoke_async({"record": str(done)}, TenantId="a")
    eventually(lambda: done.exists() or None)
    # Once it is idle again, the environment of that tenant is warm.
    again = eventually(lambda: function.invoke(TenantId="a")["Payload"]["invocations"] > 1 or None)
    assert again


@pytest.mark.parametrize(
    ("settings", "tenant"),
    [({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, {}), ({}, {"TenantId": "a"})],
)
def test_a_tenant_is_named_where_they_are_isolated(
    local_aws: Server, settings: dict[str, Any], tenant: dict[str, str]
) -> None:
    """A missing tenant id, and one that the function does not use, are errors of the caller."""
    function = local_aws.function(**settings)
    with pytest.raises(ClientError) as caught:
        function.invoke(**tenant)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"


def test_a_function_grows_no_faster_than_its_rate(strict_aws: Server, tmp_path: Path) -> None:
    """Beyond the scaling rate no environment is added, but warm ones still serve."""
    function, gate = strict_aws.function(), tmp_path / "gate"
    with ThreadPoolExecutor() as threads:
        running = [function.gated(threads, gate) for _ in range(2)]
        with pytest.raises(function.client.exceptions.TooManyRequestsException) as caught:
            function.invoke()
        gate.touch()
        assert [answer.result()["StatusCode"] for answer in running] == [200, 200]
    assert caught.value.response["Reason"] == "FunctionInvocationRateLimitExceeded"
    assert function.invoke()["Payload"]["invocations"] == 2


def test_duplicates_come_on_demand(strict_aws: Server, tmp_path: Path) -> None:
    """Every third event of a function is delivered twice under its one request id."""
    function, record = strict_aws.function(), tmp_path / "record"
    function.reserve(1)
    sent = [function.invoke_async({"record": str(record)}) for _ in range(3)]

    def delivered() -> list[str] | None:
        lines = record.read_text().splitlines() if record.exists() else []
        ids = [json.loads(line)["request_id"] for line in lines]
        return ids if len(ids) == 4 else None

    assert eventually(delivered) == [*sent, sent[-1]]
