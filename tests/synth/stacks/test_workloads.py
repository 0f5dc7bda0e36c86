"""What a stage gives its workloads: refused values, and what the templates make of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import aws_cdk as cdk
import pytest

from airflow_lambda_constructs.execution import variables_size
from lambda_executor.contract.options import WORKLOAD_SECRETS
from lambda_executor.contract.secret_reference import read_references
from stacks.config.loading import StageConfigError, load
from stacks.config.relations.workloads import _OF_FUNCTIONS, _OF_THE_CONTROL_PLANE
from tests.synth.assembly import Assembly, Resource
from tests.synth.policies import listed
from tests.synth.variants import CONTEXT, PERMISSIONS, ROOT

STAGES = {
    "dev": {
        "removal": "destroy",
        "execution": {"execution_api_url": "https://airflow.test/execution/"},
    }
}
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf"
PAGE = ROOT / "docs/howto/task-permissions.md"
BUCKET = "arn:aws:s3:::orders"


def statement(**changes: object) -> dict[str, object]:
    """A statement that is allowed, with these changes."""
    return {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{BUCKET}/*", **changes}


def refusal(**workloads: object) -> str:
    """What a person is told about the section."""
    with pytest.raises(StageConfigError) as refused:
        load(STAGES, "dev", {"workloads": workloads})
    return str(refused.value)


@pytest.mark.parametrize(
    "action", ["*", "*:*", "s3:*", "s3:**", "s*:GetObject", "s3:?*", "s3:*e*", "s3:?e*"]
)
def test_every_action_of_a_service_is_refused(action: str) -> None:
    """An Allow names a service and one end of an action; the message says what to write."""
    message = refusal(statements=[statement(Action=["s3:GetObject", action])])
    assert f"it allows {action}, which is more than a task needs" in message
    assert "s3:Get* and s3:List*" in message


@pytest.mark.parametrize("action", ["s3:Get*", "s3:*Object", "s3:GetObject"])
def test_families_of_actions_are_allowed(action: str) -> None:
    """The beginning or the end of an action's name is enough."""
    config = load(STAGES, "dev", {"workloads": {"statements": [statement(Action=action)]}})
    assert config.workloads.statements[0].as_json()["Action"] == [action]


def test_a_denial_may_name_everything() -> None:
    """A Deny only narrows what a role may do."""
    load(STAGES, "dev", {"workloads": {"statements": [statement(Effect="Deny", Action="*")]}})


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (statement(NotAction="s3:Get*"), "it has NotAction; it allows every action but a few"),
        (statement(Principal="*"), "it has Principal; a role's policy has no principal"),
        (statement(NotResource="*"), "it has NotResource; it covers every resource but a few"),
        (statement(action="s3:Get*"), "unknown key workloads.statements[0].action"),
        ({"Effect": "Allow", "Action": "s3:Get*"}, "workloads.statements[0].Resource is missing"),
        (statement(Effect="allow"), 'Effect is "allow", allowed is one of "Allow", "Deny"'),
        (statement(Action="GetObject"), "allowed is an action of IAM with its service (such as"),
    ],
)
def test_a_statement_that_no_role_takes_is_refused(
    statements: dict[str, object], expected: str
) -> None:
    """The message has the key, the value and what is allowed."""
    assert expected in refusal(statements=[statements])


@pytest.mark.parametrize("reference", [SECRET[:-7], "orders", f"{SECRET}:key", f"{SECRET}:::"])
def test_a_secret_is_named_by_its_complete_arn(reference: str) -> None:
    """The message says what a complete ARN is, with an example."""
    message = refusal(secrets={"PASSWORD": reference})
    assert f'workloads.secrets.PASSWORD is "{reference}"' in message
    assert "the complete ARN of a secret, with the six characters at its end" in message


