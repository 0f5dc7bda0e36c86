"""The promises of docs/reference/threat-model.md, checked in every template."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lambda_executor.contract.options import WORKLOAD_SECRETS
from tests.synth.assembly import Assembly, Resource


def actions_of_roles(assembly: Assembly) -> Iterator[tuple[str, set[str]]]:
    """Every role and managed policy of the stage, with the actions that it allows."""
    for role in assembly.resources("AWS::IAM::Role"):
        policies = [
            policy
            for policy in assembly.resources("AWS::IAM::Policy")
            if policy.part == role.part and {"Ref": role.logical_id} in policy.properties["Roles"]
        ]
        yield str(role), {action for policy in policies for action in allowed(policy)}
    for policy in assembly.resources("AWS::IAM::ManagedPolicy"):
        yield str(policy), set(allowed(policy))


def allowed(policy: Resource) -> Iterator[str]:
    """The actions that a policy allows on anything."""
    for statement in policy.properties["PolicyDocument"]["Statement"]:
        if statement["Effect"] == "Allow":
            given = statement["Action"]
            yield from given if isinstance(given, list) else [given]


def function_roles(assembly: Assembly) -> set[str]:
    """The roles of the functions that run workloads."""
    return {
        f"{function.part}/{function.properties['Role']['Fn::GetAtt'][0]} (AWS::IAM::Role)"
        for function in assembly.resources("AWS::Lambda::Function")
    }


def test_nobody_can_both_learn_a_key_and_send_a_result(assembly: Assembly) -> None:
    """Nobody who reads the keys in logs and queues may send results."""
    learns = {"logs:FilterLogEvents", "logs:GetLogEvents", "sqs:ReceiveMessage"}
    for who, actions in actions_of_roles(assembly):
        assert not (actions & learns and "sqs:SendMessage" in actions), who


def test_a_task_can_neither_invoke_nor_drain_nor_read_secrets(assembly: Assembly) -> None:
    """The functions' roles, which every task has, hold nothing of the scheduler's or Airflow's.

    They read those secrets that the stage gives the workloads; `test_workloads.py` has which.
    """
    config = assembly.config
    has_secrets = any(config.workloads_of(function).secrets for function in config.functions)
    may = {"secretsmanager:GetSecretValue"} if has_secrets else set()
    forbidden = ("iam:", "lambda:", "secretsmanager:", "ssm:", "sts:", "sqs:Receive", "logs:Get")
    roles = function_roles(assembly)
    checked = {who: actions for who, actions in actions_of_roles(assembly) if who in roles}
    assert checked.keys() == roles
    for who, actions in checked.items():
        assert {action for action in actions if action.startswith(forbidden)} == may, who


def test_no_function_is_given_a_secret(assembly: Assembly) -> None:
    """No variable of a function resolves to a secret or looks like one."""
    for function in assembly.resources("AWS::Lambda::Function"):
        variables = function.properties["Environment"]["Variables"]
        text = json.dumps(variables)
        assert "{{resolve:" not in text, str(function)
        names = variables.keys() - {WORKLOAD_SECRETS.environment_variable}  # It has ARNs only.
        assert not [name for name in names if "PASSWORD" in name or "SECRET" in name]


def test_outputs_tell_no_secret(assembly: Assembly) -> None:
    """No output resolves a secret."""
    for part in assembly.parts:
        assert "{{resolve:" not in json.dumps(assembly.json(part).get("Outputs", {})), part


def test_parameters_tell_no_secret(assembly: Assembly) -> None:
    """Neither the executor's options nor the env file nor the Helm values resolve a secret."""
    for parameter in assembly.resources("AWS::SSM::Parameter"):
        assert "{{resolve:" not in json.dumps(parameter.properties), str(parameter)
