"""Who may do what: the whole of it, so that one action more is a failing test."""

from __future__ import annotations

import json
import re

from tests.synth.assembly import Assembly, Resource


def allowed(policy: Resource) -> set[tuple[str, str]]:
    """Every pair of an action and the resource it is allowed on."""
    pairs: set[tuple[str, str]] = set()
    for statement in policy.properties["PolicyDocument"]["Statement"]:
        if statement["Effect"] == "Allow":
            actions, resources = statement["Action"], statement["Resource"]
            actions = actions if isinstance(actions, list) else [actions]
            resources = resources if isinstance(resources, list) else [resources]
            pairs |= {(action, name_of(resource)) for action in actions for resource in resources}
    return pairs


def name_of(resource: object) -> str:
    """The construct behind a reference: its logical id without the hash."""
    if resource == "*":
        return "*"
    found = re.search(r'"([A-Za-z]+?)[0-9A-F]{8}"', json.dumps(resource))
    assert found, f"{resource} refers to no construct of the stack"
    return found[1]


def test_function_may_send_and_log_and_nothing_else(dev: Assembly) -> None:
    """The function's role sends results and dead letters, takes payloads, writes its own log."""
    assert allowed(dev.only("AWS::IAM::Policy", "WorkloadRole")) == {
        ("sqs:SendMessage", "ResultsQueueResults"),
        ("sqs:SendMessage", "ResultsQueueDeadLetters"),
        ("sqs:SendMessage", "ResultsQueueFailures"),
        ("s3:DeleteObject", "PayloadBucketPayloads"),
        ("s3:GetObject", "PayloadBucketPayloads"),
        ("logs:CreateLogStream", "WorkloadLog"),
        ("logs:PutLogEvents", "WorkloadLog"),
    }
    role = dev.only("AWS::IAM::Role", "WorkloadRole")
    assert "ManagedPolicyArns" not in role.properties


def test_scheduler_may_dispatch_and_drain_and_nothing_else(dev: Assembly) -> None:
    """The scheduler's policy covers dispatch, payloads, draining, the parameter and the log."""
    drain = (
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
    )
    dispatch = (
        "lambda:GetAlias",
        "lambda:GetFunction",
        "lambda:GetFunctionConfiguration",
        "lambda:GetFunctionEventInvokeConfig",
        "lambda:InvokeFunction",
    )
    assert allowed(dev.only("AWS::IAM::ManagedPolicy", "SchedulerPolicy")) == {
        *(
            (action, queue)
            for action in drain
            for queue in ("ResultsQueueResults", "ResultsQueueDeadLetters")
        ),
        *(
            (action, target)
            for action in dispatch
            for target in ("WorkloadFunction", "WorkloadLive")
        ),
        ("s3:PutObject", "PayloadBucketPayloads"),
        ("ssm:GetParameter", "Executor"),
        ("logs:FilterLogEvents", "WorkloadLog"),
        ("logs:GetLogEvents", "WorkloadLog"),
    }


def test_nobody_may_list_payloads_or_touch_anything_beside_them(assembly: Assembly) -> None:
    """Objects below one prefix are all that is granted: who finds a key was told the invocation."""
    of_payloads = [
        statement
        for type_ in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
        for policy in assembly.resources(type_)
        for statement in policy.properties["PolicyDocument"]["Statement"]
        if "PayloadBucket" in json.dumps(statement["Resource"])
    ]
    assert len(of_payloads) == 2
    for statement in of_payloads:
        assert "s3:ListBucket" not in statement["Action"]
        assert statement["Resource"]["Fn::Join"][1][1] == "/invocations/*"


def test_scheduler_role_has_the_policy_and_only_that(dev: Assembly) -> None:
    """The role for a scheduler without one carries the managed policy and nothing inline."""
    role = dev.only("AWS::IAM::Role", "SchedulerRole").properties
    assert role["ManagedPolicyArns"] == [
        {"Ref": dev.only("AWS::IAM::ManagedPolicy", "SchedulerPolicy").logical_id}
    ]
    assert "Policies" not in role
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert json.dumps(trust["Principal"]).endswith(':root"]]}}')


def test_only_the_cdk_pushes_and_only_the_function_pulls(dev: Assembly) -> None:
    """The repository takes images from the bootstrap role and gives them to one function."""
    policy = dev.only("AWS::ECR::Repository").properties["RepositoryPolicyText"]["Statement"]
    publish, pull = policy
    assert "cdk-hnb659fds-image-publishing-role-" in json.dumps(publish["Principal"])
    assert "ecr:PutImage" in publish["Action"]
    assert pull["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert set(pull["Action"]) == {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
    assert json.dumps(pull["Condition"]).endswith(':function:airflow-lambda-dev"]]}]}}')


def test_code_in_the_vpc_cannot_use_what_lambda_needs_there(assembly: Assembly) -> None:
    """The EC2 actions that attach the function to the VPC are denied to the function's own code."""
    policy = assembly.only("AWS::IAM::Policy", "WorkloadRole")
    of_ec2 = [
        statement
        for statement in policy.properties["PolicyDocument"]["Statement"]
        if "ec2:" in json.dumps(statement["Action"])
    ]
    if not assembly.config.network.function_in_vpc:
        assert not of_ec2
        return
    allow, deny = sorted(of_ec2, key=lambda statement: str(statement["Effect"]))
    assert deny["Effect"] == "Deny"
    assert allow["Action"] == deny["Action"]
    assert "lambda:SourceFunctionArn" in deny["Condition"]["ArnEquals"]