def test_a_functions_own_variable_wins() -> None:
    """A function gets what all have and more, and its own value of a variable."""
    secret = f"{SECRET}:password::"
    config = load(
        STAGES,
        "dev",
        {
            "workloads": {"environment": {"A1": "all", "B1": "all"}, "secrets": {"KEY": SECRET}},
            "functions": [
                {
                    "name": "default",
                    "environment": {"B1": "own"},
                    "secrets": {"KEY": secret},
                    "statements": [statement()],
                }
            ],
        },
    )
    given = config.workloads_of(config.default_function)
    assert given.environment == {"A1": "all", "B1": "own"}
    assert given.secrets == {"KEY": secret}
    assert [each.as_json()["Resource"] for each in given.statements] == [[f"{BUCKET}/*"]]


@pytest.fixture
def permitted(assembly_of: Callable[[str], Assembly]) -> Assembly:
    """The variant whose owner gives its workloads and programs all that there is."""
    return assembly_of("permitted")


def statements_of(assembly: Assembly, role: Resource) -> Iterator[dict[str, Any]]:
    """The statements of a role's inline policies."""
    for policy in assembly.resources("AWS::IAM::Policy"):
        if policy.part == role.part and {"Ref": role.logical_id} in policy.properties["Roles"]:
            yield from policy.properties["PolicyDocument"]["Statement"]


def secrets_read_by(assembly: Assembly, role: Resource) -> set[str]:
    """The secrets that a role may read, of those that the stage's owner named."""
    return {
        resource
        for statement in statements_of(assembly, role)
        if "secretsmanager:GetSecretValue" in listed(statement["Action"])
        for resource in listed(statement["Resource"])
        if isinstance(resource, str)
    }


def test_a_function_reads_exactly_its_secrets(permitted: Assembly) -> None:
    """Its variable has the ARNs and no value; its role may read these secrets and no others."""
    large = f"{SECRET[:-7]}-large-123456"
    for name, secrets in (("Workload", {SECRET}), ("WorkloadLarge", {SECRET, large})):
        function = permitted.only("AWS::Lambda::Function", f"{name}Function")
        variables = function.properties["Environment"]["Variables"]
        references = json.loads(variables[WORKLOAD_SECRETS.environment_variable])
        assert references["ORDERS_PASSWORD"] == f"{SECRET}:password::"
        role = permitted.only("AWS::IAM::Role", f"{name}Role")
        assert secrets_read_by(permitted, role) == secrets


def test_a_function_gets_policies_and_statements(permitted: Assembly) -> None:
    """Those for every function and its own are in its role, as they were written."""
    role = permitted.only("AWS::IAM::Role", "WorkloadLargeRole")
    assert role.properties["ManagedPolicyArns"] == [
        "arn:aws:iam::aws:policy/AmazonAthenaFullAccess",
        "arn:aws:iam::123456789012:policy/team/large",
    ]
    found = list(statements_of(permitted, role))
    assert PERMISSIONS["statements"][0] in found
    assert {"Effect": "Deny", "Action": "*", "Resource": "arn:aws:s3:::secret/*"} in found


def test_outputs_name_the_roles(permitted: Assembly) -> None:
    """Bucket policies of other accounts need the roles of the functions."""
    outputs = permitted.json("execution")["Outputs"]
    assert {
        key: value["Value"]["Fn::GetAtt"][0] for key, value in outputs.items() if "Role" in key
    } == {
        "FunctionRoleArn": permitted.only("AWS::IAM::Role", "WorkloadRole").logical_id,
        "FunctionRoleArnLarge": permitted.only("AWS::IAM::Role", "WorkloadLargeRole").logical_id,
    }


def test_airflows_programs_get_all_four(permitted: Assembly) -> None:
    """Each program has the variable, ECS's reference to the secret, the policy and the statement.

    ECS itself reads the secret, with a role that the program does not have.
    """
    for task in permitted.resources("AWS::ECS::TaskDefinition"):
        for container in task.properties["ContainerDefinitions"]:
            assert {"Name": "ORDERS_BUCKET", "Value": "orders"} in container["Environment"]
            given = {each["Name"]: each["ValueFrom"] for each in container["Secrets"]}
            assert given["AIRFLOW_CONN_ORDERS"] == SECRET
            assert given["ORDERS_PASSWORD"] == f"{SECRET}:password::"
        roles = {r.logical_id: r for r in permitted.resources("AWS::IAM::Role")}
        own = roles[task.properties["TaskRoleArn"]["Fn::GetAtt"][0]]
        starting = roles[task.properties["ExecutionRoleArn"]["Fn::GetAtt"][0]]
        assert PERMISSIONS["policies"][0] in own.properties["ManagedPolicyArns"]
        assert PERMISSIONS["statements"][0] in list(statements_of(permitted, own))
        assert secrets_read_by(permitted, own) == set()
        assert secrets_read_by(permitted, starting) == {SECRET}


def test_functions_reach_secrets_manager(permitted: Assembly) -> None:
    """A VPC without a way to the Internet has an endpoint for it."""
    services = [
        json.dumps(endpoint.properties["ServiceName"])
        for endpoint in permitted.resources("AWS::EC2::VPCEndpoint")
    ]
    assert [name for name in services if "secretsmanager" in name]


@pytest.mark.parametrize("variant", ["dev", "much", "endpoints", "permitted"])
def test_every_variable_of_the_stacks_is_taken(
    variant: str, assembly_of: Callable[[str], Assembly]
) -> None:
    """A stage cannot set what the stacks set: each of their variables is in the table."""
    assembly = assembly_of(variant)
    owners = {name for key in ("environment", "secrets") for name in PERMISSIONS[key]}
    for function in assembly.resources("AWS::Lambda::Function"):
        given = function.properties["Environment"]["Variables"].keys()
        assert given - owners <= _OF_FUNCTIONS.keys()
    for task in assembly.resources("AWS::ECS::TaskDefinition"):
        for container in task.properties["ContainerDefinitions"]:
            named = {each["Name"] for each in container["Environment"]}
            assert (
                named
                - owners
                - {"AWS_DEFAULT_REGION"}
                - {name for name in named if name.startswith("AIRFLOW_LAMBDA_")}
                <= _OF_THE_CONTROL_PLANE.keys()
            )


def errors_about(variables: dict[str, str]) -> list[str]:
    """What the synthesis says about a function's variables."""
    stack = cdk.Stack(cdk.App(), "stack")
    variables_size.check_variables(stack, variables)
    return [str(entry.data) for entry in stack.node.metadata if entry.type == "aws:cdk:error"]


def test_four_kilobytes_of_variables_are_allowed() -> None:
    """Exactly Lambda's limit is allowed, and a byte more is an error that names the largest."""
    rest = len('{"LONG":"","SHORT":"x"}')
    most = "x" * (variables_size.MOST_BYTES - rest)
    assert errors_about({"LONG": most, "SHORT": "x"}) == []
    (error,) = errors_about({"LONG": f"{most}x", "SHORT": "x"})
    assert "the function's variables are 4097 bytes" in error
    assert f"LONG ({len(most) + len('x') + len('LONG') + 4}), SHORT (" in error


def test_what_is_known_at_deploy_counts_as_its_longest() -> None:
    """A reference counts with a stated upper bound, also within a text."""
    unknown = [f"https://{cdk.Aws.URL_SUFFIX}/{number}" for number in range(30)]
    (error,) = errors_about({f"URL_{number}": url for number, url in enumerate(unknown)})
    assert f"count {variables_size.UNKNOWN_BYTES} bytes each" in error


def snippets(language: str) -> list[str]:
    """The page's examples in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_pages_examples_are_valid() -> None:
    """A stage takes each JSON example, the handler takes that of a function of one's own."""
    *stages, own = map(json.loads, snippets("json"))
    assert len(stages) == 4
    for override in stages:
        load(CONTEXT["stages"], "dev", override)
    option = {WORKLOAD_SECRETS.environment_variable: json.dumps(own)}
    assert read_references(option).keys() == own.keys()
    (dag,) = snippets("python")
    compile(dag, PAGE.name, "exec")
